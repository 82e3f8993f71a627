"""How true frames are that were imagined to fit others: a gap filled, a past put in front."""

from typing import Any

import numpy as np
import torch

from worldsim.completion import PartialClip, complete
from worldsim.continuation import film
from worldsim.measuring.metrics import psnr, squared_error
from worldsim.measuring.study import Study
from worldsim.openings import lead
from worldsim.sampling import Sampling

GAP = 8  # frames to imagine, at most a third of a clip
CLIPS = 32


def measure_completion(study: Study) -> dict[str, Any]:
    """Fill a gap of 8 frames between 8 and 8 given ones, and put 8 frames before 16 given ones.

    With the true actions and the clip's caption, in the finest steps if no others are asked for;
    PSNR, all imagined frames pooled. "crossfade" is what lies evenly between the two given frames
    around the gap, "nearest" the nearest given frame again.
    """
    clips = study.clips.rows(np.arange(min(CLIPS, len(study.clips))))
    gap = min(GAP, clips.frames.shape[1] // 3)
    frames, table = clips.frames[:, : 3 * gap], {}
    actions = torch.from_numpy(study.world.scale_actions(clips.actions[:, : 3 * gap - 1]))
    for way, part in {"gap filled": slice(gap, 2 * gap), "put before": slice(gap)}.items():
        rows = zip(frames, actions, clips.known, clips.captions, strict=True)
        made = np.stack([_imagine(study, *row, part) for row in rows])
        guesses = {"imagined": made, "nearest": _nearest(frames, part)}
        if part.start:
            guesses["crossfade"] = _crossfade(frames, part)
        error = {name: squared_error(it, frames[:, part]).mean() for name, it in guesses.items()}
        table[way] = {name: float(psnr(off)) for name, off in error.items()}
    return {"clips": len(clips), "frames": gap, "way": table}


def _imagine(
    study: Study,
    video: np.ndarray,
    actions: torch.Tensor,
    labelled: np.ndarray,
    caption: str,
    part: slice,
) -> np.ndarray:
    """Imagine the frames in `part` of a clip to fit its others, in one window of the world's."""
    known = torch.ones(len(video), dtype=torch.bool)
    known[part] = False
    latents = study.world.encode(video).float().cpu().clone()
    latents[part] = 0
    told = actions if labelled[: len(actions)].all() else None
    clip = PartialClip(latents, known, lead(study.world, told, len(video)))
    settings = Sampling(study.cfg.seed, study.steps)
    return film(study.world, complete(study.world, clip, caption or None, settings)[part])


def _nearest(frames: np.ndarray, part: slice) -> np.ndarray:
    """Repeat whichever given frame is nearer, `(b, t, h, w, 3)`."""
    if not part.start:
        return np.broadcast_to(frames[:, [part.stop]], frames[:, part].shape)
    early = np.arange(part.start, part.stop) < (part.start + part.stop) // 2
    return frames[:, np.where(early, part.start - 1, part.stop)]


def _crossfade(frames: np.ndarray, part: slice) -> np.ndarray:
    """Fade from the given frame before `part` to the one after it."""
    one, other = np.float32(frames[:, [part.start - 1]]), np.float32(frames[:, [part.stop]])
    count = part.stop - part.start
    share = np.arange(1, count + 1, dtype=np.float32)[:, None, None, None] / (count + 1)
    return np.uint8(np.round(one + share * (other - one)))
