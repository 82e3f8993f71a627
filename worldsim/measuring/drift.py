"""Does a dream last? A thousand frames of it beside what real frames look like."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from gymnasium import spaces

from worldsim.doubt import lost_again
from worldsim.measuring.dreaming import film_strip, read_given
from worldsim.measuring.heldout import HeldOut, hold
from worldsim.measuring.metrics import first_failure, frame_statistics, running_median, share
from worldsim.measuring.plots import Plot
from worldsim.measuring.report import Strip
from worldsim.measuring.study import Study
from worldsim.rollout import Rollout
from worldsim.spaces import flatten_action

WAYS = ("idle", "random", "recorded", "autopilot")
EVERY = 4  # one in so many frames is looked at for drift
WINDOW = 16 // EVERY
SHARP = 6  # which statistic is the sharpness
TINY = 1e-3  # added before a logarithm is taken
MARGIN = np.array(3 * [0.05] + 5 * [np.log(1.25)])


def measure_drift(study: Study) -> dict[str, Any]:
    """Dream on for long: idle, at random (held for ten steps), as recorded, and under autopilot.

    A rollout fails when the median over 16 frames of any statistic is unlike that of any real
    stretch: the mean of a colour by a twentieth of its range, or, by a quarter, the spread of a
    colour, sharpness, or what is lost when the frame is encoded again. Every fourth frame counts.
    That tells torn, glowing and flat pictures from real ones, not whether the place is still there:
    "detail" is the sharpness at the end as a share of the given frames'. Real recordings stand
    beside, and as a control the same ones in one grey, and blurred over 4 pixels.
    """
    real, (n, k) = RealFrames.of(study), (study.cfg.drift_rows, study.cfg.drift_frames)
    some = np.resize(np.arange(len(study.starts)), n)
    starts = study.starts.rows(np.tile(some, len(WAYS)))
    made = _dream_on(study, starts, n, k)
    lasted = np.minimum(EVERY * real.first_failure(made), k)
    begun = np.log(frame_statistics(starts.given[:, -1])[:, SHARP] + TINY)
    detail = np.exp(np.median(made[:, -WINDOW:, SHARP], 1) - begun)
    frames, lines, table = list(range(0, k + 1, max(1, k // 64))), {}, {}
    by_way = [np.split(values, len(WAYS)) for values in (lasted, detail)]
    for name, part, left in zip(WAYS, *by_way, strict=True):
        failed = part[part < k]
        table[name] = {
            "survived": share(part >= k),
            "first_failure": int(failed.min()) if len(failed) else k,
            "median_frames": float(np.median(part)),
            "detail": float(np.median(left)),
        }
        lines[name] = frames, [share((part >= f) | (part >= k)) for f in frames]
    about = "share of rollouts still in the range of real frames"
    study.plots["drift-survival"] = Plot("Drift", "imagined frame", about, lines)
    return {
        "frames": k,
        "rollouts": len(starts),
        "starts": n,
        "survived": share(lasted >= k),
        "real_episodes_in_range": real.kept,
        "real_detail": real.detail,
        "grey_in_range": real.control(lambda frames: np.full_like(frames, 128)),
        "blurred_in_range": real.control(_blurred),
        "way": table,
    }


@torch.inference_mode()
def _dream_on(study: Study, starts: HeldOut, n: int, k: int) -> np.ndarray:
    """Imagine `k` frames from each start, `n` by each of `WAYS`; every fourth's statistics.

    Those are `(4 n, k / 4, 8)`. A film strip goes to the study.
    """
    world, rows = study.world, len(starts)
    rollout = Rollout(world, rows, sampler_steps=study.steps, frame_size=study.data.info.frame_size)
    rollout.seed(list(range(rows)), [study.cfg.seed + i for i in range(rows)])
    read_given(rollout, starts.given, starts.actions, starts.known)
    given = torch.from_numpy(world.scale_actions(_ways(study, n, k))).to(world.device)
    statistics, seen, often = [], [], max(1, k // 12)
    for i in range(k):
        now = rollout.step(torch.cat([given[:, i], world.played(rollout.policy[3 * n :])]))
        if i % EVERY == 0:
            statistics.append(_statistics(study, now.latents))
        if i % often == 0:
            seen.append(world.decode(now.latents[::n]).cpu().numpy())  # one row of each way
    about = f"{', '.join(WAYS)}: every {often} frames of {k}"
    study.strips["drift-ways"] = Strip(about, film_strip(list(np.stack(seen, 1))))
    return np.stack(statistics, 1)


def _ways(study: Study, n: int, k: int) -> np.ndarray:
    """Return idle, random and recorded actions, `n` rows of `k` each: `(3 n, k, a)`."""
    space = copy.deepcopy(study.data.info.action_space)
    space.seed(study.cfg.seed)
    idle, count = hold(study.idle, n, k), n * (k // 10 + 1)
    bounded = not isinstance(space, spaces.Box) or space.is_bounded()
    if bounded:
        drawn = [flatten_action(space, space.sample()) for _ in range(count)]
    else:  # at random, that is any that was recorded
        rng = np.random.default_rng(study.cfg.seed)
        drawn = [study.clips.actions[rng.integers(len(study.clips)), 0] for _ in range(count)]
    held = np.stack(drawn).reshape(n, -1, idle.shape[-1]).repeat(10, 1)[:, :k]
    return np.concatenate([idle, held, study.astray(n, k)]).astype(np.float32)


@torch.inference_mode()
def _statistics(study: Study, latents: torch.Tensor) -> np.ndarray:
    """Return statistics of latents `(b, c, h, w)`: `(b, 8)`, three means and five logarithms."""
    frames, lost = study.world.decode(latents), lost_again(study.world, latents)
    colours, lost = frame_statistics(frames.cpu().numpy()), lost[:, None].cpu().numpy()
    return np.concatenate([colours[:, :3], np.log(np.c_[colours[:, 3:], lost] + TINY)], 1)


def _blurred(frames: np.ndarray) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 4) for frame in frames])


@dataclass(frozen=True)
class RealFrames:
    """What statistics `(8,)` of real frames range over: those of every second episode.

    Attributes:
        low: The least of any stretch, and the margin.
        high: Likewise, the most.
        unseen: Frames `(t, h, w, 3)` of the other episodes, every fourth.
        kept: Share of those that keep to the range.
        detail: Their sharpness at the end, as a share of that at the beginning.
    """

    study: Study
    low: np.ndarray
    high: np.ndarray
    unseen: list[np.ndarray]
    kept: float
    detail: float

    @classmethod
    def of(cls, study: Study) -> "RealFrames":
        """Look at episodes from all over the recordings."""
        index = np.linspace(0, len(study.data) - 1, min(64, len(study.data))).astype(int)
        films = [study.data[i].frames[::EVERY] for i in index.tolist()]
        parts = [_film_statistics(study, film) for film in films]
        known = np.concatenate([running_median(part[None], WINDOW)[0] for part in parts[::2]])
        low, high = known.min(0) - MARGIN, known.max(0) + MARGIN
        low[-1] = -np.inf  # losing nothing when encoded again is no fault
        rest = slice(1, None, 2) if len(parts) > 1 else slice(None)
        ends = [np.median(p[-WINDOW:], 0) - np.median(p[:WINDOW], 0) for p in parts[rest]]
        detail = float(np.exp(np.median([end[SHARP] for end in ends])))
        made = cls(study, low, high, films[rest], 0.0, detail)
        return replace(made, kept=share([made.keeps(part) for part in parts[rest]]))

    def first_failure(self, statistics: np.ndarray) -> np.ndarray:
        """Return when each of `(b, t, 8)` leaves the range, `(b,)`; `t` where it never does."""
        return first_failure(statistics, self.low, self.high, WINDOW)

    def keeps(self, statistics: np.ndarray) -> bool:
        """Say whether a film's `(t, 8)` never leave the range."""
        return bool(self.first_failure(statistics[None])[0] >= len(statistics))

    def control(self, change: Callable[[np.ndarray], np.ndarray]) -> float:
        """Return the share of some real episodes that keep to the range once they are changed."""
        some = [change(film) for film in self.unseen[:8]]
        return share([self.keeps(_film_statistics(self.study, film)) for film in some])


def _film_statistics(study: Study, frames: np.ndarray) -> np.ndarray:
    """Return the statistics `(t, 8)` of frames `(t, h, w, 3)`, encoded and decoded."""
    latents = study.world.encode(frames)
    return np.concatenate([_statistics(study, part) for part in latents.split(64)])
