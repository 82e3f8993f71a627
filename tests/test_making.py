"""From any env to a playable world in one call, whatever its actions, also after interruptions."""

import contextlib
import json
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

import worldsim
from worldsim import footage, making, recording
from worldsim.cli import main
from worldsim.filmed import EXTRAS, Filmed, choose_size, open_env
from worldsim.keyboard import action_from_keys, default_bindings, key_bindings
from worldsim.make_config import MakeConfig
from worldsim.model_card import _verdict
from worldsim.notes import Notes
from worldsim.policies import choose_policy
from worldsim.recording import record_episode
from worldsim.spaces import flatten_action

DICT = spaces.Dict(
    {
        "move": spaces.Box(-1, 1, (2,), np.float32),
        "jump": spaces.Discrete(2),
        "gear": spaces.Discrete(3),
    }
)
SPACES = {
    "discrete": spaces.Discrete(5, start=1),
    "multidiscrete": spaces.MultiDiscrete([3, 2]),
    "multibinary": spaces.MultiBinary(3),
    "box": spaces.Box(np.float32([-1, 0]), np.float32([1, 2])),
    "unbounded": spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
    "dict": DICT,
    "tuple": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2))),
}


class Lamp(gymnasium.Env):
    """A lamp that actions make lighter; it is observed as a number and seen by `render` alone."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 60}
    observation_space = spaces.Box(0, 1, (1,), np.float32)

    def __init__(self, action_space=DICT, size=(40, 24)):
        self.action_space, self.size, self.render_mode = action_space, size, "rgb_array"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.level, self.steps = float(self.np_random.uniform(60, 200)), 0
        return self._observe(), {}

    def step(self, action):
        push = flatten_action(self.action_space, action)
        self.level = float(np.clip(self.level + 8 * np.clip(push[0], -1, 1) - 2, 0, 255))
        self.steps += 1
        return self._observe(), 1.0, False, self.steps >= 60, {}

    def render(self):
        return np.full((*self.size, 3), round(self.level), np.uint8)

    def _observe(self):
        return np.float32([self.level / 255])


def make_lamp():
    return Lamp()


def brighter(observation, rng):
    assert observation.shape == (1,)  # a policy sees what the env says, not the frame
    return DICT.sample() | {"move": np.float32([1, 0])}


SHORT = {"model_size": "tiny", "minutes": 0.02, "progress": False}


@pytest.fixture(scope="module", autouse=True)
def few():
    """Record and judge little: what is tested here is the way, not the world."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(footage, "MOST_FRAMES", 150)
        patch.setattr(making, "CLIPS", 4)
        patch.setattr(making, "DREAM", 6)
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("made") / "lamp"
    return worldsim.make_world(Lamp, out, policy=brighter, **SHORT), out


def test_an_env_with_dict_actions_becomes_a_playable_world(made):
    world, out = made
    assert world.cfg.name == "lamp" and world.cfg.frame_size == (48, 32)
    assert world.cfg.fps == 30 and world.action_space == DICT
    env = gymnasium.make("worldsim:worldsim/World-v0", world=out)
    env.reset(seed=0)
    for action in (DICT.sample(), *env.unwrapped.get_keys_to_action().values()):
        frame, *_ = env.step(action)
    assert frame.shape == (48, 32, 3)
    assert len(key_bindings(env)) >= 7


def test_the_card_says_what_was_measured_how_and_how_to_play(made):
    _, out = made
    card = (out / "README.md").read_text()
    for part in ("In words: its frames are ", "learned from | ", "pixels that changed",
                 "another clip's actions",
                 "dreams of 6 frames that last, idle / random",
                 f"worldsim evaluate world={out} data={out}.making/test",
                 f"make_world(env={__name__}.Lamp, policy={__name__}.brighter, out='{out}'",
                 f"worldsim play world={out}"):  # fmt: skip
        assert part in card
    for picture in [line.split("(")[1][:-1] for line in card.splitlines() if line.startswith("![")]:
        assert (out / picture).is_file()


@pytest.mark.parametrize(
    "gain, nearer, said",
    [
        (1.0, 0.9, "frame is, up to frame 4, and answer to actions."),
        (
            1.0,
            0.5,
            "up to frame 4, and hardly answer to actions; more minutes: `worldsim make init=",
        ),
        (
            -1.0,
            0.9,
            "are no nearer to what came than the last frame is, and answer to actions; more",
        ),
    ],
)
def test_a_card_says_in_words_what_its_figures_come_to(gain, nearer, said):
    frame = {h: {"gain": gain, "changed_gain": gain} for h in (1, 4)}
    assert said in _verdict(frame, {4: {"nearer": nearer}}, None, Path("lamp"))
    torn = {"frames": 9, "way": {"idle": {"survived": 0.0}, "random": {"survived": 0.5}}}
    assert "most dreams of 9" in _verdict(frame, {4: {"nearer": nearer}}, torn, Path("lamp"))


def test_training_leaves_time_to_judge_what_it_has_made(tmp_path):
    """On a slow machine a make of 30 minutes took 33."""
    notes = Notes(MakeConfig(env="Lamp", out=str(tmp_path / "lamp"), minutes=30))
    notes.data["spent"] = {"recording": 60.0, "tokenizer": 240.0}
    with notes.bar(False), notes.stage("dynamics", beside=lambda: 5.0) as (minutes, _):
        assert minutes == 20
    with notes.bar(False), notes.stage("evaluating") as (minutes, _):
        assert 24 < minutes <= 25  # what is left, for the bar alone


def test_a_trailing_slash_and_spaces_are_part_of_no_name():
    cfg = MakeConfig(env="Lamp", out="my worlds/lamp/", env_kwargs={"watts": 60}, seed=3)
    assert cfg.folder == Path("my worlds/lamp.making")
    words = "env=Lamp 'out=my worlds/lamp/' minutes=30 seed=3 env_kwargs.watts=60"
    assert cfg.command(by_name=True) == f"worldsim make {words}"


@pytest.mark.parametrize("steps", [1, 2])
def test_short_episodes_are_judged_and_shorter_ones_refused_before_training(tmp_path, steps):
    make = partial(worldsim.make_world, Lamp, tmp_path / "lamp", max_steps=steps, **SHORT)
    if steps == 2:
        assert make().cfg.name == "lamp"
    else:
        with pytest.raises(ValueError, match="2 steps or more.*got a median of 1"):
            make()
        assert not (tmp_path / "lamp.making/tokenizer").exists()


def test_episodes_to_judge_by_are_not_those_to_learn_from(made):
    _, out = made
    learned, judged = (
        [episode.seed for episode in worldsim.open_dataset(f"{out}.making/{name}")]
        for name in ("data", "test")
    )
    assert learned == list(range(len(learned))) and len(learned) >= 4
    assert judged[0] == footage.TEST_SEED > max(learned)


def test_a_finished_make_is_not_done_again_and_other_settings_are_refused(made, monkeypatch):
    _, out = made
    monkeypatch.setattr(making, "look_at", None)  # would be needed for anything
    worldsim.make_world(Lamp, out, policy=brighter, **SHORT)
    with pytest.raises(ValueError, match="minutes=0.02 there, 5 here.*another `out`"):
        worldsim.make_world(Lamp, out, policy=brighter, **SHORT | {"minutes": 5})
    with pytest.raises(ValueError, match="policy="):
        worldsim.make_world(Lamp, out, policy="random", **SHORT)


def test_a_make_goes_on_from_a_world_made_before(made, tmp_path, monkeypatch):
    """Its recordings count too, its tokenizer stays, its weights are where the new ones begin."""
    _, before = made
    began = Mock(wraps=making.train_dynamics)
    monkeypatch.setattr(making, "train_dynamics", began)
    monkeypatch.setattr(making, "train_tokenizer", None)  # would be needed for a new one
    again = {"init": str(before), "policy": "random", "progress": False, "minutes": 0.02}
    world = worldsim.make_world(Lamp, tmp_path / "second", **again)
    earlier, news = (
        worldsim.open_dataset(f"{out}.making/data") for out in (before, tmp_path / "second")
    )
    assert not {e.seed for e in earlier} & {e.seed for e in news}
    assert world.cfg.frame_size == (48, 32)
    assert world.cfg.dynamics == worldsim.load(str(before)).cfg.dynamics
    asked = began.call_args.kwargs
    assert asked["init"] == Path(f"{before}.making/dynamics")
    assert [part.path for part in asked["more"]] == [earlier.path]
    card = (tmp_path / "second/README.md").read_text()
    assert f"{len(earlier) + len(news)} episodes" in card
    assert f"policy random and {__name__}.brighter" in card

    third = MakeConfig(env=f"{__name__}.Lamp", out="third", init=str(tmp_path / "second"))
    assert third.size == "32x48" and len(making.recorded_before(third)) == 2


def test_a_line_of_worlds_may_move_and_misses_what_is_gone(made, tmp_path):
    """A make went on from nothing, and said that it had learned from what was recorded before."""
    _, first = made
    home = tmp_path / "worlds"
    for suffix in ("", ".making"):
        shutil.copytree(f"{first}{suffix}", f"{home / 'first'}{suffix}")
    again = {"policy": "random", "progress": False, "minutes": 0.02}
    worldsim.make_world(Lamp, home / "second", init=home / "first", **again)
    moved = home.rename(tmp_path / "moved")
    third = MakeConfig(env=f"{__name__}.Lamp", out="third", init=str(moved / "second"))
    assert [part.path.parent.name for part in making.recorded_before(third)] == [
        "second.making", "first.making",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="made of an object.*make_world"):
        MakeConfig(out="third", init=third.init)
    for gone in ("second.making/dynamics", "first.making/tokenizer", "first.making/data"):
        (moved / gone).rename(moved / "away")
        with pytest.raises(FileNotFoundError, match=f"got no .*{gone}.*put it back"):
            MakeConfig(env=third.env, out="third", init=third.init)
        (moved / "away").rename(moved / gone)


def test_seeds_go_on_after_those_of_the_worlds_before(made, tmp_path):
    """Another seed than the first world's once recorded its very episodes again."""
    again = {"policy": "random", "progress": False, "minutes": 0.02, "init": str(made[1])}
    worldsim.make_world(Lamp, tmp_path / "second", seed=2, **again)
    first, second = (
        {e.seed for e in worldsim.open_dataset(f"{out}.making/data")}
        for out in (made[1], tmp_path / "second")
    )
    assert min(second) == max(first) + 1


def test_objects_are_told_apart_by_what_they_were_given(tmp_path):
    """Another lamp got the first one's world back."""
    worldsim.make_world(partial(Lamp, size=(40, 24)), tmp_path / "lamp", **SHORT)
    with pytest.raises(ValueError, match="can only be made with the settings it was begun with"):
        worldsim.make_world(partial(Lamp, size=(24, 40)), tmp_path / "lamp", **SHORT)


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"init": "nowhere"}, "`init` must be a world that `worldsim make` has made.*nowhere"),
        ({"init": "drive"}, "`worldsim train init=` takes others"),
        ({"env": "CartPole-v1"}, "`env` must be that of `init`, '.*Lamp', got 'CartPole-v1'"),
        ({"size": "64x64"}, "`size` must be that of `init`, '32x48', got '64x64'"),
        ({"model_size": "small"}, "`model_size` must be that of `init`, 'tiny'"),
        ({"out": "{init}/"}, "`out` must be a new folder"),
    ],
)
def test_what_worlds_of_one_line_have_in_common_cannot_be_set(made, tmp_path, settings, says):
    usual = {"env": f"{__name__}.Lamp", "out": str(tmp_path / "second"), "init": str(made[1])}
    settings = {k: v.format(init=made[1]) for k, v in (usual | settings).items()}
    with pytest.raises((ValueError, FileNotFoundError), match=says):
        MakeConfig(**settings)


def test_an_interrupted_make_goes_on_where_it_stopped(tmp_path, monkeypatch):
    out, calls = tmp_path / "lamp", []

    def watch(name, stop=None):
        place = recording if name == "record_episode" else making
        whole = getattr(place, name)

        def run(*args, **kwargs):
            calls.append(name)
            if calls.count(name) == stop:
                raise KeyboardInterrupt
            return whole(*args, **kwargs)

        monkeypatch.setattr(place, name, run)

    stages = ("record_episode", "train_tokenizer", "train_dynamics", "judge")
    for name, stop in zip(stages, (6, 1, 1, 1), strict=True):
        with monkeypatch.context(), pytest.raises(KeyboardInterrupt, match="the same again"):
            watch(name, stop)
            worldsim.make_world(Lamp, out, **SHORT)
        monkeypatch.undo()
        monkeypatch.setattr(footage, "MOST_FRAMES", 150)
        monkeypatch.setattr(making, "CLIPS", 4)
        assert not (out / "config.json").exists()
    recorded = [path.stat().st_mtime_ns for path in (tmp_path / "lamp.making").glob("*/data/*/*")]
    for name in stages:
        watch(name)
    calls.clear()
    worldsim.make_world(Lamp, out, **SHORT)
    assert calls == ["judge"] and (out / "config.json").exists()
    after = [path.stat().st_mtime_ns for path in (tmp_path / "lamp.making").glob("*/data/*/*")]
    assert recorded == after
    notes = json.loads((tmp_path / "lamp.making/make.json").read_text())
    assert list(notes["spent"]) == ["recording", "tokenizer", "dynamics", "evaluating"]


def test_a_make_goes_on_with_the_model_it_was_begun_with_on_any_machine(tmp_path, monkeypatch):
    """With other cores it chose another size, and its own checkpoint was refused."""
    train = Mock(side_effect=KeyboardInterrupt)
    monkeypatch.setattr(making, "train_dynamics", train)
    for size, device in (("tiny", ""), ("base", "cpu")):
        monkeypatch.setattr(making, "choose_model", lambda device, minutes, size=size: size)
        with pytest.raises(KeyboardInterrupt):
            settings = SHORT | {"model_size": "", "device": device}
            worldsim.make_world(Lamp, tmp_path / "lamp", **settings)
    first, second = (call.kwargs["model"] for call in train.call_args_list)
    assert first == second


def test_a_gpu_learns_from_as_many_clips_at_once_as_it_has_room_for(monkeypatch):
    """Of 16 at once `base` ran out of memory, on most cards and after half of the time."""
    for room, pixels, clips in ((140, 64**2, 16), (24, 64**2, 5), (24, 128 * 96, 2), (6, 64**2, 2)):
        monkeypatch.setattr(
            "torch.cuda.mem_get_info", lambda _, room=room: (room * 2**30, 200 * 2**30)
        )
        assert making.clips_at_once("cuda", pixels) == clips


@pytest.mark.parametrize(
    "minutes, major, size", [(30, 8, "base"), (10, 8, "small"), (30, 7, "small"), (3, 8, "tiny")]
)
def test_a_gpu_gets_a_model_that_learns_something_in_time(monkeypatch, minutes, major, size):
    card = SimpleNamespace(major=major)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    assert making.choose_model("cuda", minutes) == size


def test_processes_record_several_sizes_for_one_world(tmp_path):
    out = tmp_path / "road"
    world = worldsim.make_world(
        "worldsim/Drive-v0", out, size="32x32,48x32", workers=2, max_steps=12, **SHORT
    )
    assert world.cfg.frame_size == (32, 32)
    first, wide, test = (
        worldsim.open_dataset(f"{out}.making/{name}") for name in ("data", "data-48x32", "test")
    )
    sizes = [part[0].frames.shape[1:3] for part in (first, wide, test)]
    assert sizes == [(32, 32), (32, 48), (32, 32)]
    seeds = [{part[i].seed for i in range(len(part))} for part in (first, wide, test)]
    assert len(set.union(*seeds)) == sum(map(len, seeds))  # what one holds no other learns from
    assert f"{len(first) + len(wide)} episodes" in (out / "README.md").read_text()
    own = gymnasium.make("worldsim/Drive-v0", frame_size=(32, 48)).reset(seed=wide[0].seed)[0]
    assert np.abs(own.astype(int) - wide[0].frames[0]).mean() < 8  # drawn so, not resized
    env = gymnasium.make("worldsim/World-v0", world=out, frame_size=(32, 48))
    assert env.reset(seed=0)[0].shape == (32, 48, 3)
    for bad in ({"size": "32x32,32x32"}, {"env_kwargs": {"frame_size": [32, 32]}}, {"workers": 0}):
        with pytest.raises(ValueError, match="twice|size=96x64|workers"):
            MakeConfig(env="worldsim/Drive-v0", out=str(tmp_path / "no"), **bad)
    with pytest.raises(ValueError, match="pass a callable"):
        worldsim.make_world(Lamp(), tmp_path / "no", workers=2, **SHORT)


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="new folder"):
        worldsim.make_world(Lamp, tmp_path, **SHORT)
    assert not (tmp_path.parent / f"{tmp_path.name}.making").exists()


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_every_kind_of_action_space_is_recorded_and_gets_keys(space):
    env = Filmed(Lamp(space), (16, 16), repeat=2)
    episode = record_episode(env, "sticky", seed=0)
    assert len(episode) == 30 and episode.actions.shape[1] == spaces.flatdim(space)
    assert (episode.rewards == 2).all() and episode.frames.shape[1:] == (16, 16, 3)
    bindings = default_bindings(space)
    assert bindings and all(len(keys) == 1 for keys in bindings)
    for keys, action in bindings.items():
        flatten_action(space, action)
        done = action_from_keys(list(keys), bindings, space)
        assert (flatten_action(space, done) == flatten_action(space, action)).all()


def test_parts_of_a_dict_are_pressed_together():
    bindings = default_bindings(DICT)
    by_part = {}
    for keys, action in bindings.items():
        by_part[tuple(flatten_action(DICT, action))] = next(iter(keys))
    left = next(k for a, k in by_part.items() if a[4] == -1 or -1 in a)
    jump = next(k for k, a in ((next(iter(c)), a) for c, a in bindings.items()) if a["jump"] == 1)
    done = action_from_keys([left, jump], bindings, DICT)
    assert done["jump"] == 1 and done["move"].min() == -1 and done["gear"] == 0


def test_keys_of_a_wrapped_env_are_those_whose_actions_it_takes():
    class Keyed(Lamp):
        def get_keys_to_action(self):
            return {("w",): 1, ("s",): 7}

    assert set(key_bindings(Keyed(spaces.Discrete(3))).values()) == {1}
    assert set(map(str, key_bindings(Keyed(spaces.Discrete(8))).values())) == {"1", "7"}


def test_a_filmed_env_is_rebuilt_from_plain_data():
    env = gymnasium.make(
        "worldsim:worldsim/Filmed-v0", env="CartPole-v1", frame_size=[32, 48], repeat=2
    )
    again = gymnasium.make(type(env.spec).from_json(env.spec.to_json()))
    one, _ = env.reset(seed=3)
    other, _ = again.reset(seed=3)
    assert env.metadata["render_fps"] == 25 and (one == other).all() and one.shape == (32, 48, 3)
    assert env.step(1)[1] == 2.0
    env.close(), again.close()


@pytest.mark.parametrize(
    "native, most, chosen",
    [((210, 160), 6144, (80, 64)), ((96, 96), 6144, (64, 64)), ((400, 600), 6144, (64, 96)),
     ((32, 32), 6144, (32, 32)), ((37, 50), 6144, (48, 64)), ((720, 1280), 12288, (80, 144))],
)  # fmt: skip
def test_frames_are_small_and_of_the_envs_shape(native, most, chosen):
    assert choose_size(native, most) == chosen


@pytest.mark.parametrize(
    "settings, says",
    [
        ({"env": "NoSuch-v0"}, "NoSuch"),
        ({"env": ""}, "`env` must be the id of an env, got none"),
        ({"env": "test_making:no_lamp"}, "module:function"),
        ({"policy": "clever"}, "`policy` must be"),
        ({"policy": "agent.zip"}, "no agent at agent.zip"),
        ({"policy": "scripted"}, "scripted_action"),
        ({"minutes": 0}, "`minutes` must be above 0"),
        ({"size": "50x50"}, "multiples of 16"),
        ({"model_size": "huge"}, "`model` must be one of"),
        ({"device": "gpu"}, "`device` must be available on this machine"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_recorded(tmp_path, capsys, settings, says):
    settings = {"env": "test_making:make_lamp", "out": str(tmp_path / "lamp")} | settings
    assert main(["make", *(f"{key}={value}" for key, value in settings.items())]) != 0
    assert says in capsys.readouterr().err
    assert not (tmp_path / "lamp.making").exists()


@pytest.mark.parametrize(
    "env, chosen",
    [("worldsim/Drive-v0", "scripted"), ("Pendulum-v1", "keys"), ("CartPole-v1", "sticky")],
)
def test_who_acts_is_chosen_by_the_env(env, chosen):
    with contextlib.closing(Filmed(open_env(env), (64, 64))) as filmed:
        assert choose_policy("", filmed) == chosen


def test_a_policy_comes_by_name_or_from_a_file_of_stable_baselines(tmp_path):
    sb3 = pytest.importorskip("stable_baselines3")
    env = Filmed(open_env("CartPole-v1"), (32, 48))
    model = sb3.PPO("MlpPolicy", gymnasium.make("CartPole-v1"), n_steps=16, batch_size=16)
    model.save(tmp_path / "agent")
    for policy in (str(tmp_path / "agent.zip"), "test_making:lean"):
        chosen = choose_policy(policy, env)
        one, other = (record_episode(env, chosen, seed=5, max_steps=12) for _ in range(2))
        assert (one.actions == other.actions).all()
    (tmp_path / "bad.zip").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="Stable-Baselines3 saved"):
        choose_policy(str(tmp_path / "bad.zip"), env)
    env.close()


def lean(observation, rng):
    return int(observation[2] > 0)


def test_atari_says_which_extra_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ImportError, match=r"worldsim-sdk\[atari\]"):
        open_env("ALE/Pong-v5")


@pytest.fixture
def arcade(tmp_path, monkeypatch):
    """A package that registers its envs when it is imported, as ale-py does."""
    code = "from gymnasium import register\n"
    code += "register('Arcade/Point-v0', 'playing:Point')\nregister('Point-v0', 'playing:Point')\n"
    (tmp_path / "arcade.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(EXTRAS, "Arcade", ("arcade", "atari"))
    yield
    sys.modules.pop("arcade", None)
    for name in ("Arcade/Point-v0", "Point-v0"):
        gymnasium.registry.pop(name, None)


@pytest.mark.parametrize("name", ["Arcade/Point-v0", "arcade:Point-v0", "test_making:make_lamp"])
@pytest.mark.parametrize("command", ["make", "play", "record"])
def test_every_command_knows_an_env_by_the_same_names(arcade, tmp_path, name, command):
    """`play` and `record` did not find what an extra registers, `make` no id with its module."""
    if command == "make":
        open_env(name).close()
    elif command == "play":
        worldsim.play(env=name, frames=2, out=str(tmp_path / "x.mp4"))
    else:
        data = worldsim.record(name, episodes=1, policy="random", max_steps=3, progress=False)
        assert data.lengths == [3]
