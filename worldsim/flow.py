"""The straight path from noise to latents, a step along it, and shortcut targets.

`tau` is the signal level: 0 is pure noise, 1 is a clean latent. Each frame carries its own `tau`
and its own step size `d = 1 / 2**level`: level 0 jumps from noise to latents at once, the finest
level is ordinary flow matching. A network predicts the clean latents `x`; `velocity = x - noise`
follows from it. Nothing here knows a network.

References:
    Flow matching, Lipman et al. 2022, https://arxiv.org/abs/2210.02747
    Diffusion forcing (a tau per frame), Chen et al. 2024, https://arxiv.org/abs/2407.01392
    Shortcut models, Frans et al. 2024, https://arxiv.org/abs/2410.12557, eq. 4-5
    Dreamer 4 (shortcut forcing in x space), Hafner et al. 2025, https://arxiv.org/abs/2509.24527
"""

from collections.abc import Callable
from numbers import Integral

import torch
from einops import rearrange
from torch import Tensor

# x (b t c h w), tau (b t), level (b t) int64 -> predicted clean latents (b t c h w)
Predict = Callable[[Tensor, Tensor, Tensor], Tensor]


def per_frame(x: Tensor) -> Tensor:
    """Shape a number per frame `(b, t)` so that it broadcasts over latents."""
    return rearrange(x, "b t -> b t 1 1 1")


def draw_noise(like: Tensor, g: torch.Generator) -> Tensor:
    """Draw noise of a tensor's shape, on its device, from a source on the CPU.

    A GPU draws its own, from a seed of that source's: faster than it is sent there.
    """
    if like.device.type != "cuda":
        return torch.randn(like.shape, generator=g).to(like.device)
    seed = int(torch.randint(2**62, (), generator=g))
    own = torch.Generator(like.device).manual_seed(seed)
    return torch.randn(like.shape, generator=own, device=like.device)


def noise_latents(latents: Tensor, noise: Tensor, tau: Tensor) -> Tensor:
    """Place `latents` on the straight path at signal level `tau`.

    Args:
        latents: `(b, t, c, h, w)`, clean.
        noise: `(b, t, c, h, w)`, standard normal.
        tau: `(b, t)`, signal level of each frame in [0, 1].

    Returns:
        `(b, t, c, h, w)`: `noise` where `tau` is 0, `latents` where it is 1.
    """
    return torch.lerp(noise, latents, per_frame(tau).to(latents.dtype))


def velocity(x_hat: Tensor, x: Tensor, tau: Tensor) -> Tensor:
    """Return the velocity at `x` that leads straight to `x_hat` at `tau = 1`; `tau < 1`."""
    return (x_hat - x) / (1 - per_frame(tau))


def advance(x: Tensor, x_hat: Tensor, tau: Tensor, d: Tensor) -> Tensor:
    """Take one step of size `d` `(b, t)` from `x` at `tau` towards the prediction `x_hat`.

    The noise that is kept is the one implied by `x` and `x_hat` now, not the one drawn first.
    """
    return x + per_frame(d / (1 - tau)).to(x.dtype) * (x_hat - x)


def step_size(level: Tensor) -> Tensor:
    """Return `d = 1 / 2**level` as float32."""
    return torch.exp2(-level.float())


@torch.no_grad()
def shortcut_target(
    teacher: Predict, x: Tensor, tau: Tensor, level: Tensor, move: Tensor
) -> Tensor:
    """Return what one step of size `d` should predict: the mean of two half steps, in x space.

    With `v` the mean velocity of the two half steps, `(1 - tau)**2 |v_hat - v|**2` equals
    `|x_hat - target|**2` for `target = x + (1 - tau) v`, so the caller's loss needs no rescaling.

    Args:
        teacher: Predicts clean latents.
        x: `(b, t, c, h, w)` at signal level `tau`.
        tau: `(b, t)`, multiples of `d`, below 1.
        level: `(b, t)` int64, the coarse level; half steps are at `level + 1`.
        move: `(b, t)` bool, frames that take the steps; the others stay as they are.

    Returns:
        `(b, t, c, h, w)`; meaningful where `move` is True.
    """
    half = torch.where(move, step_size(level + 1), 0.0)
    fine = torch.where(move, level + 1, level)
    first = velocity(teacher(x, tau, fine), x, tau.clamp(max=1 - 1e-3))
    middle, tau_middle = x + per_frame(half) * first, tau + half
    second = velocity(teacher(middle, tau_middle, fine), middle, tau_middle.clamp(max=1 - 1e-3))
    return x + per_frame(1 - tau) * (first + second) / 2


def check_steps(steps: int, most: int) -> None:
    """Refuse a number of sampler steps that is no power of two up to `most`."""
    if not isinstance(steps, Integral) or not 1 <= steps <= most or steps & (steps - 1):
        raise ValueError(
            f"`sampler_steps` must be a power of two up to {most}, got {steps!r}; try 2 or {most}"
        )
