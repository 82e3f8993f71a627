"""What moves where: the last frame, carried along to where it will be.

Most of the next frame is the last one, moved. Moved by a third of a latent cell it has all other
latents, and a network that predicts those blurs what it cannot place. Pixels are easily moved: a
few convolutions say how far, every pixel is fetched from there, and the tokenizer reads the picture
again. The dynamics model sees it beside the frames before, and is left with what light, noise and
what comes into view change.

How fast things move already is what convolutions see worst, so it is measured: blocks of the last
frame are looked for in the one before, roughly first and then closely.

References:
    PWC-Net (coarse to fine, costs of matching as input), Sun et al. 2018,
    https://arxiv.org/abs/1709.02371
    Next frames as moved pixels, Finn et al. 2016, https://arxiv.org/abs/1605.07157
    Spatial transformers (bilinear fetching), Jaderberg et al. 2015, https://arxiv.org/abs/1506.02025
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.blocks import CellBlock, embed_places, kept
from worldsim.frames import lately
from worldsim.nn import Conv2d
from worldsim.tokenizer import Tokenizer

FINE = 2  # flow vectors on each side of a latent cell
REACH = (2, 5)  # quarter-size pixels that things are looked for up and down, left and right
LINGER = 1e-3  # squared grey levels in [0, 1] by which a match must be better for each of them
SURE = 0.3  # a match this much worse than the best one is almost as good


class Motion(nn.Module):
    """Convolutions that say where each part of the next frame comes from.

    Args:
        channels: Of a latent cell.
        action_dim: Length of a flattened action.
        recent: Frames that it sees.
        width: Of the convolutions.
        blocks: How many residual blocks there are.
    """

    def __init__(
        self, channels: int, action_dim: int, recent: int, width: int = 96, blocks: int = 6
    ) -> None:
        super().__init__()
        self.recent = recent
        self.embed = Conv2d(recent * channels + 3 * FINE**2, width, 3, padding=1)
        self.place = nn.Linear(32, width, bias=False)
        self.action = nn.Sequential(
            nn.Linear(recent * (action_dim + 1), width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(CellBlock(width, width) for _ in range(blocks))
        self.head = Conv2d(width, 2 * FINE**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, past: Tensor, seen: Tensor, actions: Tensor, known: Tensor) -> Tensor:
        """Predict flow.

        Args:
            past: `(n, recent, c, h, w)`, clean latents of the frames before; zeros for none.
            seen: `(n, 3, 2 h, 2 w)`, how things moved between the last two of them, from `measure`.
            actions: `(n, recent, a)`, scaled; the last one leads to the frame to predict.
            known: `(n, recent)` bool, whether there is such an action.

        Returns:
            `(n, 2, 2 h, 2 w)` float32: how many pixels to the right and below of it each block of
            the next frame was.
        """
        dtype, (h, w) = self.head.weight.dtype, past.shape[-2:]
        scaled = seen / seen.new_tensor([8, 8, 1])[:, None, None]
        cells = [past.flatten(1, 2), F.pixel_unshuffle(scaled, FINE)]
        told = torch.cat([actions * known[..., None], known[..., None]], -1).flatten(1)
        cond = F.silu(self.action(told.to(dtype)))
        u = torch.cat(cells, 1).to(dtype).contiguous(memory_format=torch.channels_last)
        place = self.place(embed_places(h, w, cond.dtype, u.device))
        u = self.embed(u) + place.T.unflatten(1, (h, w))
        for block in self.blocks:
            u = block(u, cond)
        return 4 * F.pixel_shuffle(self.head(F.silu(u)).float(), FINE)


@dataclass
class Carrier:
    """What carries frames along: who paints and reads them, and who says where they move."""

    tokenizer: Tokenizer
    motion: Motion

    @torch.no_grad()
    def __call__(self, latents: Tensor, actions: Tensor, known: Tensor) -> Tensor:
        """Return the frame before each frame of a clip, moved to where it will be.

        Args:
            latents: `(b, t, c, h, w)`, clean.
            actions: `(b, t, a)`, scaled; each leads to its frame.
            known: `(b, t)` bool, whether there is such an action.

        Returns:
            `(b, t, c, h, w)` float32; there is nothing to move to the first.
        """
        recent = self.motion.recent
        pixels = self.tokenizer.paint(latents.flatten(0, 1)).unflatten(0, known.shape)
        both = (torch.arange(known.shape[1], device=known.device) > 1).expand_as(known)
        parts = lately(pixels, 2, 1), both, lately(latents, recent, 1)
        parts += lately(actions, recent), lately(known, recent)
        return self.along(*(part.flatten(0, 1) for part in parts)).unflatten(0, known.shape)

    @torch.no_grad()
    def paint(self, latents: Tensor) -> Tensor:
        """Paint the last two of `(b, t, c, h, w)`, `(b, 2, 3, 8 h, 8 w)`; the first may be void."""
        latents = F.pad(latents[:, -2:], (0, 0) * 3 + (max(0, 2 - latents.shape[1]), 0))
        return self.tokenizer.paint(latents.flatten(0, 1)).unflatten(0, (-1, 2))

    @torch.no_grad()
    def along(
        self, pixels: Tensor, both: Tensor, past: Tensor, actions: Tensor, known: Tensor
    ) -> Tensor:
        """Return last frames, moved to where they will be, `(n, c, h, w)` float32.

        Args:
            pixels: `(n, 2, 3, 8 h, 8 w)` in [-1, 1], the last two frames.
            both: `(n,)` bool, whether there are two.
            past: As `Motion` takes it, and so are `actions` and `known`.
            actions: Those that lead to the frames after these.
            known: Whether there are such actions.
        """
        seen = measure(pixels[:, 0], pixels[:, 1]) * both[:, None, None, None]
        moved = warp(pixels[:, 1], self.motion(past, seen, actions, known))
        return self.tokenizer.read(moved).float()


def warp(pixels: Tensor, flow: Tensor) -> Tensor:
    """Fetch pixels `(n, 3, h, w)` from `flow` `(n, 2, ...)` pixels to their right and below."""
    h, w = pixels.shape[-2:]
    flow = F.interpolate(flow, size=(h, w), mode="bilinear", align_corners=False)
    return _fetch(pixels, _grid(h, w, pixels.device) + flow)


@torch.no_grad()
def measure(before: Tensor, after: Tensor) -> Tensor:
    """Find where each block of four pixels of a frame was in the frame before.

    Args:
        before: `(n, 3, h, w)` in [-1, 1].
        after: The same shape.

    Returns:
        `(n, 3, h / 4, w / 4)` float32: pixels to the right, pixels below, and how sure that is, in
        [0, 1].
    """
    before, after = before.float() / 2, after.float() / 2
    far, near = _offsets(*REACH, before.device), _offsets(1, 1, before.device)
    small, now = F.avg_pool2d(before, 4), F.avg_pool2d(after, 4)
    (up, left), (h, w) = REACH, now.shape[-2:]
    padded = F.pad(small, (left, left, up, up), mode="replicate")
    shifted = padded.unfold(2, h, 1).unfold(3, w, 1)  # (n, 3, 2 up + 1, 2 left + 1, h, w)
    cost = _smooth((shifted - now[:, :, None, None]).square().sum(1).flatten(1, 2))
    flow = far[(cost + LINGER * far.abs().sum(1)[:, None, None]).argmin(1)].permute(0, 3, 1, 2)
    small, now = F.avg_pool2d(before, 2), F.avg_pool2d(after, 2)
    h, w = now.shape[-2:]
    at = _grid(h, w, flow.device) + F.interpolate(2 * flow, size=(h, w))
    at = at[:, :, None] + near.T[:, :, None, None]  # (n, 2, k, h, w)
    shifted = _fetch(small, at.flatten(2, 3)).unflatten(2, (-1, h))
    cost = _smooth(F.avg_pool2d((shifted - now[:, :, None]).square().sum(1), 2))
    least = cost.amin(1, keepdim=True)
    share = (-(cost - least) / (SURE * least + LINGER)).softmax(1)
    shares = share[:, :, None]  # (n, k, 1, h, w)
    mean, square = ((shares * p[:, :, None, None]).sum(1) for p in (near, near.square()))
    spread = (square - mean.square()).sum(1, keepdim=True)
    return torch.cat([4 * flow + 2 * mean, 1 / (1 + spread)], 1)


def motion_loss(flow: Tensor, pixels: Tensor, target: Tensor, found: Tensor) -> Tensor:
    """Score a predicted flow.

    Args:
        flow: `(n, 2, ...)`, predicted.
        pixels: `(n, 3, h, w)` in [-1, 1], the last frame.
        target: `(n, 3, h, w)`, the next one.
        found: `(n, 3, ...)`, what `measure` found between the two.

    Returns:
        A scalar: how far off the flow is where it could be measured, and how far off the frame that
        it makes is, at four scales, so that what is missed by far still draws it nearer.
    """
    made = warp(pixels, flow)
    off = ((flow - found[:, :2]).square().sum(1) * found[:, 2]).clamp(max=400).mean()
    errors = [
        (F.avg_pool2d(made, k) - F.avg_pool2d(target, k)).square().mean() for k in (1, 2, 4, 8)
    ]
    return 0.05 * off + 5 * sum(errors)


def _smooth(cost: Tensor) -> Tensor:
    return (cost + 2 * F.avg_pool2d(F.pad(cost, (1,) * 4, mode="replicate"), 3, 1)) / 3


def _fetch(pixels: Tensor, at: Tensor) -> Tensor:
    """Read `(n, c, h, w)` at places `at` `(n, 2, ...)`, x and y in pixels from the upper left."""
    h, w = pixels.shape[-2:]
    at = at.permute(0, 2, 3, 1) * at.new_tensor([2 / w, 2 / h]) - 1
    return F.grid_sample(pixels.float(), at, padding_mode="border", align_corners=False)


@kept
def _grid(h: int, w: int, device: torch.device) -> Tensor:
    """Return the centres of all pixels, `(2, h, w)`."""
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    return torch.stack([x, y]).to(device)


@kept
def _offsets(up: int, left: int, device: torch.device) -> Tensor:
    """Return all whole offsets `(k, 2)`, x and y, row by row."""
    y, x = torch.meshgrid(torch.arange(-up, up + 1), torch.arange(-left, left + 1), indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1).float().to(device)
