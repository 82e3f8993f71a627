"""Agents learn in a world by its own rules, and are judged where they have never been."""

import gymnasium
import numpy as np
import pytest
from conftest import make_tiny_world
from gymnasium import spaces

import worldsim
from worldsim.agents import AgentConfig, table
from worldsim.cli import main
from worldsim.env import WorldEnv
from worldsim.vector_env import WorldVectorEnv

sb3 = pytest.importorskip("stable_baselines3")
BUTTONS = spaces.Discrete(2)
QUIET = {"minutes": 0.0, "progress": False, "horizon": 8}


class Lamp(gymnasium.Env):
    """A lamp that is red or green; who presses the button of its colour earns 1."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space, action_space = spaces.Box(0, 255, (32, 32, 3), np.uint8), BUTTONS

    def __init__(self, render_mode="rgb_array"):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self._change(), {}

    def step(self, action):
        earned = float(action == self.colour)
        return self._change(), earned, False, False, {}

    def render(self):
        frame = np.full((32, 32, 3), 20, np.uint8)
        frame[..., self.colour] = 220
        return frame

    def _change(self):
        self.colour = int(self.np_random.integers(2))
        return self.render()


gymnasium.register("test/Lamp-v0", Lamp)


@pytest.fixture(scope="module")
def world():
    return make_tiny_world(BUTTONS, env_id="test/Lamp-v0", sampler_steps=1, keys=[])


def test_an_agent_learns_what_earns_and_is_judged_in_the_real_env(world, tmp_path):
    out = worldsim.train_agent(
        world, out=str(tmp_path / "lamp.zip"), real=True, steps=4096, num_envs=8, frames=1, **QUIET
    )
    figures = worldsim.judge_agent(world, out, episodes=10, out=str(out), **QUIET)
    assert figures["agent, real"]["return"] > 7.5 > 5.5 > figures["random, real"]["return"] > 2.5
    assert {"agent, imagined", "autopilot, imagined"} < set(figures)
    assert all(row["length"] <= 8 for row in figures.values())
    assert f"| agent, real | {figures['agent, real']['return']:.1f} ±" in table(figures)


def test_an_agent_learns_on_in_the_dream_and_plays_in_the_viewer(world, tmp_path):
    out = tmp_path / "agents/tiny.zip"
    settings = QUIET | {"out": str(out), "num_envs": 4, "frames": 2}
    for steps in (4, 8):  # the second goes on from the first
        worldsim.train_agent(world, steps=steps, **settings)
    learner = sb3.PPO.load(out)
    assert learner.observation_space.shape == (6, 32, 32) and learner.num_timesteps == 12
    assert [path.name for path in out.parent.iterdir()] == ["tiny.zip"]
    filmed = tmp_path / "tiny.mp4"
    assert worldsim.play(WorldEnv(world), agent=str(out), frames=4, out=str(filmed)) == [filmed]


def test_rows_that_end_tell_stable_baselines_how(world):
    from worldsim.sb3 import GymVecEnv

    envs = GymVecEnv(WorldVectorEnv(world, 2, horizon=3), seed=5)
    same = WorldVectorEnv(world, 2, horizon=3)
    assert (envs.reset() == same.reset(seed=5)[0]).all()
    for _ in range(3):
        frames, rewards, done, infos = envs.step(np.zeros(2, np.int64))
        expected, earned, ended, cut, told = same.step(np.zeros(2, np.int64))
        assert (frames == expected).all() and np.allclose(rewards, earned)
        assert (done == (ended | cut)).all()
        for row in np.flatnonzero(done):
            assert (infos[row]["terminal_observation"] == told["final_obs"][row]).all()
            assert infos[row]["TimeLimit.truncated"] == (cut[row] and not ended[row])
    assert done.any()


def test_what_cannot_be_learned_is_refused_before_any_work(world, tmp_path, capsys):
    for bad in ({"out": "agent.txt"}, {"minutes": 0.0}, {"frames": 0}, {"steps": -1}):
        with pytest.raises(ValueError, match="zip|minutes|frames|steps"):
            AgentConfig(**bad)
    keys = spaces.Dict({"jump": BUTTONS})
    with pytest.raises(ValueError, match="MultiBinary actions"):
        worldsim.train_agent(make_tiny_world(keys), steps=4, out=str(tmp_path / "a.zip"), **QUIET)
    with pytest.raises(ValueError, match="knows no real env"):
        worldsim.train_agent(
            make_tiny_world(BUTTONS), steps=4, real=True, out=str(tmp_path / "a.zip"), **QUIET
        )
    assert not list(tmp_path.iterdir())
    assert main(["agent", "world=drive", "minutes=0", f"out={tmp_path / 'b.zip'}"]) != 0
    assert "got none at" in capsys.readouterr().err
