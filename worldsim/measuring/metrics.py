"""Measures of predicted frames, as pure functions over arrays.

Nothing here knows a world: whatever predicts frames can be measured, if it is wrapped as a
`Predict`. Errors are taken on pixels scaled to [0, 1]; PSNR is always that of the *pooled* error
(the mean over all clips, then the logarithm), so one easy clip cannot lift the figure.

Symbols: `b` clips, `t` real frames given, `k` frames to predict, `a` size of a flattened action.

References:
    SSIM, Wang et al. 2004, https://doi.org/10.1109/TIP.2003.819861, eq. 13
    Frechet distance (as FID and FVD use it), Heusel et al. 2017, https://arxiv.org/abs/1706.08500
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

STILL = 1e-9  # mean squared error below which nothing has moved


class Predict(Protocol):
    """Anything that goes on with videos under actions."""

    def __call__(self, frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """Predict the next frames.

        Args:
            frames: `(b, t, h, w, 3)` uint8, real.
            actions: `(b, t - 1 + k, a)` float32, flattened, not scaled; `actions[:, i]` leads from
                frame `i` to frame `i + 1`.

        Returns:
            `(b, k, h, w, 3)` uint8.
        """


def copy_last(frames: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Predict that nothing moves: the `Predict` that every world has to beat."""
    k = actions.shape[1] - frames.shape[1] + 1
    return np.repeat(frames[:, -1:], k, 1)


def squared_error(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the mean squared error of each frame: `(..., h, w, 3)` uint8 twice -> `(...)`."""
    frames, others = np.broadcast_arrays(frames, others)
    errors = np.empty(frames.shape[:-3])
    for i in np.ndindex(errors.shape):  # one frame at a time: float copies of all would not fit
        difference = frames[i].astype(np.float32) - others[i]
        errors[i] = np.square(difference).mean() / 255**2
    return errors


def distance(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the root mean square difference of pixels in [0, 255], per frame `(...)`."""
    return 255 * np.sqrt(squared_error(frames, others))


def nearer(own: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return 1 where the error `own` is less than `other`, a half where they are equal, else 0."""
    return np.where(own == other, 0.5, own < other)


def share(flags: Sequence[bool] | np.ndarray) -> float:
    """Return the share of True; NaN of nothing."""
    return float(np.mean(flags)) if len(flags) else float("nan")


def psnr(error: np.ndarray | float) -> np.ndarray | float:
    """Return the peak signal-to-noise ratio in dB of a mean squared error in [0, 1]."""
    return -10 * np.log10(np.maximum(error, 1e-10))


def ssim(frames: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the structural similarity of each frame: `(..., h, w, 3)` uint8 twice -> `(...)`.

    Raises:
        ValueError: If the frames are smaller than its window of 11 pixels.
    """
    import cv2

    h, w = frames.shape[-3:-1]
    if min(h, w) < 11:
        raise ValueError(f"SSIM needs frames of at least 11 pixels a side, got {w}x{h}")

    def blur(x: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(x, (11, 11), 1.5)[5:-5, 5:-5]

    frames, others = np.broadcast_arrays(frames, others)
    scores = np.empty(frames.shape[:-3])
    for i in np.ndindex(scores.shape):
        x, y = frames[i].astype(np.float32) / 255, others[i].astype(np.float32) / 255
        mx, my = blur(x), blur(y)
        vx, vy, vxy = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        top = (2 * mx * my + c1) * (2 * vxy + c2)
        scores[i] = (top / ((mx * mx + my * my + c1) * (vx + vy + c2))).mean()
    return scores


def moving_half(copy_error: np.ndarray) -> np.ndarray:
    """Return `(b,)` bool: clips whose copy-last error `(b,)` is above the median."""
    return copy_error > np.median(copy_error)


def check_horizons(horizons: Sequence[int], most: int) -> None:
    """Refuse frames to judge that are none of the `most` that are predicted.

    Raises:
        ValueError: If there are such.
    """
    if not horizons or min(horizons) < 1 or max(horizons) > most:
        raise ValueError(f"`horizons` must lie between 1 and {most}, got {tuple(horizons)}")


def fidelity(
    error: np.ndarray, copy_error: np.ndarray, horizons: Sequence[int]
) -> dict[int, dict[str, float]]:
    """Compare a prediction with copy-the-last-frame.

    Args:
        error: `(b, k)`, squared error of each predicted frame.
        copy_error: `(b, k)`, that of the last real frame in its place.
        horizons: Which predicted frames to look at; 1 is the first.

    Returns:
        For each horizon up to `k`: PSNR, copy-last's, the gain over it (none where nothing
        moves), and all three on the moving half (the clips whose copy-last error at this horizon
        is above the median).
    """
    table = {}
    for horizon in (h for h in horizons if h <= error.shape[1]):
        own, copy = error[:, horizon - 1], copy_error[:, horizon - 1]
        row = {}
        for prefix, rows in (("", np.ones(len(own), bool)), ("moving_", moving_half(copy))):
            if rows.any():
                ours, theirs = float(psnr(own[rows].mean())), float(psnr(copy[rows].mean()))
                row |= {f"{prefix}psnr": ours, f"{prefix}copy": theirs}
                if copy[rows].mean() > STILL:
                    row |= {f"{prefix}gain": ours - theirs}
        table[horizon] = row
    return table


def gain_interval(error: np.ndarray, copy_error: np.ndarray, episode: np.ndarray) -> list[float]:
    """Return between which gains over copying, in dB, 95 % of 2,000 draws of the episodes lie.

    Args:
        error: `(b,)`, squared error of a predicted frame of each clip.
        copy_error: `(b,)`, that of the last real frame in its place.
        episode: `(b,)`, which episode each clip is of: those are drawn, with replacement.

    Reference:
        Bootstrap confidence intervals, Efron 1979, https://doi.org/10.1214/aos/1176344552
    """
    own = np.unique(episode, return_inverse=True)[1]
    ours, theirs = np.bincount(own, error), np.bincount(own, copy_error)
    drawn = np.random.default_rng(0).integers(len(ours), size=(2000, len(ours)))
    ratio = np.maximum(theirs[drawn].sum(1), 1e-10) / np.maximum(ours[drawn].sum(1), 1e-10)
    return np.quantile(10 * np.log10(ratio), [0.025, 0.975]).tolist()


def changed_fidelity(
    made: np.ndarray, future: np.ndarray, last: np.ndarray, horizons: Sequence[int], levels: int = 8
) -> dict[int, dict[str, float]]:
    """Compare a prediction with copy-the-last-frame on the pixels that changed.

    Where little moves, all-picture errors say how well the background is drawn; this says how well
    what moves is foreseen. What is painted wrong where nothing changed is not seen here: a grey
    picture gains 4 dB on Breakout, so it is to be read beside the gain on all pixels.

    Args:
        made: `(b, k, h, w, 3)` uint8, predicted.
        future: `(b, k, h, w, 3)` uint8, real.
        last: `(b, h, w, 3)` uint8, the last given frame.
        horizons: Which predicted frames to look at; 1 is the first.
        levels: A pixel has changed if one of its colours differs from `last` by more than this.

    Returns:
        For each horizon up to `k`: the share of pixels that changed, and on those PSNR,
        copy-last's, and the gain over it; no figures where nothing changed.
    """
    table = {}
    for horizon in (h for h in horizons if h <= future.shape[1]):
        real, still = future[:, horizon - 1].astype(np.float32), last.astype(np.float32)
        changed = np.abs(real - still).max(-1) > levels  # (b, h, w)
        row = {"changed_share": float(changed.mean())}
        if changed.any():
            imagined = made[:, horizon - 1][changed].astype(np.float32)
            ours = float(psnr(np.square(imagined - real[changed]).mean() / 255**2))
            copy = float(psnr(np.square(still[changed] - real[changed]).mean() / 255**2))
            row |= {"changed_psnr": ours, "changed_copy": copy, "changed_gain": ours - copy}
        table[horizon] = row
    return table


def r_squared(predicted: np.ndarray, real: np.ndarray) -> float:
    """Return the share of the variance of `real` `(n,)` or `(n, k)` that `predicted` explains.

    NaN where nothing varies.
    """
    rest, whole = np.square(real - predicted).sum(), np.square(real - real.mean(0)).sum()
    return float(1 - rest / whole) if whole > 1e-12 else float("nan")


def f1_score(predicted: np.ndarray, real: np.ndarray) -> float:
    """Return the F1 of the True class for bool arrays of one shape; NaN if it never occurs."""
    hits, total = (predicted & real).sum(), predicted.sum() + real.sum()
    return float(2 * hits / total) if total else float("nan")


def macro_f1(predicted: np.ndarray, real: np.ndarray) -> float:
    """Return the mean F1 over the classes that occur in `real`, for integer arrays."""
    return float(np.mean([f1_score(predicted == c, real == c) for c in np.unique(real)]))


def best_lag(predicted: np.ndarray, real: np.ndarray, reach: int = 3) -> int:
    """Return by how many frames `predicted` `(b, k)` runs late (positive) or early (negative).

    The lag at which the two correlate best. 0 is right; 1 or -1 is an off-by-one.
    """

    def match(lag: int) -> float:
        late = predicted[:, max(lag, 0) : predicted.shape[1] + min(lag, 0)].ravel()
        base = real[:, max(-lag, 0) : real.shape[1] + min(-lag, 0)].ravel()
        if late.std() < 1e-9 or base.std() < 1e-9:
            return -1.0
        return float(np.corrcoef(late, base)[0, 1])

    return max(sorted(range(-reach, reach + 1), key=abs), key=match)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p95 and p99 of durations, in milliseconds."""
    values = np.percentile(1e3 * np.asarray(seconds), [50, 95, 99])
    return dict(zip(("p50_ms", "p95_ms", "p99_ms"), map(float, values), strict=True))


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Return the Frechet distance of two Gaussians fitted to features `(n, d)` and `(m, d)`."""
    mean = np.square(features.mean(0) - others.mean(0)).sum()
    first, second = np.cov(features, rowvar=False), np.cov(others, rowvar=False)
    eigenvalues = np.linalg.eigvals(np.atleast_2d(first) @ np.atleast_2d(second))
    root = np.sqrt(np.maximum(eigenvalues.real, 0)).sum()
    return float(mean + np.trace(np.atleast_2d(first)) + np.trace(np.atleast_2d(second)) - 2 * root)


def frame_statistics(frames: np.ndarray) -> np.ndarray:
    """Return colour statistics of each frame: `(..., h, w, 3)` uint8 -> `(..., 7)`.

    Mean and standard deviation of each colour, and sharpness (mean absolute difference of
    neighbours): by these a dream that is flat, glows or tears is unlike any real frame.
    """
    x = frames.astype(np.float32) / 255
    sharp = np.abs(np.diff(x, axis=-2)).mean((-3, -2, -1)) + np.abs(np.diff(x, axis=-3)).mean(
        (-3, -2, -1)
    )
    return np.concatenate([x.mean((-3, -2)), x.std((-3, -2)), sharp[..., None]], -1)


def first_failure(
    statistics: np.ndarray, low: np.ndarray, high: np.ndarray, window: int = 16
) -> np.ndarray:
    """Return when each video leaves the range for good measure: `(b, t, k)` -> `(b,)` frames.

    A video fails at the frame at which the median of any statistic over the last `window` frames
    lies outside `[low, high]`: one odd frame is forgiven, a state is not. Videos that never fail
    get `t`.
    """
    t = statistics.shape[1]
    median = running_median(statistics, window)
    outside = ((median < low) | (median > high)).any(-1)
    return np.where(outside.any(1), outside.argmax(1) + min(window, t) - 1, t)


def running_median(statistics: np.ndarray, window: int) -> np.ndarray:
    """Return medians over `window` frames: `(b, t, k)` -> `(b, t - window + 1, k)`."""
    window = min(window, statistics.shape[1])
    return np.median(np.lib.stride_tricks.sliding_window_view(statistics, window, axis=1), -1)


def auroc(score: np.ndarray, real: np.ndarray) -> float:
    """Return the chance that a True item of `real` `(n,)` scores above a False one.

    Ties count half; NaN where all are True or all are False.
    """
    real = np.asarray(real, bool)
    true, false = int(real.sum()), int((~real).sum())
    if not true or not false:
        return float("nan")
    _, rank, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2  # mean rank of equal scores, from 1
    return float((middle[rank][real].sum() - true * (true + 1) / 2) / (true * false))
