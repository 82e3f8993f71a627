"""Does the dream last, and does it show what was asked? Text, drift, rewards, endings, time.

Each function is a section of the report: its docstring tells the reader how its figures came
about, so it speaks of what was done, not of code.
"""

import time
from typing import Any

import numpy as np
import torch

from worldsim.measuring.dreaming import Dream, dream, read_given
from worldsim.measuring.heldout import HeldOut, cut_clips
from worldsim.measuring.metrics import (
    best_lag,
    f1_score,
    percentiles,
    r_squared,
    share,
)
from worldsim.measuring.study import Study
from worldsim.rollout import Rollout


def measure_rewards(study: Study) -> dict[str, Any]:
    """Compare imagined rewards and endings with the recorded ones, under the recorded actions.

    Rewards over 16 imagined frames. "lag" is the shift at which both correlate best: 0 is right.
    Endings 1 and 8 imagined frames ahead: clips that end an episode among as many that do not,
    where always saying yes has an F1 of 0.67; one counts as found when its probability passes one
    half in that frame or the one before.
    """
    clips = study.short_clips
    real, made = clips.rewards[:, clips.context - 1 :], _play(study, clips)
    figures = {
        "reward_mean_error": float(np.abs(made.rewards - real).mean()),
        "reward_mean_error_of_guessing_the_mean": float(np.abs(real - real.mean()).mean()),
        "reward_r2": r_squared(made.rewards.ravel(), real.ravel()),
        "reward_lag": best_lag(made.rewards, real),
    }
    ended = clips.terminated[:, clips.context - 1 :].any(1)
    try:
        for frames in (1, min(8, clips.horizon)):
            figures[f"endings_in_{frames}"] = _endings(study, frames, made.terminated[~ended])
    except ValueError as error:
        figures["endings"] = str(error)
    return figures


def _play(study: Study, clips: HeldOut) -> Dream:
    settings = {"sampler_steps": study.steps, "seed": study.cfg.seed}
    return dream(
        study.world, clips.given, clips.actions, clips.horizon, known=clips.known, **settings
    )


def _endings(study: Study, frames: int, others: np.ndarray) -> dict[str, Any]:
    """Look for endings so many imagined frames ahead, and in dreams of what did not end."""
    clips = cut_clips(study.data, 32, context=study.cfg.context, horizon=frames, ends=True)
    n = min(len(clips), len(others))
    found = (_play(study, clips).terminated > 0.5)[:n, -2:].any(1)
    false = (others[:n, :frames] > 0.5).any(1)
    truth = np.concatenate([np.ones(len(found), bool), np.zeros(len(false), bool)])
    f1 = f1_score(np.concatenate([found, false]), truth)
    return {"clips": n, "f1": f1, "found": share(found), "false": share(false)}


def measure_time(study: Study) -> dict[str, Any]:
    """Time one world, frame by frame: action in, pixels, reward and termination out."""
    starts = study.starts.rows(np.arange(1))
    rollout = Rollout(
        study.world, 1, sampler_steps=study.steps, frame_size=study.data.info.frame_size
    )
    read_given(rollout, starts.given, starts.actions, starts.known)
    durations, warm = [], 20
    with torch.inference_mode():
        for i in range(warm + 120):
            begin = time.perf_counter()
            rollout.step(rollout.policy)
            rollout.frames().cpu()
            if i >= warm:
                durations.append(time.perf_counter() - begin)
    return percentiles(durations) | {
        "frames_per_second": float(1 / np.mean(durations)),
        "sampler_steps": study.steps or study.world.cfg.sampler_steps,
        "threads": torch.get_num_threads(),
    }
