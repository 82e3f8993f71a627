"""How varied dreams are: one start, the same actions, other chance."""

from typing import Any

import numpy as np

from worldsim.measuring.metrics import copy_last, frame_statistics, psnr, squared_error
from worldsim.measuring.study import Skip, Study

OTHER = 10_000  # what is added to the seed of a second draw


def measure_draws(study: Study) -> dict[str, Any]:
    """Draw the clips' futures twice, as they are played: the same starts and actions, other chance.

    "gain" is how much nearer than the last given frame a draw is to what came, in dB; "expected"
    that of the frame without chance, as the fidelity section has it. "spread" is how far two draws
    are from one another, of how far one is from what came (root mean squares): 1 if dreams are as
    varied as what may come, 0 if always the same. Sharpness (mean difference of neighbouring
    pixels) of draws and of frames without chance is a share of that of real frames.
    """
    clips = study.clips
    if not study.draws:
        raise Skip("what is expected is all that this world shows: no chance has a say in it")
    one, other = study.drawn, study.redrawn(study.cfg.seed + OTHER)
    still = squared_error(copy_last(clips.given, clips.actions), clips.future)
    error, apart = squared_error(one, clips.future), squared_error(one, other)
    expected = squared_error(study.imagined, clips.future)
    videos = (one, study.imagined, clips.future)
    table = {}
    for i in (h - 1 for h in study.cfg.horizons):
        off, copied, without = (part[:, i].mean() for part in (error, still, expected))
        drawn, plain, real = (frame_statistics(video[:, i])[:, -1].mean() for video in videos)
        table[i + 1] = {
            "gain": float(psnr(off) - psnr(copied)),
            "expected": float(psnr(without) - psnr(copied)),
            "spread": float(np.sqrt(apart[:, i].mean() / off)),
            "sharpness_of_draws": float(drawn / real),
            "sharpness_of_expected": float(plain / real),
        }
    return {"clips": len(clips), "frame": table}
