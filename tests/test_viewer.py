"""What a person at the keys can rely on. The window opens on SDL's dummy driver."""

import time
from unittest.mock import Mock

import numpy as np
import pygame
import pytest
from conftest import CAPTIONS
from gymnasium import spaces
from playing import (  # noqa: F401
    DOWN,
    DRIVING,
    LEFT,
    RIGHT,
    UP,
    Dream,
    Point,
    dream,
    make_session,
    moment,
    open_window,
    post,
    registered,
    session,
    step,
    type_text,
    until,
)

from worldsim.cli import main
from worldsim.decoding import read_video
from worldsim.keyboard import (
    action_from_keys,
    default_bindings,
    key_bindings,
    keys_from_action,
)
from worldsim.viewer import PlayConfig, has_display, open_stage, play
from worldsim.viewing.brush import Brush
from worldsim.viewing.controls import COMMANDS, help_rows
from worldsim.viewing.display import Display
from worldsim.viewing.film import PIXELS, fit
from worldsim.viewing.gallery import Gallery
from worldsim.viewing.hud import Status, draw_hud, has_wheel
from worldsim.viewing.overlays import draw_entry
from worldsim.viewing.prompt_entry import PromptEntry
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Stage
from worldsim.viewing.starts import Start
from worldsim.viewing.window import Window

# keys to actions


def test_keys_add_up_and_opposites_cancel():
    bindings = default_bindings(DRIVING)
    assert action_from_keys((UP, LEFT), bindings, DRIVING).tolist() == [-1, 1, 0]
    assert action_from_keys((LEFT, RIGHT, DOWN), bindings, DRIVING).tolist() == [0, 0, 1]
    assert action_from_keys((), bindings, DRIVING).tolist() == [0, 0, 0]


def test_a_listed_combination_goes_before_its_parts():
    bindings = {frozenset([UP]): 1, frozenset([LEFT]): 2, frozenset([UP, LEFT]): 3}
    assert action_from_keys((LEFT, UP), bindings, spaces.Discrete(4)) == 3


def test_where_one_key_can_win_it_is_the_latest():
    bindings = {frozenset([LEFT]): 1, frozenset([RIGHT]): 2}
    assert action_from_keys((LEFT, RIGHT), bindings, spaces.Discrete(3)) == 2
    assert action_from_keys((RIGHT, LEFT), bindings, spaces.Discrete(3)) == 1


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(2),
        spaces.Discrete(5, start=1),
        spaces.MultiBinary(6),
        spaces.MultiDiscrete([3, 2]),
        spaces.Box(-1, 1, (5,), np.float32),
        spaces.Box(-np.inf, np.inf, (2,), np.float32),
        DRIVING,
        spaces.Dict({"a": spaces.Discrete(2)}),
    ],
    ids=str,
)
def test_any_keys_give_an_action_of_the_space(space):
    bindings = default_bindings(space)
    every = tuple(frozenset().union(*bindings))
    for keys in ((), every[:1], every[:2], every):
        assert space.contains(action_from_keys(keys, bindings, space))


def test_wasd_stands_in_for_arrows_and_arrows_for_wasd():
    env = Point()
    for keys in ((LEFT, pygame.K_a), (pygame.K_a, LEFT)):
        env.get_keys_to_action = lambda keys=keys: {(keys[0],): np.float32([-1, 0, 0])}
        bindings = key_bindings(env)
        assert bindings.keys() == {frozenset([LEFT]), frozenset([pygame.K_a])}


def test_keys_that_gymnasium_writes_as_letters_are_read():
    env = Point()
    env.action_space = spaces.Discrete(4)
    env.get_keys_to_action = lambda: {"w": 1, ("q", pygame.K_UP): 2, "we": 3, (): 0}
    expected = [{pygame.K_w}, {pygame.K_q, UP}, {pygame.K_w, pygame.K_e}, set()]
    assert [set(keys) for keys in key_bindings(env)][:4] == expected


def test_the_autopilots_action_is_shown_as_keys():
    bindings = default_bindings(spaces.Discrete(3))
    assert keys_from_action(np.int64(2), bindings) == {RIGHT}


# a session


def test_an_episode_that_ends_gives_way_to_the_next_seed(session):
    while not session.stage.moment.ended:
        session.tick((RIGHT,))
    assert session.stage.moment.ended == "terminated"
    session.tick()
    assert (session.stage.moment.step, session.stage.moment.seed) == (0, 1)


def test_restart_repeats_the_start_and_next_start_does_not(session):
    first = session.stage.moment.frame
    session.tick((RIGHT,))
    session.restart()
    assert np.array_equal(session.stage.moment.frame, first)
    frames = []
    for _ in range(8):
        session.next_start()
        frames.append(session.stage.moment.frame)
    assert any(not np.array_equal(frame, first) for frame in frames)


def test_rewinding_goes_back_through_the_same_frames(session):
    frames = [session.stage.moment.frame]
    for _ in range(5):
        session.tick((RIGHT,))
        frames.append(session.stage.moment.frame)
    session.rewind(True)
    for frame in frames[-2::-1]:
        session.tick()
        assert np.array_equal(session.stage.moment.frame, frame)
        assert np.array_equal(session.stage.env.render(), frame)
    session.tick()  # the past has an end
    session.rewind(False)
    session.tick((RIGHT,))
    assert np.array_equal(session.stage.moment.frame, frames[1])


def test_memory_for_rewinding_is_bounded(session, monkeypatch):
    session.stage.env.snapshot = lambda: np.zeros(2**20)
    for _ in range(50):
        session.tick((LEFT,))
    assert len(session.stage._past) <= 32  # 256 MiB of 8 MiB each


def test_return_and_rewards_count_from_the_start_of_the_episode(session):
    for key in (RIGHT, RIGHT, LEFT):
        session.tick((key,))
    assert session.stage.moment.total == 1
    assert session.stage.moment.rewards == (1, 1, -1)


def test_keys_take_the_wheel_from_the_autopilot(session):
    session.next_driver()
    session.tick()
    assert session.stage.moment.action.tolist() == [1, 0, 0]
    session.tick((LEFT,))
    assert session.stage.moment.action.tolist() == [-1, 0, 0]


def test_switching_to_the_real_simulator_and_back_loses_nothing(session):
    session.tick((RIGHT,))
    dream = session.stage
    session.switch()
    assert (session.stage.title, session.stage.imagined) == ("test/Point-v0", False)
    session.tick((RIGHT,))
    session.switch()
    assert session.stage is dream and dream.moment.step == 1


def test_a_prompt_that_fails_leaves_the_game_running(session):
    session.set_prompt("nonsense")
    assert "no such thing" in session.notices.pop()
    session.tick()
    assert session.stage.moment.prompt == "a field"


def test_a_scene_from_a_prompt_lasts_until_an_empty_one(session):
    session.begin("snow")
    session.next_start()
    assert session.stage.moment.prompt == "snow"
    session.switch()
    session.next_start()  # the real simulator, which knows no prompts
    assert session.stage.moment.step == 0 and not session.stage.imagined
    session.switch()
    session.next_start()
    assert session.stage.moment.prompt == "snow"
    session.begin("")
    assert session.stage.moment.prompt == "a field"


def test_an_env_without_extras_says_what_it_lacks(tmp_path):
    session = make_session(tmp_path, Point())
    session.start()
    session.set_prompt("night")
    session.switch()
    session.next_driver()
    session.tick()
    assert len(session.notices) == 3


def test_films_never_overwrite_each_other(session, tmp_path):
    for _ in range(3):
        session.record()
        session.tick()
        session.record()
    names = [path.name for path in session.films]
    assert names == ["film.mp4", "film-2.mp4", "film-3.mp4"]
    assert read_video(session.films[0]).shape[0] == 2
    session.record()
    (tmp_path / "film-4.mp4").write_bytes(b"of another viewer, finished first")
    session.record()
    assert session.films[-1].name == "film-5.mp4" and len(read_video(session.films[-1])) == 1
    assert (tmp_path / "film-4.mp4").stat().st_size < 40


def test_a_film_goes_on_through_a_change_of_simulator(session, monkeypatch):
    monkeypatch.setattr(Point, "render", lambda self: np.zeros((30, 20, 3), np.uint8))
    session.record()
    session.switch()
    session.tick()
    session.record()
    assert len(read_video(session.films[0])) == 2


# the window


@pytest.mark.parametrize(
    "key, happened",
    [
        (pygame.K_p, lambda w: w.player.session.paused),
        (pygame.K_n, lambda w: w.player.session.paused and moment(w).step > 0),
        (pygame.K_PERIOD, lambda w: w.player.session.paused),
        (pygame.K_MINUS, lambda w: w.player.session.speed == 0.5),
        (pygame.K_EQUALS, lambda w: w.player.session.speed == 2),
        (pygame.K_RETURN, lambda w: moment(w).seed == 1),
        (pygame.K_TAB, lambda w: moment(w).seed == 1),
        (pygame.K_2, lambda w: moment(w).prompt == "a city in the rain"),
        (pygame.K_m, lambda w: not w.player.latest[0].imagined),
        (pygame.K_o, lambda w: w.player.session.driver == "autopilot"),
        (pygame.K_v, lambda w: w.player.session.film is not None),
        (pygame.K_c, lambda w: w.player.session.out.with_suffix(".png").exists()),
        (pygame.K_h, lambda w: not w.hud),
        (pygame.K_g, lambda w: w.pixels == "whole"),
        (pygame.K_F1, lambda w: w.help),
        (pygame.K_t, lambda w: w.entry is not None),
        (pygame.K_F11, lambda w: w.display.full_screen),
        (pygame.K_ESCAPE, lambda w: not w.running),
    ],
)
def test_every_key_does_what_f1_says(open_window, key, happened):
    window = open_window()
    assert not happened(window)
    post(key)
    until(window, lambda: happened(window))


def test_escape_closes_what_lies_over_the_game_before_it_ends_it(open_window):
    window = open_window()
    for key, closed in ((pygame.K_F1, lambda: not window.help),
                        (pygame.K_F11, lambda: not window.display.full_screen)):  # fmt: skip
        post(key)
        until(window, lambda closed=closed: not closed())
        post(pygame.K_ESCAPE)
        until(window, closed)
        assert window.running


def test_keys_with_ctrl_alt_or_meta_are_those_of_the_desktop(open_window):
    window = open_window()
    for held in (pygame.KMOD_ALT, pygame.KMOD_CTRL, pygame.KMOD_META):
        post(pygame.K_RETURN, mod=held)
    until(window, lambda: window.display.full_screen)
    post(pygame.K_p)  # comes after them
    until(window, lambda: window.player.session.paused)
    assert moment(window).seed == 0


def test_r_begins_the_same_start_again(open_window):
    window = open_window()
    until(window, lambda: moment(window).step > 20)
    post(pygame.K_r)
    until(window, lambda: moment(window).step < 10)
    assert moment(window).seed == 0


def test_every_command_key_is_listed_in_the_help():
    rows = dict(help_rows(Stage(Dream(), "point", True)))
    assert set(rows.values()) >= {text for _, text, _, _ in COMMANDS}
    assert rows["Arrows, WASD"] == "play"


def test_a_wheel_is_drawn_for_a_wheel_and_pedals_alone():
    assert has_wheel(DRIVING)
    assert not has_wheel(spaces.Box(-1, 1, (3,)))  # three joints of a robot


def test_from_full_screen_the_window_gets_the_shape_of_its_frames():
    display = Display("point", full_screen=True)
    display.open()
    display.fit((50, 100), 2.0)
    display.toggle_full_screen()
    assert pygame.display.get_window_size() == (200, 100)


def test_held_keys_drive_until_they_are_let_go(open_window):
    window = open_window()
    post(LEFT, held=True)
    until(window, lambda: moment(window).action is not None and moment(window).action[0] == -1)
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=LEFT, mod=0, unicode=""))
    until(window, lambda: moment(window).action[0] == 0)


def test_leaving_the_window_lets_go_of_all_keys(open_window):
    window = open_window()
    post(LEFT, held=True)
    until(window, lambda: moment(window).action is not None and moment(window).action[0] == -1)
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    until(window, lambda: moment(window).action[0] == 0)


def test_a_key_tapped_between_two_frames_still_counts(open_window):
    window = open_window(Dream(sleep=0.2))
    before = moment(window).total
    post(LEFT)
    until(window, lambda: moment(window).total == before - 1)


def test_holding_backspace_rewinds(open_window):
    window = open_window()
    until(window, lambda: moment(window).step > 20)
    post(pygame.K_BACKSPACE, held=True)
    until(window, lambda: moment(window).step < 10)
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_BACKSPACE, mod=0, unicode=""))
    until(window, lambda: not window.player.session.rewinding and moment(window).step > 12)


def test_rewinding_ends_with_its_key_though_a_prompt_is_being_typed(open_window):
    """The key's release went to the prompt, and the game ran back to its start and stood still."""
    window = open_window()
    until(window, lambda: moment(window).step > 20)
    post(pygame.K_BACKSPACE, held=True)
    until(window, lambda: window.player.session.rewinding)
    post(pygame.K_t)
    until(window, lambda: window.entry is not None)
    pygame.event.post(pygame.event.Event(pygame.KEYUP, key=pygame.K_BACKSPACE, mod=0, unicode=""))
    until(window, lambda: not window.player.session.rewinding)


def test_a_picture_that_cannot_be_written_ends_no_game(open_window):
    window = open_window()
    window.display.save = Mock(side_effect=OSError("the disk is full"))
    post(pygame.K_c)
    until(window, lambda: window.display.save.called)
    step = moment(window).step
    until(window, lambda: moment(window).step > step and window.running)


def test_a_prompt_is_typed_while_the_game_goes_on(open_window):
    window = open_window()
    encoder = window.player.session.stage.world.encoder
    encoder.preload.reset_mock()
    post(pygame.K_t)
    until(window, lambda: window.entry is not None)
    until(window, lambda: encoder.preload.called)  # ready when the prompt is
    step = moment(window).step
    type_text("fog pm")
    post(pygame.K_BACKSPACE)
    post(pygame.K_RETURN)
    until(window, lambda: moment(window).prompt == "fog p" and moment(window).step > step)
    assert not window.player.session.paused  # the letter p went into the prompt
    assert window.history == ["fog p"]


def test_shift_enter_begins_a_scene_from_the_prompt(open_window):
    window = open_window()
    until(window, lambda: moment(window).step > 20)
    post(pygame.K_t)
    type_text("fog")
    post(pygame.K_RETURN, mod=pygame.KMOD_SHIFT)
    until(window, lambda: moment(window).prompt == "fog" and moment(window).step < 20)


def test_suggestions_come_from_history_and_the_world():
    entry = PromptEntry(["snow", "a foggy road"], ["a road at night", "snow"])
    assert entry.suggestions == ["a foggy road", "snow", "a road at night"]
    entry.edit(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_n, mod=0, unicode="n"))
    assert entry.suggestions == ["snow", "a road at night"]
    entry.edit(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_DOWN, mod=0, unicode=""))
    assert entry.prompt == "snow"
    entry.edit(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_TAB, mod=0, unicode="\t"))
    assert entry.text == "snow"


def test_a_slow_model_never_holds_up_the_window(open_window):
    window = open_window(Dream(sleep=0.5))
    until(window, lambda: moment(window).step > 0)
    longest, end = 0.0, time.perf_counter() + 1.5
    while time.perf_counter() < end:
        post(pygame.K_h)
        began = time.perf_counter()
        window.update()
        longest = max(longest, time.perf_counter() - began)
        time.sleep(0.01)
    assert longest < 0.4


def test_time_runs_at_the_envs_pace(open_window):
    window = open_window()
    until(window, lambda: moment(window).step > 0)
    first, began = moment(window).step, time.perf_counter()
    until(window, lambda: time.perf_counter() - began > 1)
    steps = moment(window).step - first
    assert 35 <= steps <= 52  # 50 a second


def test_a_crash_shows_the_way_out_and_keeps_the_film(open_window, tmp_path):
    env = Dream()
    window = open_window(env)
    post(pygame.K_v)
    until(window, lambda: window.player.session.film and window.player.session.film.frames > 5)
    env.step = lambda action: 1 / 0
    until(window, lambda: window.player.error is not None)
    window.update()
    assert len(read_video(tmp_path / "film.mp4")) > 5
    del env.step
    post(pygame.K_r)
    until(window, lambda: window.player.error is None and window.player.latest is not None)
    until(window, lambda: moment(window).step > 0)


def test_the_error_screen_is_left_with_the_error(tmp_path):
    env = Dream()
    env.step = lambda action: 1 / 0
    window = Window(lambda: make_session(tmp_path, env), "point")
    shown = window._draw_error
    window._draw_error = lambda surface: (shown(surface), post(pygame.K_ESCAPE))
    with pytest.raises(ZeroDivisionError):
        window.run()
    assert env.closed


def test_an_error_before_the_first_frame_closes_the_window(tmp_path):
    env = Dream()
    env.reset = lambda **_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        Window(lambda: make_session(tmp_path, env), "point").run()


@pytest.mark.parametrize("size", [(200, 120), (704, 704), (1920, 1080)])
def test_the_hud_changes_the_picture_at_any_size(size):
    surface, plain = (pygame.Surface(size) for _ in range(2))
    stage = Stage(Dream(), "point", True)
    stage.reset(0)
    for _ in range(3):
        step(stage, RIGHT)
    status = Status(50.0, 12.0, 2.0, True, False, "autopilot", 3.0)
    draw_hud(surface, stage, stage.moment, status)
    assert (pygame.surfarray.array3d(surface) != pygame.surfarray.array3d(plain)).mean() > 0.02


@pytest.mark.parametrize("size", [(32, 32), (64, 36), (36, 64)])
def test_a_window_of_any_size_shows_the_gallery_and_the_entry(size):
    """No room was left for thumbnails or text: the one raised an error, the other never ended."""
    surface = pygame.Surface(size)
    Gallery([Start(np.zeros((120, 160, 3), np.uint8), "a road at night")] * 12).draw(surface)
    draw_entry(surface, "fog", ["snow"], None)


@pytest.mark.parametrize("pixels", PIXELS)
def test_frames_are_enlarged_as_far_as_they_fit(pixels):
    """10 x 5 pixels into 255 x 300: 25.5 times, or 25 times by a whole factor."""
    image = pygame.surfarray.array3d(fit(np.full((5, 10, 3), 200, np.uint8), (255, 300), pixels))
    bright = (image[..., 0] == 200).any(1).sum(), (image[..., 0] == 200).any(0).sum()
    assert bright == ((250, 125) if pixels == "whole" else (255, 128))


def test_wrapped_text_fits_and_marks_what_is_cut():
    brush = Brush(pygame.Surface((10, 10)))
    lines = brush.wrap("a road at night " * 20, 200, 3)
    assert len(lines) == 3 and lines[-1].endswith("…")
    assert all(brush.width(line) <= 200 for line in lines)


# without a display


def test_without_a_display_play_films_the_autopilot(tmp_path, capsys):
    assert not has_display()
    out = tmp_path / "out" / "dream.mp4"
    assert play(Dream(), frames=30, out=str(out)) == [out]
    frames = read_video(out)
    assert len(frames) == 30 and frames.shape[2] == 504  # 24 pixels, 21 times as large
    assert "no display" in capsys.readouterr().out


def test_a_film_that_is_interrupted_is_whole(tmp_path):
    env, out = Dream(), tmp_path / "dream.mp4"
    steps = iter(range(5))

    def step(action):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return Dream.step(env, action)

    env.step = step
    with pytest.raises(KeyboardInterrupt):
        play(env, frames=30, out=str(out))
    assert len(read_video(out)) == 6


@pytest.mark.parametrize("env_id", ["CartPole-v1", "worldsim/Drive-v0"])
def test_any_registered_env_can_be_played(env_id, tmp_path):
    out = tmp_path / "env.mp4"
    play(env=env_id, frames=5, out=str(out))
    assert len(read_video(out)) == 5


def test_an_env_is_played_with_its_arguments(tmp_path):
    lit = []
    for hour in ("day", "night"):
        out = tmp_path / f"{hour}.mp4"
        words = [f"env_kwargs.scene.time={hour}", "frames=2", f"out={out}"]
        assert main(["play", "env=worldsim/Drive-v0", *words]) == 0
        lit.append(read_video(out).mean())
    assert lit[0] > 1.5 * lit[1]


def test_a_prompt_reaches_any_env_that_takes_one_and_others_refuse_it(tmp_path):
    """It was ignored for every env that was not made here, and so were settings of a world."""
    env, settings = Dream(), {"frames": 2, "out": str(tmp_path / "x.mp4")}
    play(env, prompt="snow", **settings)
    assert env.prompt == "snow"
    with pytest.raises(ValueError, match="`prompt` is for imagined worlds"):
        play(Point(), prompt="snow", **settings)
    for_worlds = ({"sampler_steps": 4}, {"guidance": 2.0}, {"variety": 0.5}, {"device": "cpu"})
    for setting in for_worlds:
        with pytest.raises(ValueError, match=f"`{next(iter(setting))}` is for a world"):
            play(env, **setting, **settings)


@pytest.mark.parametrize(
    "wrong",
    [
        {"frames": 0},
        {"fps": 0.0},
        {"scale": -1.0},
        {"out": "film.gif"},
        {"pixels": "soft"},
        {"env_kwargs": {"scene": {"biome": "desert"}}},
        {"scale": 2.0, "web": True},
        {"web_port": 8000},
        {"env": "CartPole-v1", "world": "doom"},
        {"env": "CartPole-v1", "replay": "out/episodes"},
    ],
    ids=str,
)
def test_a_wrong_setting_is_refused_before_anything_starts(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        PlayConfig(**wrong)


def test_an_env_that_shows_no_pixels_is_refused(tmp_path):
    env = Dream()
    env.render = lambda: None
    with pytest.raises(ValueError, match="rgb_array"):
        play(env, frames=5, out=str(tmp_path / "x.mp4"))
    assert not (tmp_path / "x.mp4").exists()


# an imagined world


def test_an_imagined_world_is_played_rewound_and_played_again(dream):
    frames = [dream.stage.moment.frame]
    for _ in range(12):  # past a turn of the ring
        dream.tick((UP,))
        frames.append(dream.stage.moment.frame)
    assert dream.stage.moment.termination is not None
    dream.rewind(True)
    for _ in range(12):
        dream.tick()
    assert np.array_equal(dream.stage.moment.frame, frames[0])
    dream.rewind(False)
    for frame in frames[1:]:
        dream.tick((UP,))
        assert np.array_equal(dream.stage.moment.frame, frame)


def test_an_imagined_world_takes_the_prompts_of_its_starts(dream):
    prompt = CAPTIONS[-1]
    dream.set_prompt(prompt)
    dream.tick()
    assert not dream.notices
    assert dream.stage.moment.prompt == prompt
    dream.begin(prompt)
    assert (dream.stage.moment.step, dream.stage.moment.prompt) == (0, prompt)


@pytest.mark.parametrize("nothing", [False, True])
def test_a_prompt_begins_from_the_recorded_start_nearest_to_it_or_from_nothing(
    tiny_world, tmp_path, nothing
):
    settings = {"seed": 3, "prompt": CAPTIONS[1], "nothing": nothing, "out": tmp_path / "x.mp4"}
    session = Session(lambda: open_stage(PlayConfig(), tiny_world), **settings)
    session.start()
    first, recorded = session.stage.moment, tiny_world.decode(tiny_world.starts.latents[1, -1])
    assert first.prompt == CAPTIONS[1]
    assert np.array_equal(first.frame, recorded.numpy()) != nothing
    session.next_start()
    assert session.stage.moment.prompt == CAPTIONS[1]
    session.close()


def test_an_imagined_world_is_filmed_on_its_own_autopilot(tiny_world_path, tmp_path):
    out = tmp_path / "tiny.mp4"
    assert play(tiny_world_path, frames=20, out=str(out)) == [out]
    assert len(read_video(out)) == 20


def test_an_unknown_world_is_refused_before_a_film_begins(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        play("nowhere", out=str(tmp_path / "x.mp4"))
    assert not list(tmp_path.iterdir())
