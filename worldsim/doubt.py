"""The hallucination alarm: how wrong an imagined frame probably is, told from its latents alone.

A frame that a world is unsure of looks unlike a recorded one: flat, washed out, out of range, or
jumping. Such signs cost microseconds to read. What they mean is learned from held-out recordings,
where the truth is known: a line through the signs that predicts the logarithm of a frame's error,
kept in the world's `config.json`.

Definition: the error of a frame is the root mean square difference of its pixels from what really
came. *Real transitions* are frames predicted from real frames, one step ahead. `doubt` is the
expected error divided by the error that the worst 5 % of real transitions exceed. So 1.0 means
"as wrong as the worst 5 % of real transitions", 2.0 twice as wrong. A world without calibration
gives none.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worldsim.heldout import HeldOut, encode
from worldsim.metrics import squared_error
from worldsim.rollout import Rollout
from worldsim.world import World

WORST = 0.05  # share of real transitions that are worse than a doubt of 1
MOST = 10.0


def signs(latents: Tensor, before: Tensor) -> Tensor:
    """Return what can be seen of a frame at little cost.

    Args:
        latents: `(..., c, h, w)`, an imagined frame.
        before: Likewise, the frame before it.

    Returns:
        `(..., 2 * c + 4)`: mean and spread of each channel; logarithms of the size of the latents,
        of their differences between neighbours in each direction, and of the change since the
        frame before.
    """
    x, change = latents.float(), latents.float() - before.float()
    sizes = [x, x.diff(dim=-1), x.diff(dim=-2), change]
    sizes = [part.square().mean((-3, -2, -1)).clamp(min=1e-6).log() / 2 for part in sizes]
    return torch.cat([x.mean((-2, -1)), x.std((-2, -1)), torch.stack(sizes, -1)], -1)


@dataclass(frozen=True, eq=False)
class Doubt:
    """A calibrated alarm.

    Attributes:
        weights: `(s,)` of the signs.
        bias: Logarithm of the doubt where all signs are zero.
    """

    weights: Tensor
    bias: float

    @classmethod
    def of(cls, world: World) -> "Doubt | None":
        """Return the alarm of a world; None if it was never calibrated."""
        return cls.read(world.cfg.doubt, world.device) if world.cfg.doubt else None

    @classmethod
    def read(cls, kept: dict, device: torch.device | str = "cpu") -> "Doubt":
        """Take up what `calibrate` returned."""
        return cls(torch.tensor(kept["weights"], device=device), float(kept["bias"]))

    def __call__(self, latents: Tensor, before: Tensor) -> Tensor:
        """Return the doubt `(...)` about frames `(..., c, h, w)`, given those before them."""
        return self.of_signs(signs(latents, before))

    def of_signs(self, seen: Tensor) -> Tensor:
        """Return the doubt `(...)` that signs `(..., s)` give rise to, at most 10."""
        return (seen @ self.weights + self.bias).exp().clamp(max=MOST)


@dataclass(frozen=True, eq=False)
class Observed:
    """Imagined frames beside what really came.

    Attributes:
        signs: `(b, k, s)`, see `signs`.
        error: `(b, k)`, root mean square difference of pixels, of 255.
        lost: `(b, k)`, root mean square difference of latents when a frame is encoded again.
    """

    signs: np.ndarray
    error: np.ndarray
    lost: np.ndarray


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
    latents = encode(world, clips.frames)
    actions = torch.zeros(b, clips.frames.shape[1], clips.actions.shape[-1], device=world.device)
    actions[:, 1:] = torch.from_numpy(world.scale_actions(clips.actions))
    rollout = Rollout(world, b, sampler_steps=steps, frame_size=clips.frames.shape[2:4])
    rollout.seed(rows, [seed + row for row in rows])
    parts = []
    for t in range(c, c + clips.horizon):
        if t == c or real:
            rollout.prefill(rows, latents[:, t - c : t], actions[:, t - c : t])
        before = rollout.latents
        now = rollout.step(actions[:, t], agent=False).latents
        frames = world.decode(now)
        error = 255 * np.sqrt(squared_error(frames.cpu().numpy(), clips.frames[:, t]))
        lost = (world.encode(frames).float() - now.float()).square().mean((1, 2, 3)).sqrt()
        parts.append((signs(now, before).cpu().numpy(), error, lost.cpu().numpy()))
    return Observed(*(np.stack(part, 1) for part in zip(*parts, strict=True)))


def calibrate(imagined: Observed, real: Observed) -> dict:
    """Learn what the signs mean; returns what `config.json` keeps.

    A ridge regression of the logarithm of the error on the signs, over rollouts and real
    transitions together.

    Args:
        imagined: Of rollouts.
        real: Of real transitions, whose worst 5 % are a doubt of 1.
    """
    x = np.concatenate([o.signs.reshape(-1, o.signs.shape[-1]) for o in (imagined, real)])
    y = np.log(np.concatenate([o.error.ravel() for o in (imagined, real)]) + 1e-3)
    mean, std = x.mean(0), x.std(0) + 1e-3
    z = (x - mean) / std
    ridge = 0.01 * len(z) * np.eye(z.shape[1])
    slopes = np.linalg.solve(z.T @ z + ridge, z.T @ (y - y.mean()))
    weights = slopes / std
    worst = float(np.quantile(real.error, 1 - WORST))
    bias = y.mean() - mean @ weights - np.log(worst)
    return {"weights": weights.round(5).tolist(), "bias": round(float(bias), 5), "worst": worst}
