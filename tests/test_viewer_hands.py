"""Keys of one's own, gamepads, the mouse, and who else can drive."""

import json
import sys

import gymnasium
import numpy as np
import pygame
import pytest
from gymnasium import spaces
from playing import (  # noqa: F401
    DOWN,
    DRIVING,
    LEFT,
    RIGHT,
    UP,
    Dream,
    Point,
    make_session,
    moment,
    open_window,
    post,
    registered,
    session,
    until,
)

from worldsim.viewer import PlayConfig
from worldsim.viewing.analogue import add_axes, analogue_bindings, keys_from_axes
from worldsim.viewing.controls import help_rows, read_keys
from worldsim.viewing.pad import Pad
from worldsim.viewing.pilots import load_pilot
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Stage


def send(kind, **about):
    pygame.event.post(pygame.event.Event(kind, **about))


# sticks and mouse


def test_a_stick_steers_a_part_of_the_way_and_a_trigger_gives_part_of_the_gas():
    bindings = analogue_bindings(Point())
    axes = (("left x", -0.5), ("right trigger", 0.25))
    assert add_axes(np.zeros(3), axes, bindings, DRIVING).tolist() == [-0.5, 0.25, 0]


def test_deflections_and_keys_add_up_within_the_bounds():
    bindings = analogue_bindings(Point())
    action = add_axes(
        np.float32([1, 0, 0]), (("left x", 0.7), ("left trigger", 2.0)), bindings, DRIVING
    )
    assert action.tolist() == [1, 0, 1] and DRIVING.contains(action)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (6,), np.float32),
        spaces.Box(-np.inf, np.inf, (2,), np.float32),
        spaces.Box(0, 5, (3,), np.float32),
        spaces.Box(-2, 2, (1,), np.float32),
    ],
    ids=str,
)
def test_any_deflection_gives_an_action_of_the_space(space):
    env = Point()
    env.action_space = space
    bindings = analogue_bindings(env)
    assert bindings
    for name in bindings:
        for value in (-1.0, 0.3, 1.0):
            action = add_axes(np.zeros(space.shape), ((name, value),), bindings, space)
            assert space.contains(action)


def test_where_actions_know_no_half_measures_a_stick_is_arrows():
    assert keys_from_axes((("left x", 0.9), ("left y", -0.8), ("right x", 1.0))) == (RIGHT, DOWN)
    assert keys_from_axes((("left x", 0.2),)) == ()
    stage = Stage(gymnasium.make("CartPole-v1", render_mode="rgb_array"), "pole")
    assert stage.analogue == {}


def test_bindings_of_deflections_in_a_worlds_config_go_before_our_own():
    env = Dream()
    env.world = type("W", (), {"cfg": type("C", (), {"keys": [[["left x"], [0, 1, 0]]]})})
    assert analogue_bindings(env).keys() == {"left x"}
    assert analogue_bindings(env)["left x"].tolist() == [0, 1, 0]


def test_a_pad_at_rest_sends_nothing():
    pad = Pad()
    for name, kind, axis, value in (
        ("left x", pygame.JOYAXISMOTION, 0, 0.08),
        ("right trigger", pygame.JOYAXISMOTION, 5, -1.0),
        ("right x", pygame.CONTROLLERAXISMOTION, pygame.CONTROLLER_AXIS_RIGHTX, 400),
        ("left trigger", pygame.CONTROLLERAXISMOTION, pygame.CONTROLLER_AXIS_TRIGGERLEFT, 0),
    ):
        event = pygame.event.Event(kind, axis=axis, value=value, instance_id=0)
        assert pad.axes(event, (100, 100)) == {name: 0.0}


def test_a_pad_whose_layout_is_known_drives_by_names_and_its_numbers_are_not_heard(open_window):
    """On a PlayStation's pad axis 2 is a stick at rest: the car stood on its brake."""
    window = open_window()
    window.pad.pads[7] = (None, "known")
    send(pygame.JOYAXISMOTION, axis=2, value=0.0, instance_id=7)
    send(pygame.JOYBUTTONDOWN, button=5, instance_id=7)  # its logo
    send(pygame.CONTROLLERAXISMOTION, axis=5, value=32767, instance_id=7)
    send(pygame.CONTROLLERBUTTONDOWN, button=pygame.CONTROLLER_BUTTON_DPAD_RIGHT, instance_id=7)
    until(window, lambda: moment(window).action is not None and moment(window).action[0] == 1)
    assert moment(window).action.tolist() == [1, 1, 0] and moment(window).seed == 0
    send(pygame.CONTROLLERBUTTONUP, button=pygame.CONTROLLER_BUTTON_DPAD_RIGHT, instance_id=7)
    until(window, lambda: moment(window).action[0] == 0)
    post(pygame.K_F7)
    until(window, lambda: window.gallery is not None)
    send(pygame.CONTROLLERBUTTONDOWN, button=pygame.CONTROLLER_BUTTON_DPAD_RIGHT, instance_id=7)
    until(window, lambda: window.gallery.chosen == 1)
    send(pygame.CONTROLLERBUTTONDOWN, button=pygame.CONTROLLER_BUTTON_A, instance_id=7)
    until(window, lambda: window.gallery is None)
    send(pygame.CONTROLLERBUTTONDOWN, button=pygame.CONTROLLER_BUTTON_START, instance_id=7)
    until(window, lambda: window.player.session.paused)


def test_a_gamepad_drives_in_the_window(open_window):
    window = open_window()
    send(pygame.JOYAXISMOTION, axis=0, value=-1.0, instance_id=0)
    send(pygame.JOYAXISMOTION, axis=5, value=0.12, instance_id=0)
    until(window, lambda: moment(window).action is not None and moment(window).action[0] == -1)
    assert 0.4 < moment(window).action[1] < 0.6
    send(pygame.JOYAXISMOTION, axis=0, value=0.0, instance_id=0)
    until(window, lambda: moment(window).action[0] == 0)
    send(pygame.JOYHATMOTION, hat=0, value=(1, 0), instance_id=0)
    until(window, lambda: moment(window).action[0] == 1)
    send(pygame.JOYHATMOTION, hat=0, value=(0, 0), instance_id=0)
    until(window, lambda: moment(window).action[0] == 0)
    send(pygame.JOYBUTTONDOWN, button=7, instance_id=0)  # start
    until(window, lambda: window.player.session.paused)


def test_the_mouse_steers_while_its_button_is_held(open_window):
    window = open_window()
    w, h = pygame.display.get_window_size()
    send(pygame.MOUSEBUTTONDOWN, button=1, pos=(w // 2, h // 2))
    send(pygame.MOUSEMOTION, pos=(w, 0), rel=(9, 9), buttons=(1, 0, 0))
    until(window, lambda: moment(window).action is not None and moment(window).action[0] == 1)
    assert moment(window).action[1] == 1
    send(pygame.MOUSEBUTTONUP, button=1, pos=(w, 0))
    until(window, lambda: moment(window).action.tolist() == [0, 0, 0])


# keys of one's own


def test_own_keys_replace_the_envs_and_take_over_jobs(tmp_path):
    text = json.dumps({"j": [-1, 0, 0], "j+k": [0, 1, 0], "right x": [1, 0, 0], "space": "p"})
    for given in (text, str(tmp_path / "keys.json")):
        (tmp_path / "keys.json").write_text(text)
        keys = read_keys(given)
        assert keys.aliases == {pygame.K_SPACE: pygame.K_p}
        stage = Stage(Point(), "point", actions=keys.actions)
        assert set(stage.bindings) == {frozenset([pygame.K_j]), frozenset([pygame.K_j, pygame.K_k])}
        assert stage.analogue["right x"].tolist() == [1, 0, 0]


@pytest.mark.parametrize(
    "keys, said",
    [
        ('{"spacebar": "p"}', "spacebar"),
        ('{"space": "nokey"}', "nokey"),
        ("{not json", "JSON"),
        ('{"left+wheel": [0]}', "wheel"),
    ],
)
def test_wrong_keys_are_refused_before_anything_starts(keys, said):
    with pytest.raises(ValueError, match=said):
        PlayConfig(keys=keys)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        PlayConfig(keys="nowhere.json")


def test_a_key_for_an_action_that_the_env_does_not_know_is_refused():
    with pytest.raises(ValueError, match="action of"):
        Stage(Point(), "point", actions={("left",): [5, 0, 0]})


def test_own_keys_work_in_the_window_and_stand_on_f1(open_window):
    keys = read_keys('{"space": "p", "j": "left", "pad a": "h"}')
    window = open_window(keys=keys)
    post(pygame.K_j, held=True)
    until(window, lambda: moment(window).action is not None and moment(window).action[0] == -1)
    send(pygame.KEYUP, key=pygame.K_j, mod=0, unicode="")
    until(window, lambda: moment(window).action[0] == 0)
    send(pygame.JOYBUTTONDOWN, button=0, instance_id=0)
    until(window, lambda: not window.hud)
    post(pygame.K_SPACE)
    until(window, lambda: window.player.session.paused)
    rows = {text: key for key, text in help_rows(window.player.latest[0], keys.aliases)}
    assert rows["pause"] == "Space, P"


# who drives


def test_control_passes_from_hand_to_hand_at_any_moment(tmp_path):
    full_brake = np.float32([0, 0, 1])
    session = Session(
        lambda: Stage(Dream(), "point", True), agent=lambda observation, rng: full_brake
    )
    session.start()
    assert session.driver == "agent"
    session.tick()
    assert session.stage.moment.action.tolist() == [0, 0, 1]
    session.tick((LEFT,))  # keys win
    assert session.stage.moment.action.tolist() == [-1, 0, 0]
    session.next_driver()
    session.tick()
    assert session.stage.moment.action.tolist() == [0, 0, 0]
    session.next_driver()
    session.tick()
    assert (session.driver, session.stage.moment.action.tolist()) == ("autopilot", [1, 0, 0])
    session.next_driver()
    assert session.driver == "agent"


def test_without_an_agent_one_says_how_to_get_one(session):
    session.next_driver()
    session.next_driver()
    assert session.driver == "human"
    session.drive("agent")
    assert "agent=" in session.notices.pop() and session.driver == "human"


def test_an_agent_of_stable_baselines_drives(tmp_path):
    sb3 = pytest.importorskip("stable_baselines3")
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    model = sb3.PPO("MlpPolicy", env, n_steps=8, batch_size=8, device="cpu")
    model.save(tmp_path / "pole.zip")
    session = Session(lambda: Stage(env, "pole"), agent=str(tmp_path / "pole.zip"))
    session.start()
    for _ in range(3):
        expected = model.predict(session.stage.observation, deterministic=True)[0]
        session.tick()
        assert session.stage.moment.action.argmax() == expected


def test_an_agent_that_is_none_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.zip"):
        load_pilot("gone.zip")
    (tmp_path / "text.zip").write_text("no zip")
    pytest.importorskip("stable_baselines3")
    with pytest.raises(ValueError, match="Stable-Baselines3 saved"):
        load_pilot(str(tmp_path / "text.zip"))
    with pytest.raises(ValueError, match="package"):
        load_pilot("nonsense")
    with pytest.raises(ValueError, match="`agent` must be module:function, got 'json:nope'"):
        load_pilot("json:nope")
    assert load_pilot("json:loads") is json.loads


def test_an_agent_is_found_in_the_working_folder(tmp_path, monkeypatch):
    """So is what it imports when it is called, at which the installed command failed."""
    act = "def act(observation, rng):\n    from my_helper import ONE\n    return ONE\n"
    (tmp_path / "my_agent.py").write_text(act)
    (tmp_path / "my_helper.py").write_text("ONE = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    assert load_pilot("my_agent:act")(None, None) == 1
    with pytest.raises(ValueError, match="`agent` must be module:function, got './my_agent:act'"):
        load_pilot("./my_agent:act")
