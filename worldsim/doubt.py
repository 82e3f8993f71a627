"""The hallucination alarm: how wrong an imagined frame probably is, told from its latents alone.

A frame that a world is unsure of looks unlike a recorded one: flat, washed out, out of range, or
such that decoding and encoding it again brings another frame. What these signs mean is learned from
held-out recordings, where the truth is known (`worldsim.measuring.calibration`): a line through the
signs that predicts the logarithm of a frame's error, kept in the world's `config.json`.

Definition: the error of a frame is the root mean square difference of its pixels from what really
came. *Real transitions* are frames predicted from real frames, one step ahead. `doubt` is the
expected error, divided by the error that 5 % of real transitions exceed. So 1.0 means "as
wrong as the worst 5 % of real transitions", 2.0 twice as wrong. A world without calibration gives
none. How far the signs can be trusted stands in the report's section `doubt`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from worldsim.world import World

EVERY = 4  # one in so many frames is encoded again
MOST = 10.0


def signs(latents: Tensor, before: Tensor, lost: Tensor) -> Tensor:
    """Return what can be seen of a frame at little cost.

    Args:
        latents: `(..., c, h, w)`, an imagined frame.
        before: Likewise, the frame before it.
        lost: `(...)`, see `lost_again`; that of a frame shortly before will do.

    Returns:
        `(..., 2 * c + 5)`: mean and spread of each channel; logarithms of the size of the latents,
        of their differences between neighbours in each direction, of the change since the frame
        before, and of what is lost.
    """
    x, change = latents.float(), latents.float() - before.float()
    sizes = [x, x.diff(dim=-1), x.diff(dim=-2), change]
    sizes = [part.square().mean((-3, -2, -1)).sqrt() for part in sizes]
    sizes = torch.stack([*sizes, lost.float()], -1).clamp(min=1e-3).log()
    return torch.cat([x.mean((-2, -1)), x.std((-2, -1)), sizes], -1)


def lost_again(world: World, latents: Tensor) -> Tensor:
    """Decode frames `(b, c, h, w)` and encode them again; return by how much they differ, `(b,)`.

    Root mean square of latents.
    """
    again = world.encode(world.decode(latents))
    return (again.float() - latents.float()).square().mean((1, 2, 3)).sqrt()


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

    def __call__(self, latents: Tensor, before: Tensor, lost: Tensor) -> Tensor:
        """Return the doubt `(...)` about frames `(..., c, h, w)`; arguments as of `signs`."""
        return self.of_signs(signs(latents, before, lost))

    def of_signs(self, seen: Tensor) -> Tensor:
        """Return the doubt `(...)` that signs `(..., s)` give rise to, at most 10."""
        return (seen @ self.weights + self.bias).exp().clamp(max=MOST)
