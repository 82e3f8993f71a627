"""Frames to latents and back, one frame at a time.

A small residual convolutional autoencoder with a tanh bottleneck. Time is never compressed, so an
action moves exactly one latent frame and the decoder runs once per step. Pixels are uint8 outside
this file and floats in [-1, 1] inside it; latents leave it standardised to mean 0 and variance 1
per channel, which is what a diffusion model wants to see.

References:
    Latent diffusion, Rombach et al. 2021, https://arxiv.org/abs/2112.10752
    Dreamer 4 (tanh bottleneck), Hafner et al. 2025, https://arxiv.org/abs/2509.24527
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from torch import Tensor, nn

from worldsim.limits import check_cells, check_least
from worldsim.nn import Conv2d


@dataclass
class TokenizerConfig:
    """Architecture of the tokenizer."""

    channels: int = 8
    """Channels of one latent cell."""
    width: int = 64
    """Feature maps at a quarter of the frame size; twice as many at an eighth."""
    blocks: int = 2
    """Residual blocks at each resolution, in the encoder and in the decoder."""
    edge_weight: float = 0.5
    """Weight of the error of image gradients beside the error of pixels."""
    stride: int = 4
    """Side of the square of pixels that one latent cell covers: 4, or 8 as in worlds up to format
    4, whose motion is harder to foresee."""

    def __post_init__(self) -> None:
        check_least(self, channels=1, width=8, blocks=1, edge_weight=0)
        if self.stride not in (4, 8):
            raise ValueError(f"`stride` must be 4 or 8, got {self.stride}; try 4")
        if self.width % (part := 16 if self.stride == 4 else 8):
            raise ValueError(
                f"`width` must be divisible by {part}, got {self.width}; try 32, 64 or 96"
            )

    def groups(self, width: int) -> int:
        """Return in how many groups so many feature maps are normalised: a CPU does 16 at once."""
        return width // 16 if self.stride == 4 else 8


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(groups, width)
        self.conv1 = Conv2d(width, width, 3, padding=1)
        self.conv2 = Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, width, h, w)` to the same."""
        return x + self.conv2(F.silu(self.conv1(F.silu(self.norm(x)))))


class Tokenizer(nn.Module):
    """Autoencoder of single frames.

    Args:
        cfg: Architecture.
    """

    def __init__(self, cfg: TokenizerConfig) -> None:
        super().__init__()
        self.cfg = cfg
        w, c = cfg.width, cfg.channels
        wide = w * cfg.stride // 4

        def blocks(width: int) -> list[nn.Module]:
            return [ResidualBlock(width, cfg.groups(width)) for _ in range(cfg.blocks)]

        shrink, grow = [], []
        if cfg.stride == 8:
            shrink = [nn.PixelUnshuffle(2), Conv2d(4 * w, wide, 1), *blocks(wide)]
            grow = [*blocks(wide), Conv2d(wide, 4 * w, 1), nn.PixelShuffle(2)]
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            Conv2d(12, w // 2, 3, padding=1),
            nn.SiLU(),
            nn.PixelUnshuffle(2),
            Conv2d(2 * w, w, 1),
            *blocks(w),
            *shrink,
            nn.GroupNorm(cfg.groups(wide), wide),
            nn.SiLU(),
            Conv2d(wide, c, 1),
        )
        self.decoder = nn.Sequential(
            Conv2d(c, wide, 3, padding=1),
            *grow,
            *blocks(w),
            nn.GroupNorm(cfg.groups(w), w),
            nn.SiLU(),
            Conv2d(w, 2 * w, 1),
            nn.PixelShuffle(2),
            nn.SiLU(),
            Conv2d(w // 2, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("latent_mean", torch.zeros(c))
        self.register_buffer("latent_std", torch.ones(c))

    def latent_size(self, frame_size: tuple[int, int], patch: int = 1) -> tuple[int, int]:
        """Return the latent grid `(h, w)` of frames of `frame_size` `(h, w)` pixels.

        Raises:
            ValueError: If squares of `patch` cells do not fill such frames.
        """
        check_cells(frame_size, self.cfg.stride * patch)
        h, w = frame_size
        return h // self.cfg.stride, w // self.cfg.stride

    def encode(self, frames: Tensor) -> Tensor:
        """Turn pixels into standardised latents.

        Args:
            frames: `(..., h, w, 3)` uint8.

        Returns:
            `(..., c, h / stride, w / stride)` in the dtype of the weights.
        """
        self.latent_size(frames.shape[-3:-1])
        x = frames.reshape(-1, *frames.shape[-3:])
        z = self.read(self.to_float(x))
        return z.reshape(*frames.shape[:-3], *z.shape[1:])

    def decode(self, latents: Tensor) -> Tensor:
        """Turn standardised latents into pixels.

        Args:
            latents: `(..., c, h, w)`.

        Returns:
            `(..., stride * h, stride * w, 3)` uint8.
        """
        x = self.to_uint8(self.paint(latents.reshape(-1, *latents.shape[-3:])))
        return x.reshape(*latents.shape[:-3], *x.shape[1:])

    def refresh(self, latents: Tensor, picture: Tensor, share: float) -> Tensor:
        """Move latents a share of the way to those of their own picture.

        What is imagined may hold more than a picture can show. Nobody sees that, but a rollout
        that is fed back its own frames lets it grow until it shows.

        Args:
            latents: `(..., c, h, w)`, imagined.
            picture: `(..., stride * h, stride * w, 3)` uint8, what they decode to.
            share: 0 leaves them as they are, 1 leaves nothing but what is seen.
        """
        return latents.lerp(self.encode(picture).to(latents.dtype), share)

    def read(self, x: Tensor) -> Tensor:
        """Turn pixels `(b, 3, h, w)` in [-1, 1] into latents `(b, c, h / s, w / s)`."""
        z = self._encode(x.to(self.latent_mean.dtype, memory_format=torch.channels_last))
        return (z - self.latent_mean.view(-1, 1, 1)) / self.latent_std.view(-1, 1, 1)

    def paint(self, latents: Tensor) -> Tensor:
        """Undo `read`: `(b, c, h, w)` to `(b, 3, s h, s w)` float32, about in [-1, 1]."""
        z = self.unscale(latents.to(self.latent_mean.dtype))
        return self.decoder(z.contiguous(memory_format=torch.channels_last)).float()

    def forward(
        self, frames: Tensor, weight: Tensor | None = None
    ) -> tuple[Tensor, dict[str, float]]:
        """Return `loss`: what wrappers that compile or distribute a training have to go through."""
        return self.loss(frames, weight)

    def loss(self, frames: Tensor, weight: Tensor | None = None) -> tuple[Tensor, dict[str, float]]:
        """Reconstruct a batch.

        Args:
            frames: `(b, h, w, 3)` uint8.
            weight: `(b, h, w)` of mean 1, how much each pixel counts; None counts all alike.

        Returns:
            The scalar loss and metrics (`mse` in [0, 1] pixel units squared, `psnr` in dB).
        """
        x = self.to_float(frames).float()
        y = self.decoder(self._encode(self.to_float(frames))).float()
        error = y - x
        mse = error.square().mean()
        psnr = -10 * torch.log10(mse.detach() / 4)
        metrics = {"mse": mse.item() / 4, "psnr": psnr.item()}
        if weight is not None:
            error = error * weight[:, None].sqrt()
            mse = error.square().mean()
        edges = sum(torch.diff(error, dim=d).square().mean() for d in (2, 3))
        return mse + self.cfg.edge_weight * edges, metrics

    @torch.no_grad()
    def fit_statistics(self, frames: Tensor) -> None:
        """Measure the latents' mean and standard deviation per channel on `(b, h, w, 3)` frames."""
        z = torch.cat([self._encode(self.to_float(part)).float() for part in frames.split(256)])
        self.latent_mean.copy_(reduce(z, "b c h w -> c", "mean"))
        self.latent_std.copy_((z - self.latent_mean.view(-1, 1, 1)).square().mean((0, 2, 3)).sqrt())

    def sensitivity(self, latents: Tensor, draws: int = 16) -> Tensor:
        """Measure how strongly pixels answer to small changes of each channel.

        Args:
            latents: `(b, c, h, w)`, standardised; where to measure.
            draws: Random directions in pixel space to average over.

        Returns:
            `(c, c)` float32 of trace `c`: for an error `e` of one cell, `e @ m @ e` goes as the
            squared error of the pixels, the mean over cells of `J.T @ J` of the decoder's Jacobian.
        """
        g, total = torch.Generator().manual_seed(0), 0.0
        with torch.enable_grad():
            z = latents.to(self.latent_mean.dtype, copy=True).requires_grad_()
            x = self.decoder(self.unscale(z))
            for _ in range(draws):
                v = torch.randn(x.shape, generator=g).to(x)
                (back,) = torch.autograd.grad(x, z, v, retain_graph=True)
                total = total + torch.einsum("bchw,bdhw->cd", back, back).float()
        return total * (len(total) / total.trace())

    def unscale(self, latents: Tensor) -> Tensor:
        """Turn standardised latents `(..., c, h, w)` into those that the decoder reads."""
        return latents * self.latent_std.view(-1, 1, 1) + self.latent_mean.view(-1, 1, 1)

    def to_float(self, frames: Tensor) -> Tensor:
        """Turn `(b, h, w, 3)` uint8 into `(b, 3, h, w)` in [-1, 1], in the dtype of the weights."""
        x = rearrange(frames, "b h w c -> b c h w").to(self.latent_mean.dtype) / 127.5 - 1
        return x.contiguous(memory_format=torch.channels_last)

    def to_uint8(self, x: Tensor) -> Tensor:
        """Undo `to_float`, where `x` may leave [-1, 1] a little."""
        x = x.add(1).mul(127.5).round_().clamp_(0, 255).to(torch.uint8)
        return rearrange(x, "b c h w -> b h w c").contiguous()

    def _encode(self, x: Tensor) -> Tensor:
        return torch.tanh(self.encoder(x))
