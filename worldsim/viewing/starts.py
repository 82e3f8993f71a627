"""Where an episode can begin: recorded start clips, seeds, a picture from disk."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from worldsim.openings import has_starts
from worldsim.viewing.stage import Stage

SEEDS = 12  # of a simulator, to choose from


@dataclass(frozen=True)
class Start:
    """One picture to begin from."""

    frame: np.ndarray
    """`(h, w, 3)` uint8."""
    caption: str
    options: dict[str, Any] | None = None
    """Of `reset`."""
    seed: int | None = None
    """Of the episode; None keeps the present one."""


def clips_of(stage: Stage) -> list[Start]:
    """Return a world's start clips by their last frames.

    Raises:
        ValueError: If it has none of the size that is played.
    """
    starts = stage.world.starts
    h, w = stage.moment.frame.shape[:2]
    if not has_starts(stage.world, (h, w)):
        raise ValueError(f"{stage.title} has no start clips of {w}x{h}; type a prompt instead")
    frames = stage.world.decode(starts.latents[:, -1].float()).cpu().numpy()
    return [
        Start(frame, caption, {"start": number})
        for number, (frame, caption) in enumerate(zip(frames, starts.captions, strict=True))
    ]


def seeds_of(stage: Stage, first: int) -> list[Start]:
    """Begin an episode for each of the next seeds, to see what they look like.

    Args:
        stage: Of the env in question; it is left at the last of them.
        first: Seed to begin with.
    """
    moments = [stage.reset(first + i) for i in range(SEEDS)]
    return [Start(m.frame, m.prompt or f"seed {m.seed}", seed=m.seed) for m in moments]
