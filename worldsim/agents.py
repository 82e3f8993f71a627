"""Agents of Stable-Baselines3 that learn in, and are judged by, any Gymnasium env.

Nothing here knows what a world is: an imagined env and the real one are learned from and played by
the same lines, which is how `worldsim agent` compares them.

References:
    World models, Ha and Schmidhuber 2018, https://arxiv.org/abs/1803.10122
    Proximal policy optimisation, Schulman et al. 2017, https://arxiv.org/abs/1707.06347
"""

import json
import os
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import Env, spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from tqdm import tqdm

from worldsim.limits import check_counts, check_least
from worldsim.spaces import Policy, afresh

# the part of a module's name that tells whose policy lies in a Stable-Baselines3 file; actor and
# critic in common act alike whether PPO or A2C trained them
AGENTS = {
    "stable_baselines3.common": "stable_baselines3:PPO",
    "stable_baselines3.dqn": "stable_baselines3:DQN",
    "stable_baselines3.sac": "stable_baselines3:SAC",
    "stable_baselines3.td3": "stable_baselines3:TD3",
    "sb3_contrib.qrdqn": "sb3_contrib:QRDQN",
    "sb3_contrib.tqc": "sb3_contrib:TQC",
}
GAMMA = 0.98  # half of what counts lies within 34 steps
BATCH = 256
ROLLOUT = 1024  # frames of all episodes together, after which it learns
SAVE_SECONDS = 120.0
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining} {postfix}"


@dataclass
class LearnConfig:
    """For how long an agent learns, and what it sees."""

    minutes: float = 10.0
    """Of learning; 0 leaves the budget to `steps`, else the first to run out ends it."""
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
        check_least(self, minutes=0, steps=0, frames=1)


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
        TypeError: If `envs` is no vector env.
        ValueError: If PPO knows no such actions or observations, there is no budget, or the agent
            that is there sees another number of frames.
        KeyboardInterrupt: After Ctrl-C, once the agent is saved.
    """
    cfg, out = replace(cfg or LearnConfig(), **settings), Path(out)
    if not (cfg.minutes or cfg.steps):
        raise ValueError("learning needs a budget, got neither `minutes` nor `steps` above 0")
    if out.suffix != ".zip":
        raise ValueError(f"`out` must end in .zip, got {out}")
    _check_envs(envs)
    learner = _learner(envs, cfg, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        most = cfg.steps or 2**40
        learner.learn(most, _within(cfg, out, learner), reset_num_timesteps=False)
    except KeyboardInterrupt:
        _save(learner, out)
        raise KeyboardInterrupt(
            f"stopped; the agent so far is in {out}, the same again goes on"
        ) from None
    _save(learner, out)
    return out


def judge_agent(
    env: Env, agent: str | Path | Policy, *, episodes: int = 20, seed: int = 5_000_000
) -> dict[str, float]:
    """Play some episodes.

    Args:
        env: Where; episodes must end, by a time limit if not by themselves.
        agent: A file of Stable-Baselines3, which acts greedily, or `policy(observation, rng) ->
            action`.
        episodes: How many.
        seed: Of the first one; the others count on.

    Returns:
        The mean `return` of an episode, its standard `error` and the mean `length` in steps.
    """
    check_counts(episodes=episodes)
    returns, lengths = [], []
    agent = agent if callable(agent) else load_agent(agent)
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
    error = np.std(returns, ddof=1) / np.sqrt(episodes) if episodes > 1 else 0.0
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
    frames = isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3
    seen = getattr(envs.unwrapped, "obs", "pixels")  # a world's; of others, it may be anything
    if not frames or isinstance(seen, str) and seen != "pixels":
        raise ValueError(
            f"an agent learns from frames `(h, w, 3)` uint8 in NumPy arrays, got {space}; make a "
            'world with obs="pixels", film another env with `worldsim/Filmed-v0`'
        )
    mode = envs.metadata.get("autoreset_mode")
    if mode is not AutoresetMode.SAME_STEP:
        raise ValueError(
            "an agent learns where episodes begin anew in the step that ends them, got "
            f"autoreset_mode={getattr(mode, 'value', mode)}; make a world with "
            'autoreset_mode="SameStep", others with vector_kwargs={"autoreset_mode": "SameStep"}'
        )


def check_learnable(space: spaces.Space) -> None:
    """Refuse actions that PPO knows nothing of.

    Raises:
        ValueError: If it does not.
    """
    match space:
        case spaces.Box():
            fine = bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())
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


class SavedAgent:
    """An agent that Stable-Baselines3 saved; frames are stacked as its observations were.

    Args:
        model: The algorithm, as its `load` returned it.
        greedy: Whether it does what it thinks best, or draws.
    """

    def __init__(self, model: Any, greedy: bool = True) -> None:
        self.model, self.greedy = model, greedy
        self.shape = model.observation_space.shape
        self.seen: list[np.ndarray] = []

    def afresh(self) -> "SavedAgent":
        """Return the same agent, which has seen nothing yet."""
        return SavedAgent(self.model, self.greedy)

    def takes(self, observation: Any) -> bool:
        """Say whether it can see this: what it was trained on, or a frame of that size."""
        shape, own = np.shape(observation), self.shape
        if shape == own or len(shape) != 3 or len(own) != 3:
            return shape == own
        stacked = own[0] if own[1:] == shape[:2] else own[2] if own[:2] == shape[:2] else 0
        return stacked > 0 and stacked % shape[2] == 0

    def __call__(self, observation: Any, rng: np.random.Generator) -> Any:
        """Choose an action."""
        observation = np.asarray(observation)
        if not self.takes(observation):
            raise ValueError(
                f"the agent sees observations of shape {self.shape}, or frames to be stacked so, "
                f"got {observation.shape}; let it act in an env like the one it was trained in"
            )
        if observation.shape != self.shape:
            observation = self._stack(observation)
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            action = self.model.predict(observation, deterministic=self.greedy)[0]
        return action.item() if action.ndim == 0 else action

    def _stack(self, frame: np.ndarray) -> np.ndarray:
        """Put the last frames side by side in the channels, colours first if it was trained so."""
        h, w, c = frame.shape
        first = self.shape[1:] == (h, w)
        channels = self.shape[0] if first else self.shape[-1]
        count = max(1, channels // c)
        if self.seen and self.seen[-1].shape != frame.shape:
            self.seen = []
        self.seen = [*self.seen, frame][-count:]
        frames = [np.zeros_like(frame)] * (count - len(self.seen)) + self.seen  # as VecFrameStack
        stacked = np.concatenate(frames, 2)
        return stacked.transpose(2, 0, 1) if first else stacked


def load_agent(path: str | Path, greedy: bool = True) -> SavedAgent:
    """Read an agent that Stable-Baselines3 or sb3-contrib saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no agent that is known here.
        ImportError: If the library is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no agent at {path}; save one with `model.save`")
    try:
        with zipfile.ZipFile(path) as file:
            kind = json.loads(file.read("data"))["policy_class"]["__module__"]
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"an agent must be a file that Stable-Baselines3 saved, got {path}: {error!r}"
        ) from None
    name = AGENTS.get(".".join(kind.split(".")[:2]))
    if name is None:
        raise ValueError(
            f"an agent must be one of {', '.join(n.split(':')[1] for n in AGENTS.values())}, got "
            f"one of {kind}; wrap it in a function and pass module:function"
        )
    module, _, algorithm = name.partition(":")
    try:
        model = getattr(import_module(module), algorithm).load(path, device="cpu")
    except ImportError as error:
        raise ImportError(f"{path} needs {module}: `pip install worldsim-sdk[rl]`") from error
    return SavedAgent(model, greedy)


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
    often = {"n_steps": few, "batch_size": min(BATCH, few * envs.num_envs)}
    rows = VecMonitor(GymVecEnv(envs, cfg.seed + steps))
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
        channels = envs.single_observation_space.shape[-1] * cfg.frames
        had = known.observation_space.shape
        if channels not in (had[0], had[-1]):
            raise ValueError(
                f"the agent at {out} sees observations of shape {had}, got frames={cfg.frames}; "
                "use the same number of frames, or another `out`"
            )
        learner = PPO.load(out, seen, device=cfg.device or "auto", **often)
        # else its values would mean something else; PPO by itself does not scale
        scaled.ret_rms = getattr(learner, "reward_scale", scaled.ret_rms)
    learner.reward_scale = scaled.ret_rms
    return learner


def _save(learner: Any, out: Path) -> None:
    part = out.with_name(f"{out.stem}.part.zip")
    learner.save(part)
    os.replace(part, out)


def _within(cfg: LearnConfig, out: Path, learner: Any) -> Callable[..., bool]:
    """Return a callback that shows a bar, saves now and then and ends the learning in time."""
    began = saved = time.monotonic()
    first = learner.num_timesteps
    bar = tqdm(total=100, desc="agent", disable=not cfg.progress, bar_format=_BAR)

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
