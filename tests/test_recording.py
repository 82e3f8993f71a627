import os
import signal
import subprocess
import sys
import textwrap
import time
import traceback
from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.wrappers import RecordEpisodeStatistics, TransformReward

from worldsim.cli import main
from worldsim.data import open_dataset
from worldsim.datasets.writing import DatasetWriter
from worldsim.filmed import open_env, reopen_env
from worldsim.recording import record


class Dot(gymnasium.Env):
    """A dot that the action moves; the frame, the reward and the state all say where it is."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(0, 255, (16, 24, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, render_mode=None, fail_seed=None, die_seed=None):
        self.render_mode = render_mode
        self.fail_seed, self.die_seed = fail_seed, die_seed
        self.pixels = np.zeros((16, 24, 3), np.uint8)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.place, self.steps = seed, self.np_random.uniform(4, 12, 2), 0
        return self._observe(), self._info()

    def step(self, action):
        if self.seed == self.fail_seed:
            raise ArithmeticError("the dot is lost")
        if self.seed == self.die_seed:
            os._exit(7)
        self.place = np.clip(self.place + action, 0, 15)
        self.steps += 1
        ended = bool(self.np_random.random() < 0.1)
        return self._observe(), float(self.place[0]), ended, False, self._info()

    def _observe(self):
        self.pixels[:] = 0
        self.pixels[tuple(self.place.astype(int))] = 255
        return self.pixels  # the same array every time: a recorder must copy it

    def _info(self):
        caption = "a dot" if self.steps < 3 else "a dot that has moved"
        state = {"place": self.place, "steps": self.steps}
        return {"caption": caption, "state": state, "scene": {"colour": "white", "n": np.int64(1)}}

    def scripted_action(self, rng):
        return rng.uniform(-1, 1, 2)

    def get_keys_to_action(self):
        import pygame

        return {(pygame.K_LEFT, pygame.K_UP): np.array([-1, -1], np.float32)}


class Mute(Dot):
    """Has one action, which no key needs to stand for."""

    action_space = spaces.Discrete(1)


class Rendered(Dot):
    """Shows its frames by `render` only."""

    observation_space = spaces.Discrete(2)

    def _observe(self):
        super()._observe()
        return 0

    def render(self):
        return self.pixels if self.render_mode == "rgb_array" else None


def make_failing():
    return Dot(fail_seed=2)


def make_dying():
    return Dot(die_seed=2)


def assert_same_data(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for name in ("frames", "actions", "rewards", "terminated", "truncated", "caption_index"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert (a.captions, a.scene, a.seed) == (b.captions, b.scene, b.seed)
        np.testing.assert_array_equal(a.state["place"], b.state["place"])


@pytest.fixture(scope="module")
def memory():
    return record(Dot, episodes=5, seed=40, max_steps=9, progress=False)


def test_frames_actions_rewards_and_states_are_aligned(memory):
    for i, episode in enumerate(memory):
        place = episode.state["place"]
        assert episode.seed == 40 + i and episode.frames.shape == (len(episode) + 1, 16, 24, 3)
        lit = [tuple(np.argwhere(frame[..., 0])[0]) for frame in episode.frames]
        assert lit == [tuple(p.astype(int)) for p in place]
        moved = np.clip(place[:-1] + episode.actions, 0, 15)
        np.testing.assert_allclose(moved, place[1:], atol=1e-5)
        np.testing.assert_allclose(episode.rewards, place[1:, 0])
        assert episode.state["steps"].tolist() == list(range(len(episode) + 1))
        ended = episode.terminated | episode.truncated
        assert ended[-1] and not ended[:-1].any()
        words = [episode.captions[k] for k in episode.caption_index]
        assert words == (["a dot"] * 3 + ["a dot that has moved"] * len(words))[: len(words)]
        assert episode.scene == {"colour": "white", "n": 1}
    assert any(episode.truncated[-1] for episode in memory)
    assert any(episode.terminated[-1] for episode in memory)


def test_the_data_set_knows_its_env(memory):
    info = memory.info
    assert (info.fps, info.frame_size, info.action_space) == (10, (16, 24), Dot.action_space)
    assert info.keys == [[["left", "up"], [-1.0, -1.0]]]
    assert info.recording == {"policy": "scripted", "seed": 40, "max_steps": 9}


def test_workers_memory_and_disk_record_the_same(memory, tmp_path):
    settings = {"episodes": 5, "seed": 40, "max_steps": 9, "progress": False}
    assert_same_data(record(Dot, workers=2, **settings), memory)
    disk = record(Dot, tmp_path / "set", workers=2, quality="lossless", **settings)
    assert_same_data(disk, memory)
    assert_same_data(open_dataset(tmp_path / "set"), memory)


def test_recording_goes_on_from_what_is_there(memory, tmp_path):
    settings = {"seed": 40, "max_steps": 9, "progress": False, "quality": "lossless"}
    record(Dot, tmp_path / "set", episodes=2, **settings)
    record(Dot, tmp_path / "set", episodes=5, **settings)
    assert_same_data(record(Dot, tmp_path / "set", episodes=5, **settings), memory)
    with pytest.raises(ValueError, match="settings it was begun with"):
        record(Dot, tmp_path / "set", episodes=6, **settings | {"seed": 1})


def test_a_recording_goes_on_whatever_numbers_its_settings_are(memory, tmp_path):
    """Tuples come back from JSON as lists, and NumPy's numbers did not go there at all."""
    info = replace(memory.info, env_kwargs={"x": (1, np.int64(2))}, recording={"seed": np.int64(1)})
    for _ in range(2):
        DatasetWriter(tmp_path / "set", info)
    with pytest.raises(ValueError, match="folder of its own"):
        DatasetWriter(".", info)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failing_env_is_named_by_seed_and_finished_episodes_are_kept(tmp_path, workers):
    with pytest.raises(ArithmeticError) as caught:
        record(make_failing, tmp_path / "set", episodes=4, workers=workers, progress=False)
    text = str(caught.value) + "".join(caught.value.__notes__)
    assert "seed 2" in text and "the dot is lost" in text and "go on from there" in text
    assert not (tmp_path / "set").exists()
    settings = {"episodes": 4, "progress": False}
    whole = record(Dot, tmp_path / "set", **settings | {"quality": "training"})
    assert [episode.seed for episode in whole] == [0, 1, 2, 3]


class Lost(Exception):
    """Can be sent to another process, but not be built anew there."""

    def __init__(self, place, seed):
        super().__init__(f"lost at {place}")
        self.seed = seed


class Straying(Dot):
    """Is lost in the first step of every episode."""

    def step(self, action):
        raise Lost("the edge", self.seed)


def test_an_error_that_cannot_leave_its_worker_is_told():
    with pytest.raises(RuntimeError, match="(?s)episode ., seed . failed.*Lost: lost at the edge"):
        record(Straying, episodes=4, workers=2, progress=False)


def test_a_killed_worker_is_reported_with_the_seed_it_recorded():
    with pytest.raises(ChildProcessError, match="exit code 7 in the middle of episode 2, seed 2"):
        record(make_dying, episodes=4, workers=2, progress=False)


def test_an_interrupt_leaves_a_recording_that_can_be_resumed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        textwrap.dedent(
            """
            import sys
            import time

            sys.path[:0] = sys.argv[1:]
            import test_recording
            from worldsim.recording import record

            class Dot(test_recording.Dot):
                def step(self, action):
                    time.sleep(0.02)
                    return super().step(action)

            if __name__ == "__main__":
                print("ready", flush=True)
                record(Dot, "set", episodes=1000, workers=2, max_steps=9, quality="lossless")
            """
        )
    )
    folders = [os.path.dirname(__file__), os.path.dirname(os.path.dirname(__file__))]
    process = subprocess.Popen(
        [sys.executable, script, *folders], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    staging, deadline = tmp_path / "set.partial", time.time() + 60
    while len(list(staging.glob("*.npz"))) < 3 and time.time() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode != 0 and "run the same again to go on" in errors
    assert not (tmp_path / "set").exists()
    whole = record(Dot, tmp_path / "set", episodes=3, max_steps=9, quality="lossless")
    assert_same_data(list(whole)[:3], record(Dot, episodes=3, max_steps=9, progress=False))


def wander(observation, rng):
    return rng.uniform(-1, 1, 2)


@pytest.mark.parametrize(
    "policy",
    ["random", "sticky", "keys", "test_recording:wander", wander],
)
def test_every_policy_records_the_same_for_the_same_seed(policy):
    one, other = (
        record(Dot, episodes=2, policy=policy, max_steps=20, progress=False) for _ in range(2)
    )
    assert_same_data(one, other)
    assert not np.array_equal(one[0].actions[:3], one[1].actions[:3])


def test_sticky_actions_last_some_ten_steps():
    episode = record("CartPole-v1", episodes=40, policy="sticky", max_steps=8, progress=False)
    same = [(e.actions[1:] == e.actions[:-1]).all(1).mean() for e in episode]
    assert 0.85 < np.mean(same) < 1


def test_keys_reach_the_ends_of_an_action_and_each_episode_has_its_own():
    data = record("Pendulum-v1", episodes=12, policy="keys", max_steps=40, progress=False)
    every = np.concatenate([e.actions for e in data])
    for end in (-2, 0, 2):  # left, nothing, right
        assert 0.05 < (every == end).mean() < 0.65
    assert 0.1 < (~np.isin(every, (-2, 0, 2))).mean() < 0.4  # and now and then anything
    same = [(e.actions[1:] == e.actions[:-1]).mean() for e in data]
    assert 0.85 < np.mean(same) < 1
    assert np.std([e.actions.mean() for e in data]) > 0.3


def test_an_arrow_and_the_letter_that_stands_for_the_same_are_not_held_together():
    """They added up: half of full gas became full gas."""

    class Gentle(Dot):
        def get_keys_to_action(self):
            return {("left",): np.float32([-0.5, 0]), ("right",): np.float32([0.25, 0])}

    data = record(Gentle, episodes=20, policy="keys", max_steps=40, progress=False)
    every = np.concatenate([e.actions for e in data])
    held = every[every[:, 1] == 0, 0]  # without what chance draws from the whole box
    assert set(held) == {-0.5, -0.25, 0, 0.25}


def test_a_recording_by_an_object_goes_on(tmp_path):
    """Its name held an address in memory, so no later process could go on."""

    class Push:
        def __call__(self, observation, rng):
            return np.ones(2, np.float32)

    for episodes in (1, 2):
        data = record(
            Dot, tmp_path / "set", policy=Push(), episodes=episodes, max_steps=3, progress=False
        )
    assert len(data) == 2


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), None, [1.0, 2.0]])
def test_a_reward_that_is_no_number_is_refused_at_once(reward):
    """It spoilt a whole recording, and the training on it broke off without a word about it."""

    class Broken(Dot):
        def step(self, action):
            frame, _, *rest = super().step(action)
            return frame, reward if self.steps == 1 else np.float32([1.0]), *rest

    with pytest.raises(ValueError, match="finite number, got .* at step 0; mend the env"):
        record(Broken, episodes=1, max_steps=4, progress=False)


@pytest.mark.parametrize(
    "told, says",
    [
        ({"scene": None}, r'`info\["scene"\]` must be a dict, got None; leave it out'),
        ({"scene": ["a", "b"]}, r'`info\["scene"\]` must be a dict, got \[.a., .b.\]'),
        ({"state": None}, r'`info\["state"\]` must be a dict, got None; leave it out'),
        (
            {"state": {"room": "hall"}},
            r"'room'\]` must be a number or an array of .*, got 'hall'",
        ),
        ({"state": {"room": None}}, r"'room'\]` must be a number or an array of them, got None"),
        ({"state": {"at": [[1], [1, 2]]}}, r"'at'\]` must be a number or an array of them, got"),
    ],
)
def test_what_an_env_tells_in_another_shape_is_refused_at_once(told, says):
    """A make recorded and trained with it to the end, and only then broke off."""

    class Odd(Dot):
        def _info(self):
            return super()._info() | told

    with pytest.raises(TypeError, match=says):
        record(Odd, episodes=1, max_steps=4, progress=False)


def test_only_keys_whose_actions_the_env_takes_are_kept():
    """A wrapper changed the actions, and the world made of it could not be opened."""

    class Choice(gymnasium.ActionWrapper):
        action_space = spaces.Discrete(2)

        def action(self, action):
            return np.float32([action, action])

    settings = {"policy": "random", "episodes": 1, "max_steps": 2, "progress": False}
    assert record(lambda: Choice(Dot()), **settings).info.keys == []


def test_a_recording_remembers_how_its_env_is_made(tmp_path, monkeypatch):
    """A class of one's own that is called CartPole was taken for Gymnasium's."""
    (tmp_path / "odd.py").write_text(
        "from test_recording import Dot\n\n\nclass CartPole(Dot):\n    pass\n\n\n"
        "def make(size=1):\n    return CartPole()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = {"episodes": 1, "max_steps": 3, "progress": False}
    assert record("odd:make", **settings).info.env_id == "odd:make"
    info = record(partial(open_env, "odd:make", size=2), **settings).info
    assert (info.env_id, info.env_kwargs) == ("odd:make", {"size": 2})
    assert record(Dot(), **settings).info.env_id == ""
    assert record("worldsim:worldsim/Drive-v0", **settings).info.env_id == "worldsim/Drive-v0"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_told_in_one_line_by_however_many_workers(tmp_path, capsys, workers):
    """Those of several workers were shown as two tracebacks."""
    words = f"record env={__name__}:make_dot_that_fails env_kwargs.fail_seed=1 policy=random"
    words += f" episodes=2 workers={workers} max_steps=3 out={tmp_path / 'set'}"
    assert main(words.split()) == 1
    *bar, line = capsys.readouterr().err.splitlines()
    assert line.startswith("worldsim record: the dot is lost; while recording episode 1, seed 1; ")
    assert all("recording" in shown for shown in bar if shown)
    with pytest.raises(ArithmeticError, match="the dot is lost") as caught:
        main([*words.split(), "--traceback"])
    shown = "".join(traceback.format_exception(caught.value))
    assert 'raise ArithmeticError("the dot is lost")' in shown


def make_dot_that_fails(fail_seed=None):
    return Dot(fail_seed=fail_seed)


def test_an_env_by_id_is_rendered_and_rebuilt_in_workers():
    settings = {"episodes": 2, "policy": "random", "max_steps": 3, "progress": False}
    one = record("CartPole-v1", workers=2, **settings)
    env = gymnasium.make("CartPole-v1", render_mode="rgb_array")
    other = record(env, **settings)
    np.testing.assert_array_equal(one[1].frames, other[1].frames)
    assert one.info.frame_size == (400, 600) and one.info.action_space == spaces.Discrete(2)
    env.reset()  # an env that was passed in stays open
    env.close()


@pytest.mark.parametrize(
    "arguments, error, says",
    [
        ({"policy": "clever"}, ValueError, "`policy` must be"),
        ({"env": "CartPole-v1"}, ValueError, "scripted_action"),
        ({"env": Mute, "policy": "keys"}, ValueError, "keys can stand for"),
        ({"env": 3}, TypeError, "`env` must be"),
        ({"env": Rendered}, ValueError, 'render_mode="rgb_array"'),
        ({"episodes": 0}, ValueError, "`episodes` must be"),
        ({"seed": -1}, ValueError, "`seed` must be at least 0"),
        ({"workers": 1.5}, TypeError, "`workers` must be a whole number"),
        ({"env": lambda: Dot(), "workers": 2}, TypeError, "workers=1"),
        ({"env": Dot(), "workers": 2}, ValueError, "without a spec"),
        ({"policy": lambda obs, rng: [0, np.nan]}, ValueError, "finite"),
        ({"policy": lambda obs, rng: [0, 0, 0]}, ValueError, "shape"),
    ],
)
def test_bad_input_is_refused_with_the_rule_the_value_and_a_way_out(arguments, error, says):
    with pytest.raises(error, match=says):
        record(**{"env": Dot, "episodes": 3, "progress": False} | arguments)


def test_bad_quality_is_refused_before_anything_is_recorded(tmp_path):
    with pytest.raises(ValueError, match="`quality` must be one of"):
        record(Dot, tmp_path / "set", episodes=1, quality="best", progress=False)
    assert not any(tmp_path.iterdir())


def test_recording_to_memory_works_without_pyav(monkeypatch, memory):
    monkeypatch.setitem(sys.modules, "av", None)
    assert_same_data(record(Dot, episodes=5, seed=40, max_steps=9, progress=False), memory)


def test_recordings_of_a_wrapped_env_do_not_name_another_one():
    """Agents were judged, and replays checked, in the env without its wrappers or arguments."""
    settings = {"episodes": 1, "max_steps": 2, "progress": False}
    gymnasium.register("test/Dot-v0", Dot)
    try:
        seen = RecordEpisodeStatistics(
            gymnasium.make("test/Dot-v0", disable_env_checker=True, render_mode="rgb_array")
        )
        assert record(seen, **settings).info.env_id == "test/Dot-v0"
        for env, why in (
            (TransformReward(seen, lambda reward: 10 * reward), "wrapped by TransformReward"),
            (
                gymnasium.make(
                    "test/Dot-v0", disable_env_checker=True, render_mode="rgb_array", die_seed=1j
                ),
                "no JSON",
            ),
        ):
            with pytest.warns(UserWarning, match=why):
                info = record(env, **settings).info
            assert (info.env_id, info.env_kwargs) == ("", {})
    finally:
        del gymnasium.registry["test/Dot-v0"]


def test_an_id_may_name_the_module_that_registers_it(tmp_path, monkeypatch):
    registering = "import gymnasium\ngymnasium.register('test/Lamp-v0', 'gone:Lamp')\n"
    (tmp_path / "lamps.py").write_text(registering)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    with pytest.raises(ModuleNotFoundError, match="gone"):  # found, and what it points at is not
        open_env("lamps:test/Lamp-v0")
    del gymnasium.registry["test/Lamp-v0"]


def test_a_file_names_no_function_of_just_any_module(tmp_path, monkeypatch):
    """The viewer, agents and measures open the env that a stranger's world says it is of."""
    (tmp_path / "mine.py").write_text(
        "import gymnasium\nfrom os import system\n"
        "def make():\n    return gymnasium.make('CartPole-v1')\n"
    )
    monkeypatch.chdir(tmp_path)
    for name, kwargs in (
        ("os:system", {"command": "touch run"}),
        ("mine:system", {"command": "touch run"}),
        ("gymnasium.utils.play:play", {"env": None}),
        ("worldsim/Filmed-v0", {"env": "os:system", "command": "touch run"}),
    ):
        with pytest.raises(ValueError, match="a file names must be an id"):
            reopen_env(name, kwargs)
    assert not (tmp_path / "run").exists()
    for name in ("mine:make", "gymnasium.envs.classic_control:CartPoleEnv", "CartPole-v1"):
        reopen_env(name, {}).close()
