"""Agents that learn in a world and are judged in the env that the world was recorded from.

PPO of Stable-Baselines3 plays many imagined episodes at once, each some hundred frames long and
begun at recorded moments, so that it seldom meets what the world has long stopped dreaming well.
What it is worth shows in the real env, which it has never seen: `judge_agent` plays it there and in
the dream, beside somebody who acts at random, the recorded policy as the world learned it, and the
env's own driver.

References:
    World models, Ha and Schmidhuber 2018, https://arxiv.org/abs/1803.10122
    Proximal policy optimisation, Schulman et al. 2017, https://arxiv.org/abs/1707.06347
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import Env, spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import TimeLimit
from tqdm import tqdm

from worldsim.env import WorldEnv
from worldsim.files import write_text
from worldsim.filmed import Filmed
from worldsim.spaces import Policy
from worldsim.vector_env import WorldVectorEnv
from worldsim.viewing.pilots import load_pilot
from worldsim.world import World, load

LEARNABLE = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)
SAVE_SECONDS = 120.0
JUDGED = 5_000_000  # first seed of the episodes that agents are judged by


@dataclass
class AgentConfig:
    """Where an agent learns, for how long, and how it is judged."""

    world: str = "drive"
    """Name of a shipped world, a folder or a Hub id."""
    out: str = ""
    """File of the agent; agents/<world>.zip if empty. One that is there already learns on."""
    minutes: float = 10.0
    """Of learning; 0 leaves the budget to `steps`, and without both the agent is only judged."""
    steps: int = 0
    """Of learning, in frames of all episodes together; 0 leaves the budget to `minutes`."""
    real: bool = False
    """Learn in the env that the world was recorded from instead, to compare."""
    num_envs: int = 16
    """Episodes played at once."""
    frames: int = 3
    """Frames that the agent sees: one alone shows no motion."""
    horizon: int = 100
    """Steps of an episode, at most, in learning and in judging."""
    episodes: int = 20
    """Episodes of each kind to judge by; 0 judges nothing."""
    seed: int = 0
    device: str = ""
    """Where to run; chosen if empty."""
    progress: bool = True

    def __post_init__(self) -> None:
        for name in ("num_envs", "frames", "horizon"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}")
        for name in ("minutes", "steps", "episodes"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be at least 0, got {getattr(self, name)}")
        self.out = self.out or f"agents/{Path(self.world).name}.zip"
        if not self.out.endswith(".zip"):
            raise ValueError(f"`out` must end in .zip, got {self.out!r}")
        if not self.learns and not Path(self.out).is_file():
            raise ValueError(
                f"minutes=0 judges the agent that is there, got none at {self.out}; set `minutes`"
            )

    @property
    def learns(self) -> bool:
        """Whether there is any budget."""
        return bool(self.minutes or self.steps)


def train_agent(world: str | Path | World, cfg: AgentConfig | None = None, **settings: Any) -> Path:
    """Let an agent learn in a world, and save it for `play agent=...`.

    Args:
        world: A shipped world, a folder, a Hub id, or a `World`.
        cfg: Budget and settings.
        **settings: Fields of `AgentConfig`, for short (`minutes=30`).

    Returns:
        Where the agent lies.

    Raises:
        ImportError: Without the extra `[rl]`.
        ValueError: If PPO knows no such actions, or `real` asks for an env that is not there.
        KeyboardInterrupt: After Ctrl-C, once the agent is saved.
    """
    cfg, world = _settle(world, cfg, settings)
    if not isinstance(world.action_space, LEARNABLE):
        raise ValueError(
            "an agent can learn Box, Discrete, MultiDiscrete and MultiBinary actions, got "
            f"{world.action_space}; flatten them in the env before it is recorded"
        )
    try:
        import stable_baselines3  # noqa: F401
    except ImportError as error:
        raise ImportError("agents need `pip install worldsim-sdk[rl]`") from error
    envs = _many_real(world, cfg) if cfg.real else _many_imagined(world, cfg)
    learner, out = _learner(envs, cfg), Path(cfg.out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        learner.learn(2**40, _within(cfg, out, learner), reset_num_timesteps=False)
    finally:
        _save(learner, out)
        envs.close()
    return out


def judge_agent(
    world: str | Path | World,
    agent: str | Path | Policy,
    cfg: AgentConfig | None = None,
    **settings: Any,
) -> dict[str, dict[str, Any]]:
    """Play an agent and others, imagined and real.

    Args:
        world: The world; where it knows the env that it was recorded from, that is played too.
        agent: A file of Stable-Baselines3, or `policy(observation, rng) -> action`.
        cfg: How many episodes, how long.
        **settings: Fields of `AgentConfig`, for short.

    Returns:
        By who acts where ("agent, imagined"), the mean `return` of an episode, its standard `error`
        and the mean `length`.
    """
    cfg, world = _settle(world, cfg, settings)
    fresh = partial(load_pilot, str(agent) if isinstance(agent, Path) else agent)
    dream = WorldEnv(world, horizon=cfg.horizon)
    figures = {
        "agent, imagined": _play(dream, fresh, cfg),
        "random, imagined": _play(dream, partial(_at_random, dream), cfg),
        "autopilot, imagined": _play(dream, lambda: lambda *_: dream.autopilot_action(), cfg),
    }
    try:
        real = _real(world, cfg)
    except ValueError:
        return figures
    figures["agent, real"] = _play(real, fresh, cfg)
    figures["random, real"] = _play(real, partial(_at_random, real), cfg)
    driver = getattr(real.unwrapped, "scripted_action", None)
    if driver is not None:
        figures["its own driver, real"] = _play(real, lambda: lambda _, rng: driver(rng), cfg)
    real.close()
    return figures


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Write what `judge_agent` found as Markdown."""
    rows = [
        f"| {name} | {row['return']:.1f} ± {row['error']:.1f} | {row['length']:.0f} |"
        for name, row in figures.items()
    ]
    return "\n".join(["| who, where | return | steps |", "| --- | --- | --- |", *rows])


def run(cfg: AgentConfig) -> None:
    """Do what `worldsim agent` says."""
    world = load(cfg.world, cfg.device or None)
    if cfg.learns:
        train_agent(world, cfg)
    if cfg.episodes:
        figures = judge_agent(world, cfg.out, cfg)
        about = {"world": world.cfg.name, "episodes": cfg.episodes, "horizon": cfg.horizon}
        write_text(Path(cfg.out).with_suffix(".json"), json.dumps(about | figures, indent=2) + "\n")
        print(table(figures))
    print(f"{cfg.out}: an agent; watch it: worldsim play world={cfg.world} agent={cfg.out}")


def _settle(
    world: str | Path | World, cfg: AgentConfig | None, settings: dict[str, Any]
) -> tuple[AgentConfig, World]:
    name = world.cfg.name if isinstance(world, World) else str(world)
    cfg = replace(cfg, **settings) if cfg else AgentConfig(world=name, **settings)
    return cfg, world if isinstance(world, World) else load(world, cfg.device or None)


def _many_imagined(world: World, cfg: AgentConfig) -> VectorEnv:
    return WorldVectorEnv(world, cfg.num_envs, horizon=cfg.horizon, render_mode=None)


def _many_real(world: World, cfg: AgentConfig) -> VectorEnv:
    makers = [partial(_real, world, cfg)] * cfg.num_envs
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


def _real(world: World, cfg: AgentConfig) -> Env:
    """Make the env that a world was recorded from, in the same frames.

    Raises:
        ValueError: If the world does not know it, or it cannot be made here.
    """
    name, kwargs = world.cfg.env_id, world.cfg.env_kwargs
    if not name:
        raise ValueError("a world of recordings alone knows no real env; leave `real` out")
    try:
        env = gymnasium.make(name, render_mode="rgb_array", **kwargs).unwrapped
    except (gymnasium.error.Error, ImportError, TypeError) as error:
        raise ValueError(
            f"{name}, which the world was recorded from, is not here: {error}"
        ) from error
    return TimeLimit(Filmed(env, world.cfg.frame_size), cfg.horizon)


def _play(env: Env, make: Callable[[], Policy], cfg: AgentConfig) -> dict[str, Any]:
    """Play some episodes, each with a policy that remembers no other, and tell how they went."""
    returns, lengths = [], []
    for seed in range(JUDGED + cfg.seed, JUDGED + cfg.seed + cfg.episodes):
        policy, rng = make(), np.random.default_rng(seed)
        observation, _ = env.reset(seed=seed)
        over, earned = False, []
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy(observation, rng))
            earned.append(float(reward))
            over = terminated or truncated
        returns.append(sum(earned))
        lengths.append(len(earned))
    error = np.std(returns, ddof=1) / np.sqrt(len(returns)) if len(returns) > 1 else 0.0
    return {
        "return": float(np.mean(returns)), "error": float(error), "length": float(np.mean(lengths))
    }  # fmt: skip


def _at_random(env: Env) -> Policy:
    def act(_: Any, rng: np.random.Generator) -> Any:
        env.action_space.seed(int(rng.integers(2**31)))
        return env.action_space.sample()

    return act


def _learner(envs: VectorEnv, cfg: AgentConfig) -> Any:
    """Set PPO up, or read the agent that is there."""
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

    from worldsim.sb3 import Eye, GymVecEnv

    seen = VecMonitor(GymVecEnv(envs, cfg.seed))
    seen = VecNormalize(seen, norm_obs=False, gamma=0.98)  # rewards alone: of what size they may be
    seen = VecFrameStack(seen, cfg.frames)
    if Path(cfg.out).is_file():
        return PPO.load(cfg.out, seen, device=cfg.device or "auto")
    return PPO(
        "CnnPolicy", seen, seed=cfg.seed, device=cfg.device or "auto",
        policy_kwargs={"features_extractor_class": Eye},
        n_steps=max(2, 1024 // cfg.num_envs), batch_size=256, n_epochs=4,
        gamma=0.98, gae_lambda=0.95, ent_coef=0.01, learning_rate=3e-4,
    )  # fmt: skip


def _save(learner: Any, out: Path) -> None:
    part = out.with_name(f"{out.stem}.part.zip")
    learner.save(part)
    os.replace(part, out)


def _within(cfg: AgentConfig, out: Path, learner: Any) -> Callable[..., bool]:
    """Return a callback that shows a bar, saves now and then and ends the learning in time."""
    began = saved = time.monotonic()
    first = learner.num_timesteps
    bar = tqdm(total=100, desc="agent", disable=not cfg.progress, bar_format=_BAR)

    def step(*_: Any) -> bool:
        nonlocal saved
        now = time.monotonic()
        if now - saved > SAVE_SECONDS:
            _save(learner, out)
            saved = now
        share = (now - began) / (60 * cfg.minutes) if cfg.minutes else 0.0
        share = max(share, (learner.num_timesteps - first) / cfg.steps if cfg.steps else 0.0)
        if learner.ep_info_buffer:
            earned = np.mean([episode["r"] for episode in learner.ep_info_buffer])
            bar.set_postfix_str(f"return {earned:.2f} steps {learner.num_timesteps}", refresh=False)
        bar.update(min(100, 100 * share) - bar.n)
        if share >= 1:
            bar.close()
        return share < 1

    return step


_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"
