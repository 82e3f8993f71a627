"""Does the dream last, and does it show what was asked? Text, drift, rewards, endings, time.

Each function is a section of the report: its docstring tells the reader how its figures came
about, so it speaks of what was done, not of code.
"""

import time
from typing import Any

import numpy as np
import torch

from worldsim.doubt import lost_again
from worldsim.measuring.dreaming import Dream, dream, film_strip, read_given
from worldsim.measuring.heldout import HeldOut, cut_clips, hold
from worldsim.measuring.metrics import (
    best_lag,
    f1_score,
    first_failure,
    frame_statistics,
    percentiles,
    r_squared,
    share,
)
from worldsim.measuring.plots import Plot
from worldsim.measuring.report import Strip
from worldsim.measuring.study import Study
from worldsim.rollout import Rollout

EVERY = 4  # one in so many frames is looked at for drift
WINDOW = 16 // EVERY


def measure_drift(study: Study) -> dict[str, Any]:
    """Dream on for long: idle, at random (held for ten steps), as recorded, and under autopilot.

    A rollout fails when the median over 16 frames of any statistic leaves the range of real frames
    widened by half: mean and spread of each colour, sharpness, and what is lost when the frame is
    encoded again. Every fourth frame counts. Real recordings under the same rule stand beside.
    """
    cfg, world = study.cfg, study.world
    low, high, real = _real_range(study)
    ways = ("idle", "random", "recorded", "autopilot")
    n, k = cfg.drift_rows, cfg.drift_frames
    rows = len(ways) * n
    some = np.resize(np.arange(len(study.starts)), n)
    starts = study.starts.rows(np.tile(some, len(ways)))
    rollout = Rollout(world, rows, sampler_steps=study.steps, frame_size=study.data.info.frame_size)
    rollout.seed(list(range(rows)), [cfg.seed + i for i in range(rows)])
    read_given(rollout, starts.given, starts.actions, starts.known)
    given = torch.from_numpy(world.scale_actions(_ways(study, n, k))).to(world.device)
    statistics, seen = [], []
    for i in range(k):
        now = rollout.step(torch.cat([given[:, i], world.played(rollout.policy[3 * n :])]))
        if i % EVERY == 0:
            statistics.append(_statistics(study, now.latents))
        if i % max(1, k // 12) == 0:
            seen.append(world.decode(now.latents[::n]).cpu().numpy())  # one row of each way
    films = np.stack(seen, 1)
    about = f"{', '.join(ways)}: every {max(1, k // 12)} frames of {k}"
    study.strips["drift-ways"] = Strip(about, film_strip(list(films)))
    lasted = np.minimum(EVERY * first_failure(np.stack(statistics, 1), low, high, WINDOW), k)
    table = {}
    for name, part in zip(ways, np.split(lasted, len(ways)), strict=True):
        failed = part[part < k]
        table[name] = {
            "survived": share(part >= k),
            "first_failure": int(failed.min()) if len(failed) else k,
            "median_frames": float(np.median(part)),
        }
    frames = list(range(0, k + 1, max(1, k // 64)))
    study.plots["drift-survival"] = Plot(
        "Drift", "imagined frame", "share of rollouts still in the range of real frames",
        {
            name: (frames, [share((part >= f) | (part >= k)) for f in frames])
            for name, part in zip(ways, np.split(lasted, len(ways)), strict=True)
        },
    )  # fmt: skip
    return {
        "frames": k,
        "rollouts": rows,
        "survived": share(lasted >= k),
        "real_episodes_in_range": real,
        "way": table,
    }


def _ways(study: Study, n: int, k: int) -> np.ndarray:
    """Return idle, random and recorded actions, `n` rows of `k` each: `(3 n, k, a)`."""
    rng = np.random.default_rng(study.cfg.seed)
    idle = hold(study.idle, n, k)
    drawn = [
        study.clips.actions[rng.integers(len(study.clips)), 0] for _ in range(n * (k // 10 + 1))
    ]
    space = study.data.info.action_space
    if hasattr(space, "low") and np.isfinite([space.low, space.high]).all():
        drawn = [rng.uniform(space.low, space.high).ravel() for _ in drawn]
    held = np.stack(drawn).reshape(n, -1, idle.shape[-1]).repeat(10, 1)[:, :k]
    recorded = []
    for _ in range(n):
        order = rng.permutation(len(study.data))
        actions = np.concatenate([study.data.outline(int(i)).actions for i in order])
        recorded.append(np.resize(actions, (k, actions.shape[-1])))
    return np.concatenate([idle, held.astype(np.float32), np.stack(recorded)]).astype(np.float32)


@torch.inference_mode()
def _statistics(study: Study, latents: torch.Tensor) -> np.ndarray:
    """Return colour statistics and re-encoding error of latents `(b, c, h, w)`: `(b, 8)`."""
    frames, lost = study.world.decode(latents), lost_again(study.world, latents)
    return np.concatenate([frame_statistics(frames.cpu().numpy()), lost[:, None].cpu().numpy()], 1)


def _real_range(study: Study) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the range of real frames' statistics, and the share of real episodes that keep it.

    The range comes from every second episode, the share from the others; they are spread over all.
    """
    parts = []
    for index in np.linspace(0, len(study.data) - 1, min(64, len(study.data))).astype(int):
        frames = study.data[int(index)].frames[::EVERY]
        latents = study.world.encode(frames)
        parts.append(np.concatenate([_statistics(study, part) for part in latents.split(64)]))
    known, unseen = np.concatenate(parts[::2]), parts[1::2] or parts
    low, high = known.min(0), known.max(0)
    margin = 0.25 * (high - low)
    low, high = low - margin, high + margin
    low[-1] = 0.0  # losing nothing when encoded again is no fault
    kept = [first_failure(part[None], low, high, WINDOW)[0] >= len(part) for part in unseen]
    return low, high, share(kept)


def measure_rewards(study: Study) -> dict[str, Any]:
    """Compare imagined rewards and endings with the recorded ones, under the recorded actions.

    Rewards over 16 imagined frames. "lag" is the shift at which both correlate best: 0 is right.
    Endings 1 and 8 imagined frames ahead: clips that end an episode among as many that do not; one
    counts as found when its probability passes one half at most one frame off.
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
