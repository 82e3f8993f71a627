"""Before a world's dynamics learn, its motion does: what of the next frame is the last one, moved.

It learns from pairs of frames, and knows the rest of its life what it knew then: the dynamics learn
beside it what to make of a frame that is carried along.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from worldsim.clips import Clips, LatentDataset, draw_set
from worldsim.motion import Carrier, measure, motion_loss, warp
from worldsim.training import TrainConfig, fit

SHARE = 0.15  # of the minutes or steps of a training
PATIENCE = 0.1  # of the minutes, to carry all frames of the recordings along
ROWS = 32  # pairs of frames in a batch
CHUNK = 128  # frames that are carried along at once
NEW = 0.05  # share of pairs before which nothing is known, as when a world begins


def train_motion(
    carrier: Carrier,
    films: list[LatentDataset],
    train: TrainConfig,
    out: Path,
    progress: Callable[[float], None] | None = None,
) -> TrainConfig:
    """Teach a carrier's motion, in place.

    Args:
        carrier: What to teach, and what paints frames.
        films: Recordings, as latents.
        train: Budget and learning rates of the whole training.
        out: Folder of this part of the run.
        progress: Told the share of this part that is spent, in place of a bar.

    Returns:
        The budget that is left to the rest of the training.
    """
    motion, tokenizer = carrier.motion, carrier.tokenizer

    def sample(g: torch.Generator) -> Clips:
        film = films[draw_set([len(film.latents) for film in films], g)]
        return film.sample(ROWS, motion.recent + 1, g, endings=0, drop=1)

    def loss(model, _ema, clips: Clips, _progress, g) -> tuple[Tensor, dict[str, float]]:  # noqa: ANN001
        x = clips.latents
        with torch.no_grad():
            pixels = tokenizer.paint(x[:, -3:].flatten(0, 1)).unflatten(0, (-1, 3))
        before, last, target = pixels.unbind(1)
        new = (torch.rand(len(x), generator=g) < NEW).to(x.device)
        past, known = x[:, :-1].clone(), clips.known[:, 1:].clone()
        past[new, :-1], known[new, :-1] = 0, False
        seen = measure(before, last) * ~new[:, None, None, None]
        flow = model(past, seen, clips.actions[:, 1:], known)
        total = motion_loss(flow, last, target, measure(last, target))
        with torch.no_grad():
            off, still = ((p - target).square().mean() for p in (warp(last, flow), last))
        return total, {"gain": 10 * torch.log10(still.clamp(min=1e-9) / off.clamp(min=1e-9)).item()}

    steps = max(1, round(SHARE * train.steps)) if train.steps else 0
    part = replace(train, minutes=SHARE * train.minutes, steps=steps, accumulate=1)
    best = fit(motion, sample, loss, part, out, name="motion", progress=progress)
    motion.load_state_dict(best.state_dict())
    return replace(train, minutes=train.minutes - part.minutes, steps=train.steps - steps)


def carry_along(carrier: Carrier, film: LatentDataset, seconds: float = math.inf) -> None:
    """Note beside each frame of a recording the one before it, moved to where it will be.

    In every batch anew it takes longer than a small model does to learn from it.

    Args:
        carrier: Who carries.
        film: The recording; its `carried` is set.
        seconds: If it looks like taking longer, nothing is noted: few frames of a long recording
            are ever drawn.
    """
    carried = torch.empty_like(film.latents)
    device = next(carrier.motion.parameters()).device
    early = carrier.motion.recent + 1  # frames that a frame's motion is read from
    began = time.monotonic()
    for first, end in zip(film.edges[:-1].tolist(), film.edges[1:].tolist(), strict=True):
        for at in range(first, end, CHUNK):
            if (time.monotonic() - began) * len(carried) > seconds * max(at, 8 * CHUNK):
                return
            part = slice(max(first, at - early), min(end, at + CHUNK))
            told = (getattr(film, name)[None, part] for name in ("latents", "actions", "known"))
            moved = carrier(*(values.to(device) for values in told))[0]
            carried[at : part.stop] = moved[at - part.start :].to(carried)
    film.carried = carried
