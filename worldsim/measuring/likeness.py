"""How alike imagined and real frames are: by pixels, by structure, by networks the user brings."""

from typing import Any

import numpy as np
import torch
from einops import rearrange

from worldsim.measuring.dreaming import film_strip
from worldsim.measuring.heldout import HeldOut
from worldsim.measuring.metrics import (
    Predict,
    changed_fidelity,
    check_horizons,
    copy_last,
    fidelity,
    frechet_distance,
    gain_interval,
    moving_half,
    psnr,
    squared_error,
    ssim,
)
from worldsim.measuring.plots import Plot
from worldsim.measuring.report import Strip
from worldsim.measuring.study import Skip, Study

FEW = 8  # episodes; fewer say nothing of others


def compare(
    predict: Predict, clips: HeldOut, horizons: tuple[int, ...] = (1, 4, 16)
) -> dict[int, dict[str, float]]:
    """Measure any predictor of frames on held-out clips.

    Args:
        predict: From frames `(b, t, h, w, 3)` uint8 and flat actions `(b, t - 1 + k, a)` to the `k`
            frames that follow, `(b, k, h, w, 3)` uint8.
        clips: Held-out clips, from `cut_clips`.
        horizons: Which predicted frames to judge.

    Returns:
        By horizon: PSNR, copy-last's, the gain, all three on the moving half and on the pixels
        that changed by more than 8 levels, and SSIM of both.

    Raises:
        ValueError: If the predictor returns something else, or a horizon lies beyond the clips.
    """
    check_horizons(horizons, clips.horizon)
    made = predict(clips.given.copy(), clips.actions.copy())
    shape = getattr(made, "shape", None)
    if not isinstance(made, np.ndarray) or made.dtype != np.uint8 or shape != clips.future.shape:
        raise ValueError(
            f"a predictor must return a NumPy array {clips.future.shape} uint8, the frames that "
            f"follow, got {type(made).__name__} {shape} {getattr(made, 'dtype', '')}"
        )
    still = copy_last(clips.given, clips.actions)
    error, copy = squared_error(made, clips.future), squared_error(still, clips.future)
    table = fidelity(error, copy, horizons)
    changed = changed_fidelity(made, clips.future, clips.given[:, -1], horizons)
    for h, row in table.items():
        row |= changed[h]
        row["ssim"] = float(ssim(made[:, h - 1], clips.future[:, h - 1]).mean())
        row["copy_ssim"] = float(ssim(still[:, h - 1], clips.future[:, h - 1]).mean())
    return table


def measure_tokenizer(study: Study) -> dict[str, Any]:
    """Encode and decode the clips' frames: the ceiling of what any rollout can show.

    PSNR of the error pooled over all frames, the 5 % worst frames' PSNR, and SSIM.
    """
    frames = study.clips.frames[:, :: max(1, study.clips.frames.shape[1] // 16)]
    again = round_trip(study, frames)
    error = squared_error(again, frames)
    return {
        "psnr": float(psnr(error.mean())),
        "psnr_of_worst_5_percent": float(
            psnr(np.sort(error.ravel())[-max(1, error.size // 20) :].mean())
        ),
        "ssim": float(ssim(again[:, ::4], frames[:, ::4]).mean()),
    }


def measure_fidelity(study: Study) -> dict[str, Any]:
    """Give real frames and the true actions; compare the expected frames with what really came.

    The error is pooled over clips before PSNR is taken. "copy" is the last given frame repeated,
    "gain" the difference (95 % of draws of the episodes lie between "gain_low" and "gain_high"),
    "moving" the half of the clips whose copy error at that horizon is above
    the median, "changed" the pixels that differ from the last given frame by more than 8 levels,
    "ceiling" the tokenizer alone. "simulator astray" is the simulator itself under another clip's
    actions, on those clips that it replays: knowing the world without obeying.
    """
    clips, made = study.clips, study.imagined
    table = compare(lambda *_: made, clips, study.cfg.horizons)
    at = [h - 1 for h in study.cfg.horizons]
    real = clips.future[:, at]
    coded = round_trip(study, real)
    error = squared_error(made, clips.future)
    copy = squared_error(copy_last(clips.given, clips.actions), clips.future)
    lines = {"dream": error, "copy last": copy}
    for row, again, truth in zip(
        table.values(), coded.swapaxes(0, 1), real.swapaxes(0, 1), strict=True
    ):
        row["ceiling"] = float(psnr(squared_error(again, truth).mean()))
        row["ceiling_ssim"] = float(ssim(again, truth).mean())
    episode = clips.place[:, 0]
    episodes = len(np.unique(episode))
    for i, row in zip(at, table.values(), strict=True):
        if episodes >= FEW:
            row["gain_low"], row["gain_high"] = gain_interval(error[:, i], copy[:, i], episode)
    counts = {"clips": len(clips), "episodes": episodes}
    figures = counts | {"given_frames": clips.context}
    try:
        some, _, other = study.rivals
        lines["simulator astray"] = squared_error(other, some.future)
        for h, row in table.items():
            row["simulator_astray"] = float(psnr(lines["simulator astray"][:, h - 1].mean()))
            row["simulator_astray_ssim"] = float(
                ssim(other[:, h - 1], some.future[:, h - 1]).mean()
            )
    except Skip as reason:
        figures["simulator_astray"] = str(reason)
    frames = list(range(1, clips.horizon + 1))
    drawn = {name: (frames, psnr(line.mean(0)).tolist()) for name, line in lines.items()}
    drawn["tokenizer"] = (list(study.cfg.horizons), [row["ceiling"] for row in table.values()])
    study.plots["fidelity-all-clips"] = Plot(
        "Fidelity, all clips", "imagined frame", "PSNR, dB", drawn
    )
    fast = [moving_half(at) for at in copy.T]  # of each frame its own, as in the table
    lines = {
        name: [lines[name][rows, i].mean() if rows.any() else np.nan for i, rows in enumerate(fast)]
        for name in ("dream", "copy last")
    }
    study.plots["fidelity-moving-half"] = Plot(
        "Fidelity, moving half", "imagined frame", "PSNR, dB",
        {name: (frames, psnr(np.array(line)).tolist()) for name, line in lines.items()},
    )  # fmt: skip
    every = max(1, clips.horizon // 12)
    for i in np.linspace(0, len(clips) - 1, min(6, len(clips))).astype(int):
        strip = film_strip([clips.future[i][every - 1 :], made[i][every - 1 :]], every)
        about = f"real above imagined, every {every} frames; {clips.captions[i] or 'no caption'}"
        study.strips[f"fidelity-{i:02d}"] = Strip(about, strip)
    return figures | {"frame": table}


@torch.inference_mode()
def round_trip(study: Study, frames: np.ndarray) -> np.ndarray:
    """Encode and decode `(b, t, h, w, 3)`."""
    return study.world.decode(study.world.encode(frames)).cpu().numpy()


@torch.inference_mode()
def measure_lpips(study: Study, network: Any) -> dict[str, Any]:
    """Take the user's perceptual distance at each horizon."""
    made, real = _signed(study.drawn), _signed(study.clips.future)  # (b, t, h, w, c)
    made, real = (rearrange(video, "b t h w c -> t b c h w") for video in (made, real))
    return {f"at_{h}": float(network(made[h - 1], real[h - 1]).mean()) for h in study.cfg.horizons}


@torch.inference_mode()
def measure_fvd(study: Study, network: Any) -> dict[str, Any]:
    """Take the Frechet distance between the user's features of real and imagined clips."""
    if len(study.clips) < 2:
        raise Skip("needs at least 2 clips")
    features = []
    for video in (study.clips.future, study.drawn):
        parts = rearrange(_signed(video), "b t h w c -> b c t h w").split(8)
        features.append(torch.cat([network(part) for part in parts]).numpy())
    return {"fvd": frechet_distance(*features), "clips": len(study.clips)}


def _signed(frames: np.ndarray) -> torch.Tensor:
    """Scale pixels to [-1, 1], as most networks expect them."""
    return torch.from_numpy(frames) / 127.5 - 1
