"""Agents that Stable-Baselines3 or sb3-contrib saved, as policies."""

import json
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.spaces import Policy

# whose policy lies in a file, by the beginning of its module's name; actor and critic in common act
# alike whether PPO or A2C trained them
AGENTS = {
    "stable_baselines3.common": "PPO", "stable_baselines3.dqn": "DQN",
    "stable_baselines3.sac": "SAC", "stable_baselines3.td3": "TD3",
    "sb3_contrib.qrdqn": "QRDQN", "sb3_contrib.tqc": "TQC",
}  # fmt: skip


class SavedAgent:
    """An agent of Stable-Baselines3; frames are stacked as its observations were.

    It remembers the frames it has seen, so that each episode is played by `afresh()`.

    Args:
        model: The algorithm, as its `load` returned it.
        greedy: Whether it does what it thinks best, or draws.

    Raises:
        ValueError: If its observations are no arrays.
    """

    def __init__(self, model: Any, greedy: bool = True) -> None:
        if model.observation_space.shape is None:
            raise ValueError(
                "an agent must see one array, got one trained on "
                f"{type(model.observation_space).__name__} observations; wrap it in a function"
            )
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

    def __call__(self, observation: Any, rng: np.random.Generator | None = None) -> Any:
        """Choose an action, by fresh chance if there is no `rng`; a greedy agent needs none."""
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
            torch.manual_seed(int((rng or np.random.default_rng()).integers(2**31)))
            action = self.model.predict(observation, deterministic=self.greedy)[0]
        return action.item() if action.ndim == 0 else action

    def _stack(self, frame: np.ndarray) -> np.ndarray:
        """Put the last frames side by side in the channels, colours first if it was trained so."""
        h, w, c = frame.shape
        first = self.shape[1:] == (h, w)
        count = max(1, self.shape[0 if first else -1] // c)
        if self.seen and self.seen[-1].shape != frame.shape:
            self.seen = []
        self.seen = [*self.seen, frame][-count:]
        frames = [np.zeros_like(frame)] * (count - len(self.seen)) + self.seen  # as VecFrameStack
        stacked = np.concatenate(frames, 2)
        return stacked.transpose(2, 0, 1) if first else stacked


def as_policy(agent: Any) -> Policy:
    """Return a policy: a function as it is, a model of Stable-Baselines3 or a file of one greedy.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is something else.
        ValueError: If it is a name, or the file holds no agent that is known here.
    """
    takes = "`agent` must be a model of Stable-Baselines3, its .zip or policy(observation, rng)"
    if hasattr(agent, "predict") and hasattr(agent, "observation_space"):
        return SavedAgent(agent)
    if callable(agent):
        return agent
    if not isinstance(agent, str | Path):
        raise TypeError(f"{takes}, got {type(agent).__name__} {agent!r}")
    if not Path(agent).is_file() and Path(agent).suffix != ".zip":
        raise ValueError(
            f"{takes}, got {str(agent)!r}; for random actions pass "
            "`worldsim.agents.act_at_random(env)`"
        )
    return load_agent(agent)


def load_agent(path: str | Path, greedy: bool = True) -> SavedAgent:
    """Read an agent that Stable-Baselines3 or sb3-contrib saved.

    In a loop of your own it begins each episode with `afresh()`, else the last frames of one
    episode are stacked with the first ones of the next:

        agent = worldsim.load_agent("agents/ball.zip")
        for seed in range(20):
            policy, (frame, _), over = agent.afresh(), env.reset(seed=seed), False
            while not over:
                frame, reward, terminated, truncated, _ = env.step(policy(frame))
                over = terminated or truncated

    Args:
        path: The .zip that `model.save` or `train_agent` wrote.
        greedy: Whether it does what it thinks best, or draws.

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
    library, *rest = kind.split(".")
    algorithm = AGENTS.get(".".join([library, *rest[:1]]))
    if algorithm is None:
        raise ValueError(
            f"an agent must be one of {', '.join(AGENTS.values())}, got one of {kind}; "
            "wrap it in a function and pass module:function"
        )
    try:
        load = getattr(import_module(library), algorithm).load
        model = load(path, device="cpu", seed=None)  # its own would seed everybody's chance
    except ImportError as error:
        raise ImportError(f"{path} needs {library}: `pip install worldsim-sdk[rl]`") from error
    return SavedAgent(model, greedy)
