"""The hallucination alarm: how wrong an imagined frame probably is, told from its latents alone.

A frame that a world is unsure of looks unlike a recorded one: flat, washed out, out of range, or
jumping. Such signs cost microseconds to read. What they mean is learned from held-out recordings,
where the truth is known (`worldsim.calibration`): a line through the signs that predicts the
logarithm of a frame's error, kept in the world's `config.json`.

Definition: the error of a frame is the root mean square difference of its pixels from what really
came. *Real transitions* are frames predicted from real frames, one step ahead. `doubt` is the
expected error divided by the error that the worst 5 % of real transitions exceed. So 1.0 means
"as wrong as the worst 5 % of real transitions", 2.0 twice as wrong. A world without calibration
gives none.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldsim.world import World

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
