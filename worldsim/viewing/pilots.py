"""Who drives in the viewer: a person's hands, an autopilot, or an agent.

An agent is a file of Stable-Baselines3 or a function.
"""

import json
import zipfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.spaces import Policy

DRIVERS = ("human", "autopilot", "agent")


@dataclass(frozen=True)
class Hands:
    """What a person holds: keys in the order of pressing, sticks and mouse by name in [-1, 1]."""

    keys: tuple[int, ...] = ()
    axes: tuple[tuple[str, float], ...] = ()


def load_pilot(agent: str | Policy) -> Policy:
    """Return `policy(observation, rng) -> action`.

    Args:
        agent: Such a function, where one is ("package.module:name"), or a .zip that
            Stable-Baselines3 saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If Stable-Baselines3 is missing, or the module.
        ValueError: If the file is no agent.
    """
    if callable(agent):
        return agent
    if agent.endswith(".zip"):
        return _Saved(Path(agent))
    module, colon, name = agent.partition(":")
    if not colon:
        raise ValueError(
            f"`agent` must be a .zip of Stable-Baselines3 or package.module:function, got {agent!r}"
        )
    return getattr(import_module(module), name)


class _Saved:
    """An agent that Stable-Baselines3 saved; frames are stacked as its observations were."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"no agent at {path}; check the path")
        try:
            import stable_baselines3
        except ImportError as error:
            raise ImportError(
                f"{path} was saved by Stable-Baselines3, which is missing; "
                "pip install worldsim-sdk[rl]"
            ) from error
        algorithm = getattr(stable_baselines3, _algorithm(path))
        self.model = algorithm.load(path, device="cpu")
        self.shape = self.model.observation_space.shape
        self.seen: list[np.ndarray] = []

    def __call__(self, observation: Any, rng: np.random.Generator) -> Any:
        """Act greedily."""
        observation = np.asarray(observation)
        if observation.shape != self.shape and observation.ndim == 3:
            observation = self._stack(observation)
        if observation.shape != self.shape:
            raise ValueError(
                f"the agent sees observations of shape {self.shape}, got {observation.shape}; "
                "let it drive in an env like the one it was trained in"
            )
        action = self.model.predict(observation, deterministic=True)[0]
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
        frames = [self.seen[0]] * (count - len(self.seen)) + self.seen
        stacked = np.concatenate(frames, 2)
        return stacked.transpose(2, 0, 1) if first else stacked


def _algorithm(path: Path) -> str:
    """Guess the class from what it saved: each algorithm has settings of its own."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"{path} must be an agent that Stable-Baselines3 saved, got: {error}; save it with "
            "model.save(...)"
        ) from error
    signs = {"clip_range": "PPO", "target_policy_noise": "TD3", "ent_coef_optimizer": "SAC"}
    signs |= {"target_entropy": "SAC", "exploration_initial_eps": "DQN", "gae_lambda": "A2C"}
    return next((name for sign, name in signs.items() if sign in data), "PPO")
