"""What the hallucination alarm learns from, and how well it tells wrong frames from right ones.

Imagined frames of held-out clips are set beside what really came; `worldsim.doubt` says what a
doubt of 1 means.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from worldsim.doubt import EVERY, Doubt, lost_again, signs
from worldsim.frames import led_by
from worldsim.measuring.heldout import HeldOut
from worldsim.measuring.metrics import auroc, share, squared_error
from worldsim.measuring.plots import Plot
from worldsim.measuring.study import Skip, Study
from worldsim.rollout import Rollout
from worldsim.world import World

RIDGE = 0.3  # of what the signs vary: the better of 0.01 and 0.3 on clips left out
WORST = 0.05  # share of real transitions that are worse than a doubt of 1


@dataclass(frozen=True, eq=False)
class Observed:
    """Imagined frames beside what really came.

    Attributes:
        signs: `(b, k, s)`, see `signs`.
        error: `(b, k)`, root mean square difference of pixels, of 255.
    """

    signs: np.ndarray
    error: np.ndarray


@torch.inference_mode()
def observe(
    world: World, clips: HeldOut, *, real: bool = False, steps: int | None = None, seed: int = 0
) -> Observed:
    """Imagine the clips' futures under their true actions, and see how wrong each frame is.

    Args:
        world: The world.
        clips: Held-out clips.
        real: Predict each frame from the real ones before it: real transitions. Otherwise from the
            given frames and the world's own.
        steps: Sampler steps per frame; None is the world's default.
        seed: Of the noise.
    """
    b, c = len(clips), clips.context
    rows = list(range(b))
    latents = world.encode(clips.frames)
    actions = led_by(torch.from_numpy(world.scale_actions(clips.actions)))
    known = F.pad(torch.from_numpy(clips.known), (1, 0))
    rollout = Rollout(world, b, sampler_steps=steps, frame_size=clips.frames.shape[2:4])
    rollout.seed(rows, [seed + row for row in rows])
    parts = []
    for t in range(c, c + clips.horizon):
        if t == c or real:
            rollout.prefill(rows, latents[:, t - c : t], actions[:, t - c : t], known[:, t - c : t])
        before = rollout.latents
        now = rollout.step(actions[:, t], known[:, t]).latents
        frames = world.decode(now)
        error = 255 * np.sqrt(squared_error(frames.cpu().numpy(), clips.frames[:, t]))
        if real or (t - c) % EVERY == 0:
            lost = lost_again(world, now)
        parts.append((signs(now, before, lost).cpu().numpy(), error))
    return Observed(*(np.stack(part, 1) for part in zip(*parts, strict=True)))


def calibrate(imagined: Observed, real: Observed) -> dict:
    """Learn what the signs mean; returns what `config.json` keeps.

    A ridge regression of the logarithm of the error on the signs, over rollouts and real
    transitions together, stretched until it is as steep as the errors.

    Args:
        imagined: Of rollouts.
        real: Of real transitions, whose worst 5 % are a doubt of 1.
    """
    x = np.concatenate([o.signs.reshape(-1, o.signs.shape[-1]) for o in (imagined, real)])
    y = np.log(np.concatenate([o.error.ravel() for o in (imagined, real)]) + 1e-3)
    mean, std = x.mean(0), x.std(0) + 1e-3
    z = (x - mean) / std
    ridge = RIDGE * len(z) * np.eye(z.shape[1])
    slopes = np.linalg.solve(z.T @ z + ridge, z.T @ (y - y.mean()))
    slopes *= (z @ slopes) @ (y - y.mean()) / np.square(z @ slopes).sum()  # undo the shrinking
    weights, worst = slopes / std, float(np.quantile(real.error, 1 - WORST))
    bias = y.mean() - mean @ weights - np.log(worst + 1e-3)
    return {"weights": weights.round(5).tolist(), "bias": round(float(bias), 5), "worst": worst}


def measure_doubt(study: Study) -> dict[str, Any]:
    """Ask the hallucination alarm which frames are wrong.

    The alarm is calibrated here on the clips of every second episode and tested on the others. A
    frame is wrong when its error is above what the worst 5 % of real transitions (one step ahead
    of real frames) exceed; a doubt of 1 stands for that error. "auroc": the chance that a wrong
    frame gets more doubt than a right one, over rollouts of 32 frames and real transitions;
    "at_the_same_age": the same for worse and better halves of frames equally far from the last real
    one, where counting frames would be worth 0.5. Other signs stand beside.
    """
    clips = study.clips.first(min(32, study.clips.horizon))
    odd = np.unique(clips.place[:, 0], return_inverse=True)[1] % 2 == 1
    if not odd.any():
        raise Skip("needs clips of at least 2 episodes")
    near = clips.first(min(8, clips.horizon))
    settings = {"steps": study.steps, "seed": study.cfg.seed}
    learn, check = (
        (observe(study.world, clips.rows(rows), **settings),
         observe(study.world, near.rows(rows), real=True, **settings))
        for rows in (~odd, odd)
    )  # fmt: skip
    kept = study.doubt = calibrate(*learn)
    imagined, real = check
    wrong = [o.error > kept["worst"] for o in check]
    views = _views(Doubt.read(kept), imagined)
    table = {name: _judged(view, check, wrong) for name, view in views.items()}
    doubt = views["doubt"](imagined)
    frames = list(range(1, doubt.shape[1] + 1))
    study.plots["doubt-over-time"] = Plot(
        "Hallucination alarm", "imagined frame", "1 = the worst 5 % of real transitions",
        {
            "doubt": (frames, doubt.mean(0).tolist()),
            "true error": (frames, (imagined.error / kept["worst"]).mean(0).tolist()),
        },
    )  # fmt: skip
    return {
        "worst_5_percent_of_255": kept["worst"],
        "real_transitions_with_doubt_above_1": share((views["doubt"](real) > 1).ravel()),
        "wrong_frames_of_rollouts": share(wrong[0].ravel()),
        "doubt_to_true_error_correlation": float(
            np.corrcoef(np.log(doubt.ravel() + 1e-6), np.log(imagined.error.ravel() + 1e-6))[0, 1]
        ),
        "calibrated": "yes" if study.world.cfg.doubt else "no; keep=true does it",
        "sign": table,
    }


def _views(alarm: Doubt, imagined: Observed) -> dict[str, Callable[[Observed], np.ndarray]]:
    """Return the alarm and simpler signs, each a number for every frame that was observed."""
    c = (imagined.signs.shape[-1] - 5) // 2
    return {
        "doubt": lambda o: alarm.of_signs(torch.from_numpy(o.signs)).numpy(),
        "lost when encoded again": lambda o: o.signs[..., -1],
        "size of latents": lambda o: o.signs[..., 2 * c],
        "roughness of latents": lambda o: o.signs[..., 2 * c + 1],
        "change since the frame before": lambda o: o.signs[..., 2 * c + 3],
        "frames since a real one": lambda o: np.broadcast_to(
            1 + np.arange(o.error.shape[1]) * (o is imagined), o.error.shape
        ),
    }


def _judged(
    view: Callable[[Observed], np.ndarray], check: Sequence[Observed], wrong: list[np.ndarray]
) -> dict[str, float]:
    """Say how well a sign tells wrong frames, of rollouts and real transitions, from right ones."""
    seen, error = [view(o) for o in check], check[0].error
    by_age = [
        auroc(seen[0][:, i], error[:, i] > np.median(error[:, i])) for i in range(error.shape[1])
    ]
    return {
        "auroc": auroc(*(np.concatenate([x.ravel() for x in xs]) for xs in (seen, wrong))),
        "at_the_same_age": float(np.nanmean(by_age)),
    }
