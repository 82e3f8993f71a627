"""Agents learn in any env by its own rules, and are judged where they have never been."""

import json
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from conftest import make_tiny_world
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

import worldsim
from worldsim.agents import act_at_random, check_learnable
from worldsim.cli import main
from worldsim.commanding.agents import AgentConfig, real_env, table
from worldsim.env import WorldEnv
from worldsim.filmed import ENV_ID, Filmed
from worldsim.policies import choose_policy
from worldsim.recording import record_episode
from worldsim.saved_agents import SavedAgent, load_agent
from worldsim.vector_env import WorldVectorEnv

sb3 = pytest.importorskip("stable_baselines3")
BUTTONS = spaces.Discrete(2)
QUIET = {"minutes": 0.0, "progress": False}


class Lamp(gymnasium.Env):
    """A lamp that is red or green; who presses the button of its colour earns 1."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space, action_space = spaces.Box(0, 255, (32, 32, 3), np.uint8), BUTTONS

    def __init__(self, render_mode="rgb_array"):
        self.render_mode, self.steps = render_mode, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps = 0
        return self._change(), {}

    def step(self, action):
        earned = float(action == self.colour)
        self.steps += 1
        return self._change(), earned, False, self.steps >= 8, {}

    def render(self):
        frame = np.full((32, 32, 3), 20, np.uint8)
        frame[..., self.colour] = 220
        return frame

    def _change(self):
        self.colour = int(self.np_random.integers(2))
        return self.render()


class Swapped(gymnasium.ActionWrapper):
    """Its buttons are the other way round."""

    def action(self, action):
        return 1 - action


def make_swapped(**_):
    return Swapped(Lamp())


def many_lamps(count=8):
    return SyncVectorEnv([Lamp] * count, autoreset_mode=AutoresetMode.SAME_STEP)


@pytest.fixture(scope="module")
def world():
    return make_tiny_world(BUTTONS, sampler_steps=1, keys=[])


@pytest.fixture(scope="module")
def lamp_agent(tmp_path_factory):
    out = tmp_path_factory.mktemp("agents") / "lamp.zip"
    return worldsim.train_agent(many_lamps(), out, steps=4096, frames=1, **QUIET)


def test_an_agent_learns_what_earns(lamp_agent):
    env = Lamp()
    learned = worldsim.judge_agent(env, lamp_agent, episodes=10)
    guessed = worldsim.judge_agent(env, act_at_random(env), episodes=10)
    assert learned["return"] > 7.5 > 5.5 > guessed["return"] > 2.5
    assert learned["length"] == 8 and guessed["error"] > 0
    assert f"| agent | {learned['return']:.1f} ±" in table({"agent": learned})


def test_it_is_judged_in_the_env_as_that_was_recorded(lamp_agent, world):
    kwargs = {"env": f"{__name__}:make_swapped", "frame_size": [32, 32], "repeat": 2}
    world.cfg.env_id, world.cfg.env_kwargs = ENV_ID, kwargs
    env = real_env(world, horizon=3)
    env.reset(seed=0)
    rewards, cut = zip(*[(r, t) for _, r, _, t, _ in (env.step(0) for _ in range(3))], strict=True)
    assert cut == (False, False, True) and max(rewards) == 2  # two steps for each action
    assert worldsim.judge_agent(env, lamp_agent, episodes=10)["return"] < 3  # pressed as it learned
    world.cfg.env_id = "gone/Gone-v0"
    assert real_env(world, horizon=3) is None


def test_an_agent_learns_on_in_a_dream_and_plays_in_the_viewer(world, tmp_path):
    out, settings = tmp_path / "agents/tiny.zip", QUIET | {"frames": 2}
    for steps in (4, 8):  # the second goes on from the first
        worldsim.train_agent(WorldVectorEnv(world, 4, horizon=8), out, steps=steps, **settings)
    model = sb3.PPO.load(out)
    assert model.observation_space.shape == (6, 32, 32) and model.num_timesteps == 16
    assert model._n_updates == 2 * model.n_epochs  # every frame that was played was learned from
    assert [path.name for path in out.parent.iterdir()] == ["tiny.zip"]
    with pytest.raises(ValueError, match="same number of frames"):
        worldsim.train_agent(WorldVectorEnv(world, 4), out, steps=4, **QUIET)
    filmed = tmp_path / "tiny.mp4"
    assert worldsim.play(WorldEnv(world), agent=str(out), frames=4, out=str(filmed)) == [filmed]


class Dimmer(Lamp):
    """A lamp of three buttons, or in a larger picture."""

    def __init__(self, buttons=2, size=32):
        super().__init__()
        self.action_space = spaces.Discrete(buttons)
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)

    def render(self):
        return np.zeros(self.observation_space.shape, np.uint8)


def test_an_agent_goes_on_only_where_it_sees_and_does_the_same(lamp_agent):
    """Stable-Baselines3's own errors named neither the file nor a way out."""
    before = lamp_agent.read_bytes()
    for made, fault in (({"buttons": 3}, r"Discrete\(3\)"), ({"size": 48}, r"\(48, 48, 3\)")):
        envs = SyncVectorEnv([lambda made=made: Dimmer(**made)] * 2, autoreset_mode="SameStep")
        with pytest.raises(ValueError, match=rf"agent at .*lamp\.zip .*{fault}.*another `out`"):
            worldsim.train_agent(envs, lamp_agent, steps=4, frames=1, **QUIET)
    assert lamp_agent.read_bytes() == before


@pytest.mark.parametrize("count, parts", [(8, 1), (12, 2), (13, 2)])
def test_a_rollout_is_learned_from_in_equal_parts(count, parts, tmp_path):
    """Twelve episodes at once left a smaller part over, of which Stable-Baselines3 warns."""
    steps = 600 if parts == 2 else 64
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = worldsim.train_agent(many_lamps(count), tmp_path / "a.zip", steps=steps, **QUIET)
    model = sb3.PPO.load(out)
    assert model.batch_size * parts == model.n_steps * count


def test_an_agent_that_was_trained_otherwise_is_read_too(tmp_path):
    env = gymnasium.make("CartPole-v1")
    for algorithm in (sb3.A2C, sb3.DQN):
        algorithm("MlpPolicy", env).save(tmp_path / "pole.zip")
        assert load_agent(tmp_path / "pole.zip")(env.reset(seed=0)[0], env.np_random) in (0, 1)


class Motion:
    """What Stable-Baselines3 would load: it sees two frames, and presses where they differ."""

    observation_space = spaces.Box(0, 255, (32, 32, 6), np.uint8)

    def predict(self, observation, deterministic):
        before, now = observation[..., :3], observation[..., 3:]
        return np.array(before.any() and (before != now).any(), int), None


def test_an_agent_that_is_recorded_begins_each_episode_afresh():
    """It once saw the last frame of the episode before beside the first of the next."""
    env, agent = Filmed(Lamp()), SavedAgent(Motion())
    for policy in (agent, choose_policy(agent, env)):
        episodes = [record_episode(env, policy, seed) for seed in range(8)]
        assert all(episode.actions[0].argmax() == 0 for episode in episodes)
        assert any(episode.actions.argmax(1).any() for episode in episodes)


class Chance(Motion):
    """It presses anything."""

    def predict(self, observation, deterministic):
        return np.array(torch.randint(1000, ()).item()), None


def test_an_agent_acts_without_a_generator_and_afresh_in_each_episode():
    env, agent = Lamp(), SavedAgent(Motion())
    for seed in range(4):
        policy, frame = agent.afresh(), env.reset(seed=seed)[0]
        assert policy(frame) == 0 and policy(255 - frame) == 1
    undecided = SavedAgent(Chance(), greedy=False)
    assert len({undecided(frame) for _ in range(5)}) > 1
    assert len({undecided(frame, np.random.default_rng(0)) for _ in range(5)}) == 1


def test_rows_that_end_tell_stable_baselines_how(world):
    from worldsim.sb3 import GymVecEnv

    envs = GymVecEnv(WorldVectorEnv(world, 2, horizon=3))
    same = WorldVectorEnv(world, 2, horizon=3)
    envs.seed(5)
    assert (envs.reset() == same.reset(seed=5)[0]).all()
    envs.seed(5)
    envs.set_options({"start": 0})
    assert (envs.reset() == same.reset(seed=5, options={"start": 0})[0]).all()
    for _ in range(3):
        frames, rewards, done, infos = envs.step(np.zeros(2, np.int64))
        expected, earned, ended, cut, told = same.step(np.zeros(2, np.int64))
        assert (frames == expected).all() and np.allclose(rewards, earned)
        assert (done == (ended | cut)).all()
        for row in np.flatnonzero(done):
            assert (infos[row]["terminal_observation"] == told["final_obs"][row]).all()
            assert infos[row]["TimeLimit.truncated"] == (cut[row] and not ended[row])
            assert infos[row]["prompt"] == told["final_info"]["prompt"][row]
        for row in np.flatnonzero(~done):
            assert infos[row]["prompt"] == told["prompt"][row] and len(infos[row]) > 1
    assert done.any()
    with pytest.raises(ValueError, match="share one env, got indices="):
        envs.env_method("set_prompt", "a red room", indices=[1])
    with pytest.raises(ValueError, match="SameStep"):
        GymVecEnv(SyncVectorEnv([Lamp]))
    with pytest.raises(ValueError, match='obs="latents"'):
        GymVecEnv(WorldVectorEnv(world, 2, obs="latents"))


class Talking(Lamp):
    """It tells more than numbers."""

    def step(self, action):
        *told, _ = super().step(action)
        known = {"why": {"deep": self.steps}} if self.steps % 2 else {}
        return *told, {"state": {"steps": self.steps, "name": "lamp"} | known}


def test_dicts_that_an_env_tells_reach_every_row(tmp_path):
    """Learning in the real Drive once ended at the first step, whose state is a dict."""
    from worldsim.sb3 import GymVecEnv

    lamps = SyncVectorEnv([Talking] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    envs = GymVecEnv(lamps)
    envs.reset()
    lamps.envs[1].steps = 5
    told = [[info["state"] for info in envs.step(np.zeros(2, np.int64))[3]] for _ in range(3)]
    assert told[0] == [
        {"steps": 1, "name": "lamp", "why": {"deep": 1}},
        {"steps": 6, "name": "lamp"},
    ]
    assert (
        told[1][1] == {"steps": 7, "name": "lamp", "why": {"deep": 7}} and "why" not in told[1][0]
    )
    assert told[2][1] == {"steps": 8, "name": "lamp"}  # where its episode ended
    assert worldsim.train_agent(lamps, tmp_path / "a.zip", steps=16, **QUIET).is_file()


def test_what_wrappers_tell_of_an_episode_that_ended_is_kept():
    """The `episode` of Gymnasium's RecordEpisodeStatistics was once dropped."""
    from worldsim.sb3 import GymVecEnv

    envs = GymVecEnv(RecordEpisodeStatistics(many_lamps(2)))
    envs.reset()
    steps = [envs.step(np.zeros(2, np.int64)) for _ in range(8)]
    for row, info in enumerate(steps[-1][3]):
        assert info["episode"]["l"] == 8
        assert info["episode"]["r"] == sum(rewards[row] for _, rewards, _, _ in steps)
        assert "final_obs" not in info and info["terminal_observation"].shape == (32, 32, 3)
    assert not any("episode" in info for info in steps[-2][3])


def test_judging_leaves_the_chance_of_others_alone(lamp_agent):
    """Reading an agent once seeded NumPy and torch with the agent's own seed, everywhere."""
    drawn = []
    for seed in (1, 2):
        np.random.seed(seed)
        torch.manual_seed(seed)
        assert np.isnan(worldsim.judge_agent(Lamp(), lamp_agent, episodes=1)["error"])
        drawn.append((np.random.rand(), torch.rand(()).item()))
    assert drawn[0][0] != drawn[1][0] and drawn[0][1] != drawn[1][1]


def test_a_model_is_judged_as_its_file_is(lamp_agent):
    model = sb3.PPO.load(lamp_agent, device="cpu")
    judged = [worldsim.judge_agent(Lamp(), agent, episodes=4) for agent in (model, lamp_agent)]
    assert judged[0] == judged[1] and model.num_timesteps == 4096


def test_what_is_no_env_or_no_agent_is_not_judged(lamp_agent):
    """Each of these once ended in an error of somebody else's."""
    for env in ("Lamp-v0", many_lamps(2), None):
        with pytest.raises(TypeError, match=f"single Gymnasium env, got {type(env).__name__}; use"):
            worldsim.judge_agent(env, lamp_agent)
    with pytest.raises(ValueError, match=r"`agent` must be a model .* got 'random'; .*act_at_rand"):
        worldsim.judge_agent(Lamp(), "random")
    with pytest.raises(TypeError, match="`agent` must be a model .* got int 3"):
        worldsim.judge_agent(Lamp(), 3)
    with pytest.raises(FileNotFoundError, match=r"no agent at gone\.zip"):
        worldsim.judge_agent(Lamp(), "gone.zip")


def test_the_command_learns_judges_and_keeps_the_table(world, tmp_path, capsys):
    world.cfg.env_id = ""
    folder, out = world.save(tmp_path / "lamps"), tmp_path / "lamps.zip"
    words = ["minutes=0", "steps=8", "num_envs=4", "frames=1", "horizon=3", "episodes=2"]
    assert not main(["agent", f"world={folder}", f"out={out}", "progress=false", *words])
    told = capsys.readouterr().out
    assert "| autopilot, imagined |" in told and "real" not in told and f"agent={out}" in told
    assert out.is_file() and "autopilot" in out.with_suffix(".json").read_text()
    assert not main(["agent", f"world={folder}", f"out={out}", "progress=false", *words])
    assert "learns on" in capsys.readouterr().out
    other = world.save(tmp_path / "other")
    assert main(["agent", f"world={other}", f"out={out}", *words]) != 0
    assert f"learned in the world {folder}" in capsys.readouterr().err
    kept, words[1] = out.with_suffix(".json").read_text(), "steps=0"
    assert not main(["agent", f"world={other}", f"out={out}", *words])  # is judged there, no more
    assert "| agent, imagined |" in capsys.readouterr().out
    assert out.with_suffix(".json").read_text() == kept
    assert main(["agent", f"world={folder}", f"out={out}", "real=true"]) != 0
    assert "does not know the env" in capsys.readouterr().err


def test_the_command_goes_on_however_the_world_is_spelled(world, tmp_path, monkeypatch, capsys):
    """It once took worlds/x/ for another world than worlds/x, and knew of none without figures."""
    world.cfg.env_id = ""
    monkeypatch.chdir(tmp_path)
    world.save("worlds/x")
    world.save("worlds/y")
    words = ["steps=8", "num_envs=4", "frames=1", "horizon=3", "episodes=0", "progress=false"]
    note = tmp_path / "agents/x.json"
    for spelled in ("worlds/x", "worlds/x/", "./worlds/x", str(tmp_path / "worlds/x")):
        assert not main(["agent", f"world={spelled}", *words])
        assert json.loads(note.read_text()) == {"world": spelled}
    assert capsys.readouterr().out.count("learns on") == 3
    assert main(["agent", "world=worlds/y", "out=agents/x.zip", *words])
    assert "learned in the world" in capsys.readouterr().err
    (tmp_path / "worlds/x").rename(tmp_path / "x")  # is not where it was, so its name must do
    assert not main(["agent", "world=x", *words])
    for damaged in ("{broken", "[]", "{}", '"world"'):
        note.write_text(damaged)
        assert main(["agent", "world=x", *words])
        assert "agents/x.json must say which world" in capsys.readouterr().err


def test_an_agent_that_is_stopped_remembers_its_world(world, tmp_path, monkeypatch):
    def stop(_, out, *rest):
        Path(out).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr("worldsim.commanding.agents.train_agent", stop)
    folder = world.save(tmp_path / "lamps")
    assert main(["agent", f"world={folder}", f"out={tmp_path / 'a.zip'}", "steps=8"]) == 130
    assert json.loads((tmp_path / "a.json").read_text()) == {"world": str(folder)}


def test_what_cannot_be_learned_is_refused_before_any_work(world, tmp_path):
    for bad in ({"out": "agent.txt"}, {"minutes": 0.0}, {"frames": 0}, {"steps": -1}):
        with pytest.raises(ValueError, match="zip|minutes|frames|steps"):
            AgentConfig(**bad)
    for bad in ({"steps": 20.5}, {"frames": 1.5}, {"num_envs": 2.0}, {"episodes": "3"}):
        with pytest.raises(TypeError, match=f"`{next(iter(bad))}` must be a whole number"):
            AgentConfig(**bad)
    assert AgentConfig(world="runs/a/world", real=True).out == "agents/a-real.zip"
    assert AgentConfig(steps=500).minutes == 0 and AgentConfig().minutes == 10
    with pytest.raises(ValueError, match="RescaleAction"):
        check_learnable(spaces.Box(-100, 100, (1,)))
    endless = spaces.Box(-np.inf, np.inf, (2,))
    for space in (spaces.Dict(a=BUTTONS), endless, spaces.Discrete(3, start=1)):
        with pytest.raises(ValueError, match="can learn a bounded Box"):
            check_learnable(space)
    late = SyncVectorEnv([Lamp], autoreset_mode=AutoresetMode.NEXT_STEP)
    with pytest.raises(ValueError, match="autoreset_mode=NextStep; make a world with"):
        worldsim.train_agent(late, tmp_path / "a.zip", steps=4, **QUIET)
    with pytest.raises(TypeError, match="must be a vector env, got Lamp"):
        worldsim.train_agent(Lamp(), tmp_path / "a.zip", steps=4, **QUIET)
    for obs in ("torch", "latents"):
        with pytest.raises(ValueError, match='obs="pixels"'):
            dreams = WorldVectorEnv(world, 2, obs=obs)
            worldsim.train_agent(dreams, tmp_path / "a.zip", steps=4, **QUIET)
    with pytest.raises(ValueError, match="budget"):
        worldsim.train_agent(many_lamps(), tmp_path / "a.zip", minutes=0)
    assert not list(tmp_path.iterdir())
