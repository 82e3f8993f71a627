"""How true frames are that were imagined to fit others: a gap filled, a past put in front."""

from typing import Any

import numpy as np
import torch

from worldsim.completion import PartialClip, complete
from worldsim.continuation import film
from worldsim.measuring.metrics import psnr, squared_error
from worldsim.measuring.study import Skip, Study
from worldsim.openings import lead
from worldsim.sampling import Sampling

GAP = EDGE = 8  # frames to imagine, and given ones on a side
WAYS = {"gap filled": slice(EDGE, EDGE + GAP), "put before": slice(0, GAP)}
CLIPS = 32


def measure_completion(study: Study) -> dict[str, Any]:
    """Fill a gap of 8 frames between 8 and 8 given ones, and put 8 frames before 16 given ones.

    With the true actions and the clip's caption, in the finest steps; PSNR, all imagined frames
    pooled. "crossfade" is what lies evenly between the two given frames around the gap, "nearest"
    the nearest given frame again.
    """
    clips, t = study.clips.rows(np.arange(min(CLIPS, len(study.clips)))), 2 * EDGE + GAP
    if clips.frames.shape[1] < t:
        raise Skip(f"clips of {clips.frames.shape[1]} frames are too short, {t} are needed")
    frames = clips.frames[:, :t]
    actions = torch.from_numpy(study.world.scale_actions(clips.actions[:, : t - 1]))
    table = {}
    for way, part in WAYS.items():
        rows = zip(frames, actions, clips.captions, strict=True)
        made = np.stack([_imagine(study, *row, part) for row in rows])
        guesses = {"imagined": made, "nearest": _nearest(frames, part)}
        if part.start:
            guesses["crossfade"] = _crossfade(frames, part)
        error = {name: squared_error(it, frames[:, part]).mean() for name, it in guesses.items()}
        table[way] = {name: float(psnr(off)) for name, off in error.items()}
    return {"clips": len(clips), "way": table}


def _imagine(
    study: Study, video: np.ndarray, actions: torch.Tensor, caption: str, part: slice
) -> np.ndarray:
    """Imagine the frames in `part` of a clip to fit its others, in one window of the world's."""
    known = torch.ones(len(video), dtype=torch.bool)
    known[part] = False
    latents = study.world.encode(video).float().cpu()
    latents[part] = 0
    clip = PartialClip(latents, known, lead(study.world, actions, len(video)))
    whole = complete(study.world, clip, caption or None, Sampling(study.cfg.seed))
    return film(study.world, whole[part])


def _nearest(frames: np.ndarray, part: slice) -> np.ndarray:
    """Repeat whichever given frame is nearer, `(b, GAP, h, w, 3)`."""
    numbers = np.arange(part.start, part.stop)
    late = numbers >= part.start + GAP // 2 if part.start else np.ones(GAP, bool)
    return frames[:, np.where(late, part.stop, part.start - 1)]


def _crossfade(frames: np.ndarray, part: slice) -> np.ndarray:
    """Fade from the given frame before `part` to the one after it."""
    one, other = np.float32(frames[:, [part.start - 1]]), np.float32(frames[:, [part.stop]])
    share = np.arange(1, GAP + 1, dtype=np.float32)[:, None, None, None] / (GAP + 1)
    return np.uint8(np.round(one + share * (other - one)))
