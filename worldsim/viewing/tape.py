"""What was played: the moments of an episode, and the episode they make."""

from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

from worldsim.datasets.episodes import Episode

BYTES = 256 * 2**20  # of frames; the oldest go first


@dataclass(frozen=True)
class Moment:
    """One frame, and what there is to say about it."""

    frame: np.ndarray
    """`(h, w, 3)` uint8."""
    seed: int
    """Of the episode."""
    step: int = 0
    """Actions since the episode began."""
    reward: float = 0.0
    total: float = 0.0
    """Return so far."""
    rewards: tuple[float, ...] = ()
    """The latest rewards of this episode, oldest first."""
    action: np.ndarray | None = None
    """`(a,)`, the flattened action that led here; None at the start of an episode."""
    keys: frozenset[int] = frozenset()
    """Keys that stand for that action."""
    prompt: str = ""
    """The prompt in force, or the caption of a real simulator."""
    termination: float | None = None
    """Probability that the episode ends here, where an env tells it."""
    doubt: float | None = None
    """How wrong the frame probably is, where an env tells it (see `worldsim.doubt`)."""
    ended: str = ""
    """"terminated" or "truncated" on the last frame of an episode."""
    model_ms: float = 0.0
    """Time that this step took."""
    pressed: float | None = None
    """When a key was pressed that this frame is the first to answer to, by `perf_counter`."""
    state: dict[str, np.ndarray] = field(default_factory=dict)
    """Ground truth, where an env tells it."""


def said(info: dict[str, Any]) -> dict[str, Any]:
    """Pick what the viewer shows and keeps from an env's `info`, as fields of a `Moment`.

    Envs of others may mean something else by these words; what is of another kind is left out.
    """
    numbers = {key: info.get(key) for key in ("termination", "doubt")}
    state = info.get("state")
    told = state.items() if isinstance(state, dict) else ()
    return {
        "prompt": str(info.get("prompt") or info.get("caption") or "").replace("\0", ""),
        "state": {key: np.array(x, np.float32) for key, x in told if _is_numbers(x)},
        **{key: float(x) if isinstance(x, Real) else None for key, x in numbers.items()},
    }


def _is_numbers(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # rows of several lengths
        return False


class Tape:
    """An episode as it is played, from its first frame on.

    Args:
        first: The first moment.
        options: What the env was reset with besides the seed.
        lead: Actions that belong to the beginning.
        scene: Attributes of the scene, where an env tells them.

    Attributes:
        moments: All of them, the present one last; the oldest are dropped after 256 MiB.
        actions: `actions[-1]` led to `moments[-1]`; none is ever dropped.
    """

    def __init__(
        self,
        first: Moment,
        options: dict[str, Any] | None = None,
        lead: tuple[Any, ...] = (),
        scene: dict[str, Any] | None = None,
    ) -> None:
        self.moments, self.options, self.lead, self.scene = [first], options, lead, scene or {}
        self.actions: list[Any] = []

    @property
    def whole(self) -> bool:
        """Whether the first moment of the episode is still there."""
        return self.moments[0].step == 0

    def add(self, moment: Moment, action: Any) -> None:
        """Go on by one moment, which `action` led to."""
        self.moments.append(moment)
        self.actions.append(action)
        room = max(64, BYTES // moment.frame.nbytes)
        if len(self.moments) > 1.1 * room:  # now and then, for it moves all that stay
            del self.moments[:-room]

    def cut(self) -> None:
        """Take the last moment back."""
        self.moments.pop()
        self.actions.pop()

    def copy(self) -> "Tape":
        """Return a tape that goes on for itself; the moments are shared."""
        other = Tape(self.moments[0], self.options, self.lead, self.scene)
        other.moments, other.actions = self.moments.copy(), self.actions.copy()
        return other

    def last(self, count: int) -> tuple[np.ndarray, list[Any]]:
        """Return up to `count` frames `(t, h, w, 3)`, and the `t - 1` actions between them."""
        frames = np.stack([moment.frame for moment in self.moments[-count:]])
        return frames, self.actions[len(self.actions) + 1 - len(frames) :]

    def episode(self) -> Episode:
        """Return what was played so far as an episode, truncated here unless it has ended.

        Raises:
            ValueError: If no step was taken yet.
        """
        from worldsim.datasets.observing import build_episode  # its video library loads slowly

        first, *rest = self.moments
        if not rest:
            raise ValueError(
                "an episode holds at least one step, got none since it began; play on first"
            )
        ends = [moment.ended for moment in rest]
        ends[-1] = ends[-1] or "truncated"
        return build_episode(
            [moment.frame for moment in self.moments],
            [moment.action for moment in rest],
            [
                (moment.reward, end == "terminated", end == "truncated")
                for moment, end in zip(rest, ends, strict=True)
            ],
            [(moment.prompt, moment.state) for moment in self.moments],
            scene=self.scene,
            seed=first.seed if self.whole and not self.options else None,
        )
