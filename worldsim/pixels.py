"""Recordings to batches of single frames, for a tokenizer."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldsim.datasets.episodes import Episodes


@dataclass(frozen=True)
class Pixels:
    """A batch: frames `(b, h, w, 3)` uint8, and how much each pixel counts, `(b, h, w)`."""

    frames: Tensor
    weight: Tensor | None


@dataclass(frozen=True)
class Film:
    """All frames of some episodes `(n, h, w, 3)` uint8, and where episodes start and end."""

    frames: Tensor
    edges: Tensor

    @classmethod
    def of(cls, episodes: Episodes) -> "Film":
        """Read all frames of some episodes into memory."""
        edges = torch.tensor([0, *np.cumsum(np.array(episodes.lengths) + 1)])
        return cls(torch.from_numpy(np.concatenate([e.frames for e in episodes])), edges)

    def sample(self, count: int, motion: float, g: torch.Generator) -> Pixels:
        """Draw frames, weighed by what moves in them where `motion` asks for it."""
        index = torch.randint(len(self.frames), (count,), generator=g)
        weight = pixel_weight(self.frames, index, self.edges, motion) if motion else None
        return Pixels(self.frames[index], weight)


def pixel_weight(frames: Tensor, index: Tensor, edges: Tensor, share: float) -> Tensor:
    """Weigh the pixels of some frames by whether they differ from the frame before or after.

    Args:
        frames: `(n, h, w, 3)` uint8, episode after episode.
        index: `(b,)`, which of them to weigh.
        edges: `(e + 1,)` int64, where episodes start and end.
        share: Of the weight that goes by change, at most fifty times as much to a pixel as if all
            changed; the rest is spread evenly.

    Returns:
        `(b, h, w)` of mean 1.
    """
    now = frames[index].short()
    own = torch.searchsorted(edges, index, right=True)
    near = [frames[(index + lag).clamp(edges[own - 1], edges[own] - 1)].short() for lag in (-1, 1)]
    moving = torch.stack([(now - other).abs().amax(-1) > 8 for other in near]).any(0).float()
    boost = (moving / moving.mean().clamp(min=1e-9)).clamp(max=50)
    weight = 1 - share + share * boost
    return weight / weight.mean()
