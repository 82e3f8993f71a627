"""What a caller may ask of a film: how to sample, its size, the frames that it goes on from."""

import math
from dataclasses import dataclass, fields
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np

from worldsim.flow import check_steps
from worldsim.limits import check_counts, check_share, check_size
from worldsim.loading import as_world
from worldsim.openings import read_prompts
from worldsim.world import World


@dataclass(frozen=True)
class Sampling:
    """How to sample: what all functions of `generate` take as keyword arguments.

    Attributes:
        seed: Same seed, same film.
        sampler_steps: Steps per frame; None is the world's default (causal) or the finest (full).
        guidance: How strongly the prompt is followed; 1 is as learned, None the world's own.
        variety: How much chance has a say in frames of a single step, from 0 to 1; None the world's
            own.
        progress: Whether to show a bar.
    """

    seed: int = 0
    sampler_steps: int | None = None
    guidance: float | None = None
    variety: float | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        check_counts(0, seed=self.seed)
        if self.variety is not None:
            check_share(variety=self.variety)
        real = self.guidance is None or isinstance(self.guidance, Real)
        if not real or not math.isfinite(self.guidance or 0):
            raise ValueError(
                f"`guidance` must be a finite number, got {self.guidance!r}; try 1 to 4"
            )


def read_sampling(
    world: World | str | Path, sampling: dict[str, Any], prompt: str | None
) -> tuple[World, Sampling]:
    """Check what all functions of `generate` take, before any work; load a world that is a name."""
    world, known = as_world(world), [field.name for field in fields(Sampling)]
    if unknown := sorted(sampling.keys() - set(known)):
        raise TypeError(f"a film takes {', '.join(known)}, got {', '.join(unknown)}")
    if not isinstance(prompt, str | None):
        raise TypeError(f"`prompt` must be a str or None, got {prompt!r}")
    read_prompts(world, prompt, 1)  # refuses one that the world has no words for
    settings = Sampling(**sampling)
    if settings.sampler_steps is not None:
        check_steps(settings.sampler_steps, world.dynamics.cfg.max_steps)
    return world, settings


def chosen_size(world: World, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the `(h, w)` in pixels that is asked for, or the world's own."""
    size = world.cfg.frame_size if size is None else size
    check_size("size", size)
    size = int(size[0]), int(size[1])
    world.latent_size(size)
    return size


def checked_video(world: World, video: np.ndarray) -> np.ndarray:
    """Return frames that the world can look at, `(t, h, w, 3)` uint8."""
    video = np.asarray(video)
    if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or len(video) < 1:
        raise ValueError(
            f"frames must be uint8 (t, h, w, 3) with t >= 1, got {video.dtype} {video.shape}; "
            "convert the pixels to 0..255"
        )
    chosen_size(world, video.shape[1:3])
    return video
