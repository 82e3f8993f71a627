"""Episodes, and what the episodes of a data set share.

An episode of `t` actions holds `t + 1` frames: `actions[i]` leads from `frames[i]` to
`frames[i + 1]`, and `rewards[i]`, `terminated[i]`, `truncated[i]` belong to that transition.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from gymnasium import Space

from worldsim.space_json import space_from_json, space_to_json
from worldsim.spaces import action_dim


@dataclass(frozen=True, eq=False)
class Episode:
    """One recording, from reset to its end; what is left out is filled with the obvious."""

    frames: np.ndarray
    """`(t + 1, h, w, 3)` uint8."""
    actions: np.ndarray
    """`(t, a)` float32, flattened by `flatten_action`, not scaled."""
    rewards: np.ndarray = None  # type: ignore[assignment]
    """`(t,)` float32; zeros by default."""
    terminated: np.ndarray = None  # type: ignore[assignment]
    """`(t,)` bool; False by default."""
    truncated: np.ndarray = None  # type: ignore[assignment]
    """`(t,)` bool; False by default."""
    captions: tuple[str, ...] = ("",)
    """The different captions of this episode."""
    caption_index: np.ndarray = None  # type: ignore[assignment]
    """`(t + 1,)` int64 into `captions`; zeros by default."""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """Ground truth, `(t + 1,)` or `(t + 1, k)` float32 each."""
    scene: dict[str, Any] = field(default_factory=dict)
    """Attributes of the scene, JSON-able."""
    seed: int | None = None
    """The seed that the env was reset with."""
    action_known: np.ndarray = None  # type: ignore[assignment]
    """`(t,)` bool: False where a clip has no action label; True by default."""

    def __post_init__(self) -> None:
        t = len(self.actions)
        defaults = {
            "rewards": np.zeros(t, np.float32),
            "terminated": np.zeros(t, bool),
            "truncated": np.zeros(t, bool),
            "caption_index": np.zeros(t + 1, np.int64),
            "action_known": np.ones(t, bool),
        }
        for name, default in defaults.items():
            value = getattr(self, name)
            filled = default if value is None else np.asarray(value, default.dtype)
            object.__setattr__(self, name, filled)
        self._check(t)

    def _check(self, t: int) -> None:
        frames, actions = self.frames, self.actions
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
            raise ValueError(
                f"`frames` must be uint8 of shape (t + 1, h, w, 3), got {frames.dtype} "
                f"{frames.shape}; convert the pixels to 0..255"
            )
        if actions.ndim != 2 or actions.dtype != np.float32:
            raise ValueError(
                f"`actions` must be float32 of shape (t, a), got {actions.dtype} {actions.shape}; "
                "flatten each action with `flatten_action`"
            )
        per_action = ("rewards", "terminated", "truncated", "action_known")
        sizes = {name: len(getattr(self, name)) for name in per_action}
        per_frame = {"frames": frames, "caption_index": self.caption_index, **self.state}
        sizes |= {name: len(values) - 1 for name, values in per_frame.items()}
        wrong = {name: size for name, size in sizes.items() if size != t}
        if wrong or t == 0:
            raise ValueError(
                "an episode of t > 0 actions holds t rewards and flags, t + 1 frames, caption "
                f"indices and states; got t={t} actions, but {wrong} elsewhere (per-frame counts "
                "minus one); check that the last frame is there and that nothing is off by one"
            )
        if self.caption_index.min() < 0 or self.caption_index.max() >= len(self.captions):
            raise ValueError(
                f"`caption_index` must point into {len(self.captions)} captions, got "
                f"{self.caption_index.min()}..{self.caption_index.max()}"
            )

    def __len__(self) -> int:
        """Return `t`, the number of actions."""
        return len(self.actions)


@dataclass
class DatasetInfo:
    """What all episodes of a data set share."""

    fps: int
    frame_size: tuple[int, int]
    """`(h, w)` in pixels."""
    action_space: Space
    env_id: str = ""
    keys: list[Any] = field(default_factory=list)
    """Key bindings, `[["left", "up"], action]` each, with pygame's names of keys."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """What `gymnasium.make` was given besides the id, as far as JSON can say it."""
    recording: dict[str, Any] = field(default_factory=dict)
    """How it was recorded (policy, seed, steps), so that resuming it adds more of the same."""
    quality: str = "training"
    """Quality of the videos on disk, see `worldsim.video`."""

    def __post_init__(self) -> None:
        self.frame_size = tuple(self.frame_size)

    @property
    def action_dim(self) -> int:
        """Return `a`, the size of the flattened action."""
        return action_dim(self.action_space)

    def to_json(self) -> dict[str, Any]:
        """Describe the data set in plain JSON-able data."""
        data = self.__dict__ | {"action_space": space_to_json(self.action_space)}
        return json.loads(json.dumps(data, default=plain))

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "DatasetInfo":
        """Build what `to_json` described."""
        return cls(**data | {"action_space": space_from_json(data["action_space"])})

    def check(self, episode: Episode) -> None:
        """Refuse an episode that does not belong to this data set."""
        got = (episode.frames.shape[1:3], episode.actions.shape[1])
        if got != (self.frame_size, self.action_dim):
            raise ValueError(
                f"every episode must have frames of (h, w) = {self.frame_size} and actions of size "
                f"{self.action_dim}, got {got[0]} and {got[1]}; record it into another data set"
            )


def plain(value: Any) -> Any:
    """Turn NumPy values into what JSON knows; for `json.dumps`."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"must be JSON-able, got {type(value).__name__}")


class Episodes(Protocol):
    """What a data set is to all who learn from it or judge by it: ours, or one of your own.

    Attributes:
        info: What the episodes share.
        lengths: `t`, the number of actions, of each episode.
    """

    info: DatasetInfo
    lengths: list[int]

    def __len__(self) -> int:
        """Return the number of episodes."""

    def __getitem__(self, index: int) -> Episode:
        """Return an episode; an `IndexError` where there is none."""

    def outline(self, index: int) -> Episode:
        """Return an episode, perhaps with blank frames: only its labels are wanted."""


class MemoryDataset:
    """Episodes held in memory; needs neither PyAV nor a disk.

    Args:
        info: What the episodes share.
        episodes: The episodes; more can follow by `append`.
    """

    def __init__(self, info: DatasetInfo, episodes: list[Episode] | tuple[Episode, ...] = ()):
        self.info = info
        self.episodes: list[Episode] = []
        for episode in episodes:
            self.append(episode)

    def append(self, episode: Episode) -> None:
        """Add one episode."""
        self.info.check(episode)
        self.episodes.append(episode)

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, index: int) -> Episode:
        return self.episodes[index]

    def __iter__(self) -> Iterator[Episode]:
        return iter(self.episodes)

    def outline(self, index: int) -> Episode:
        """Return an episode; on disk this is one with blank frames, without decoding them."""
        return self.episodes[index]

    @property
    def lengths(self) -> list[int]:
        """Return `t`, the number of actions, of each episode."""
        return [len(episode) for episode in self.episodes]

    @property
    def state_keys(self) -> list[str]:
        """Return the names of the ground truth that the episodes hold."""
        return sorted(self.episodes[0].state) if self.episodes else []
