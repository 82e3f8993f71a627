"""How true frames are that were imagined to fit others: a gap filled, a past put in front."""

from typing import Any

import numpy as np

from worldsim.generate import infill
from worldsim.measuring.metrics import psnr, squared_error
from worldsim.measuring.study import Study
from worldsim.spaces import unflatten_action

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
    clips, table = clips.first(3 * gap - clips.context), {}
    frames = clips.frames
    for way, part in {"gap filled": slice(gap, 2 * gap), "put before": slice(gap)}.items():
        rows = zip(frames, clips.actions, clips.known, clips.captions, strict=True)
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
    actions: np.ndarray,
    labelled: np.ndarray,
    caption: str,
    part: slice,
) -> np.ndarray:
    """Imagine the frames in `part` of a clip to fit its others, as `infill` does."""
    world, known = study.world, np.ones(len(video), bool)
    known[part] = False
    told = [unflatten_action(world.action_space, action) for action in actions]
    made = infill(
        world, video, known, prompt=caption or None, actions=told if labelled.all() else None,
        seed=study.cfg.seed, sampler_steps=study.steps,
    )  # fmt: skip
    return made[part]


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
