"""Agents of Stable-Baselines3 that learn in, and are judged by, any Gymnasium env.

Nothing here knows what a world is: an imagined env and the real one are learned from and played by
the same lines, which is how `worldsim agent` compares them.

References:
    World models, Ha and Schmidhuber 2018, https://arxiv.org/abs/1803.10122
    Proximal policy optimisation, Schulman et al. 2017, https://arxiv.org/abs/1707.06347
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Env, spaces
from gymnasium.vector import VectorEnv
from tqdm import tqdm

from worldsim.files import replacing
from worldsim.limits import check_counts, check_least
from worldsim.logs import BAR
from worldsim.saved_agents import as_policy, load_agent
from worldsim.spaces import Policy, afresh

GAMMA = 0.98  # half of what counts lies within 34 steps
BATCH = 256
ROLLOUT = 1024  # frames of all episodes together, after which it learns
SAVE_SECONDS = 120.0


@dataclass
class LearnConfig:
    """For how long an agent learns, and what it sees."""

    minutes: float | None = None
    """Of learning, 10 if there are no `steps` either; the first to run out ends it."""
    steps: int = 0
    """Of learning, in frames of all episodes together, rounded up to whole rollouts of at most
    1,024; 0 leaves the budget to `minutes`."""
    frames: int = 3
    """Frames that the agent sees: one alone shows no motion."""
    seed: int = 0
    device: str = ""
    """Where to run; chosen if empty."""
    progress: bool = True

    def __post_init__(self) -> None:
        if self.minutes is None:
            self.minutes = 0.0 if self.steps else 10.0
        check_least(self, minutes=0)
        check_counts(frames=self.frames)
        check_counts(0, steps=self.steps)


def train_agent(
    envs: VectorEnv, out: str | Path, cfg: LearnConfig | None = None, **settings: Any
) -> Path:
    """Let an agent learn by PPO.

    Args:
        envs: Episodes side by side, which are begun anew in the step that ends them
            (`AutoresetMode.SAME_STEP`), observed as frames.
        out: File of the agent, a .zip; one that is there already learns on.
        cfg: Budget.
        **settings: Fields of `LearnConfig`, for short (`minutes=30`).

    Returns:
        `out`, which `load_agent` and `play agent=...` take.

    Raises:
        ImportError: Without the extra `[rl]`.
        TypeError: If `envs` is no vector env, or a count no whole number.
        ValueError: If PPO knows no such actions or observations, rows do not begin anew in the
            step that ends them, there is no budget, or the agent that is there sees or does
            something else.
        KeyboardInterrupt: After Ctrl-C, once the agent is saved.
    """
    cfg, out = replace(cfg, **settings) if cfg else LearnConfig(**settings), Path(out)
    if not (cfg.minutes or cfg.steps):
        raise ValueError("learning needs a budget, got neither `minutes` nor `steps` above 0")
    if out.suffix != ".zip":
        raise ValueError(f"`out` must end in .zip, got {out}")
    _check_envs(envs)
    learner = _learner(envs, cfg, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        learner.learn(cfg.steps or 2**40, _within(cfg, out, learner), reset_num_timesteps=False)
    except KeyboardInterrupt:
        _save(learner, out)
        raise KeyboardInterrupt(
            f"stopped; the agent so far is in {out}, the same again goes on"
        ) from None
    _save(learner, out)
    return out


def judge_agent(
    env: Env, agent: str | Path | Policy | Any, *, episodes: int = 20, seed: int = 5_000_000
) -> dict[str, float]:
    """Play some episodes.

    Args:
        env: Where; episodes must end, by a time limit if not by themselves.
        agent: A model of Stable-Baselines3 or its file, which act greedily, or
            `policy(observation, rng) -> action`.
        episodes: How many.
        seed: Of the first one; the others count on.

    Returns:
        The mean `return` of an episode, its standard `error` (NaN of one alone) and the mean
        `length` in steps.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If `env` is no single env, or `agent` nothing that acts.
        ValueError: If `agent` is a name, or its file holds no agent.
    """
    check_counts(episodes=episodes)
    if not isinstance(env, Env):
        raise TypeError(
            f"`env` must be a single Gymnasium env, got {type(env).__name__}; use `gymnasium.make`"
        )
    returns, lengths, agent = [], [], as_policy(agent)
    for number in range(seed, seed + episodes):
        rng = np.random.default_rng(number)
        policy = afresh(agent)
        observation, _ = env.reset(seed=number)
        over, earned = False, []
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy(observation, rng))
            earned.append(float(reward))
            over = terminated or truncated
        returns.append(sum(earned))
        lengths.append(len(earned))
    error = np.std(returns, ddof=1) / np.sqrt(episodes) if episodes > 1 else np.nan
    figures = {"return": np.mean(returns), "error": error, "length": np.mean(lengths)}
    return {name: float(value) for name, value in figures.items()}


def act_at_random(env: Env) -> Policy:
    """Return a policy that draws from the env's action space."""

    def act(_: Any, rng: np.random.Generator) -> Any:
        env.action_space.seed(int(rng.integers(2**31)))
        return env.action_space.sample()

    return act


def _check_envs(envs: Any) -> None:
    """Refuse envs in which nothing can be learned here."""
    if not isinstance(envs, VectorEnv):
        raise TypeError(
            f"`envs` must be a vector env, got {type(envs).__name__}; use `gymnasium.make_vec`"
        )
    check_learnable(envs.single_action_space)
    space = envs.single_observation_space
    if not (isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3):
        raise ValueError(
            f"an agent learns from frames `(h, w, 3)` uint8, got {space}; make a world with "
            'obs="pixels", film another env with `worldsim/Filmed-v0`'
        )


def check_learnable(space: spaces.Space) -> None:
    """Refuse actions that PPO knows nothing of.

    Raises:
        ValueError: If it does not.
    """
    match space:
        case spaces.Box():
            fine = bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())
            reach = (space.high.astype(float) - space.low) / 2 if fine else np.ones(1)
            if not ((reach >= 0.1) & (reach <= 10)).all():
                raise ValueError(
                    "PPO explores in steps of about a third, so actions must reach from 0.1 to 10 "
                    f"either way, got {space}; wrap the env in `gymnasium.wrappers.RescaleAction` "
                    "before it is recorded"
                )
        case spaces.Discrete():
            fine = space.start == 0
        case spaces.MultiDiscrete() | spaces.MultiBinary():
            fine = len(space.shape) == 1 and not np.any(getattr(space, "start", 0))
        case _:
            fine = False
    if not fine:
        raise ValueError(
            "an agent can learn a bounded Box, and Discrete, MultiDiscrete or MultiBinary that "
            f"count from 0 in one row, got {space}; wrap the env so before it is recorded"
        )


def _learner(envs: VectorEnv, cfg: LearnConfig, out: Path) -> Any:
    """Set PPO up, or read the agent that is there."""
    try:
        from stable_baselines3 import PPO
        from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize

        from worldsim.sb3 import Eye, GymVecEnv
    except ImportError as error:
        raise ImportError("agents need `pip install worldsim-sdk[rl]`") from error
    known = load_agent(out).model if out.is_file() else None
    if known is not None and not isinstance(known, PPO):
        raise ValueError(
            f"only an agent of PPO learns on here, got one of {type(known).__name__} at {out}; "
            "choose another `out`"
        )
    steps = known.num_timesteps if known else 0
    few = max(2, min(ROLLOUT, cfg.steps or ROLLOUT) // envs.num_envs)
    often = {"n_steps": few, "batch_size": _batch_size(few * envs.num_envs)}
    rows = VecMonitor(GymVecEnv(envs))
    scaled = VecNormalize(rows, norm_obs=False, gamma=GAMMA)  # rewards alone, of whatever size
    seen = VecFrameStack(scaled, cfg.frames)
    if known is None:
        # real numbers vary by themselves; a bonus for that drives them to their bounds
        real = isinstance(envs.single_action_space, spaces.Box)
        spread = {"log_std_init": -1.0} if real else {}
        learner = PPO(
            "CnnPolicy", seen, seed=cfg.seed, device=cfg.device or "auto",
            policy_kwargs={"features_extractor_class": Eye} | spread,
            n_epochs=4, gamma=GAMMA, gae_lambda=0.95, ent_coef=0.0 if real else 0.01,
            learning_rate=3e-4, **often,
        )  # fmt: skip
    else:
        _check_known(known, seen, cfg, out)
        seed = cfg.seed + steps  # other chance than what it has seen
        learner = PPO.load(out, seen, device=cfg.device or "auto", seed=seed, **often)
        # else its values would mean something else; PPO by itself does not scale
        scaled.ret_rms = getattr(learner, "reward_scale", scaled.ret_rms)
    learner.reward_scale = scaled.ret_rms
    return learner


def _batch_size(frames: int) -> int:
    """Return the share of a rollout nearest to `BATCH` that goes into it without a rest."""
    shares = [size for size in range(1, frames + 1) if frames % size == 0]
    return min(shares, key=lambda size: abs(np.log(size / BATCH)))


def _check_known(known: Any, seen: Any, cfg: LearnConfig, out: Path) -> None:
    """Refuse to go on with an agent that saw or did something else."""
    h, w, c = seen.observation_space.shape
    had = known.observation_space.shape
    if had not in ((h, w, c), (c, h, w)):
        raise ValueError(
            f"the agent at {out} sees observations of shape {had}, got frames={cfg.frames} of "
            f"{(h, w, c // cfg.frames)}; use the same number of frames in the same size, or "
            "another `out`"
        )
    if known.action_space != seen.action_space:
        raise ValueError(
            f"the agent at {out} acts in {known.action_space}, got envs of {seen.action_space}; "
            "let it learn on where actions are the same, or choose another `out`"
        )


def _save(learner: Any, out: Path) -> None:
    with replacing(out) as part:
        learner.save(part)


def _within(cfg: LearnConfig, out: Path, learner: Any) -> Callable[..., bool]:
    """Return a callback that shows a bar, saves now and then and ends the learning in time."""
    began = saved = time.monotonic()
    first = learner.num_timesteps
    bar = tqdm(total=100, desc="agent", disable=not cfg.progress, bar_format=BAR)

    def step(*_: Any) -> bool:
        nonlocal saved
        now, done = time.monotonic(), learner.num_timesteps - first
        if now - saved > SAVE_SECONDS:
            _save(learner, out)
            saved = now
        by_time = (now - began) / (60 * cfg.minutes) if cfg.minutes else 0.0
        share = max(by_time, done / cfg.steps if cfg.steps else 0.0)
        if learner.ep_info_buffer:
            earned = np.mean([episode["r"] for episode in learner.ep_info_buffer])
            bar.set_postfix_str(f"return {earned:.2f} frames {done}", refresh=False)
        bar.update(min(100, 100 * share) - bar.n)
        if share >= 1:
            bar.close()
        return by_time < 1 or learner.rollout_buffer.pos > 0  # what was played is learned from

    return step
