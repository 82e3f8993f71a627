"""What the spacetime transformer is stacked from: attention blocks, convolutions over cells."""

from dataclasses import dataclass
from functools import lru_cache, wraps

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from worldsim.architecture import DynamicsConfig
from worldsim.frames import Frames, Text
from worldsim.kv_cache import KVCache
from worldsim.nn import (
    Conv2d,
    Rotation,
    SpaceAttention,
    SwiGLU,
    TextAttention,
    TimeAttention,
    fourier,
    modulate,
    norm,
    rotation,
)


@dataclass(frozen=True)
class Look:
    """What all blocks share in one pass: rotations, masks, memory."""

    space: Rotation
    space_mask: Tensor | None
    time: Rotation
    time_mask: Tensor
    text: Text
    positions: Tensor
    cache: KVCache | None
    fill: tuple[KVCache, Tensor] | None


class Condition(nn.Module):
    """What steers a frame: signal levels, step size, action, prompt, mode of time, chance.

    A frame that a single step leads to, after those before it alone, begins with noise; the first
    `chance` numbers of that say which of the frames that may come it is. Few, and the same for
    every place, they change it as a whole, where noise of each cell's own makes specks.

    Reference:
        FGN (noise through the normalisation), Alet et al. 2025, https://arxiv.org/abs/2506.10772
    """

    def __init__(self, cfg: DynamicsConfig) -> None:
        super().__init__()
        d = cfg.dim
        self.tau = nn.Linear(64, d)
        self.previous_tau = nn.Linear(64 * cfg.recent, d, bias=False)
        self.level = nn.Parameter(0.02 * torch.randn(cfg.finest + 1, d))
        self.mode = nn.Parameter(0.02 * torch.randn(2, d))  # full, causal
        self.action = nn.Sequential(nn.Linear(cfg.action_dim, d), nn.SiLU(), nn.Linear(d, d))
        self.no_action = nn.Parameter(0.02 * torch.randn(d))
        self.gist = nn.Linear(cfg.text_dim, d, bias=False)
        self.condition = nn.Linear(d, d)
        chance = min(cfg.chance, cfg.channels * cfg.patch**2)
        self.chance = nn.Linear(chance, d, bias=False) if chance else None
        nn.init.zeros_(self.gist.weight)
        if self.chance:
            nn.init.normal_(self.chance.weight, std=0.02)

    def forward(self, frames: Frames, causal: bool, gist: Tensor) -> Tensor:
        """Return `(b, t, d)`; `gist` `(b, t, text_dim)` is what the frames' prompts say."""
        dtype = self.condition.weight.dtype
        action = self.action(frames.actions.to(dtype))
        action = torch.where(frames.known[..., None], action, self.no_action.to(action.dtype))
        total = (
            self.tau(fourier(frames.tau, 64).to(dtype))
            + self.previous_tau(fourier(frames.previous_tau, 64).flatten(-2).to(dtype))
            + self.level[frames.level]
            + self.mode[int(causal)]
            + action
            + self.gist(gist)
        )
        if self.chance and causal:
            drawn = frames.x.flatten(2)[..., : self.chance.in_features]
            total = total + self.chance((drawn * frames.single[..., None]).to(dtype))
        return F.silu(self.condition(F.silu(total.to(dtype))))


class CellBlock(nn.Module):
    """Two 3x3 convolutions over the cells of each frame, steered by the frame's condition."""

    def __init__(self, cells: int, dim: int, group: int) -> None:
        super().__init__()
        self.groups = cells // group
        self.film = nn.Linear(dim, 2 * cells)
        self.first = Conv2d(cells, cells, 3, padding=1)
        self.second = Conv2d(cells, cells, 3, padding=1)
        for layer in (self.film, self.second):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, u: Tensor, cond: Tensor) -> Tensor:
        """Map `(f, cells, h, w)` to the same; `cond` is `(f, d)`."""
        scale, shift = self.film(cond)[..., None, None].chunk(2, 1)
        y = torch.addcmul(shift, F.group_norm(u, self.groups), 1 + scale)
        return u + self.second(F.silu(self.first(F.silu(y))))


class Painter(nn.Module):
    """Turns cells, and what the transformer adds to them, into latents.

    What is added is made patch by patch; `blend` lets it meet the cells, across patches' edges.
    """

    def __init__(self, cfg: DynamicsConfig) -> None:
        super().__init__()
        self.patch = cfg.patch
        self.spread = nn.Linear(cfg.dim, cfg.cells * cfg.patch**2)
        self.blend = CellBlock(cfg.cells, cfg.dim, cfg.group) if cfg.apart else None
        self.tail = nn.ModuleList(CellBlock(cfg.cells, cfg.dim, cfg.group) for _ in range(cfg.tail))
        self.head = Conv2d(cfg.cells, cfg.channels, 3, padding=1)
        # gates: how much is copied of the draft and of the last frame
        self.copy = nn.Linear(cfg.dim, 2 * cfg.channels)
        for layer in (self.spread, self.head, self.copy):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.ones_(self.copy.bias[cfg.channels :])  # to begin with, the world stands still

    def forward(
        self, u: Tensor, cond: Tensor, draft: Tensor, last: Tensor, tokens: Tensor | None = None
    ) -> Tensor:
        """Predict the clean latents of `f` frames, `(f, c, h, w)` float32.

        Args:
            u: `(f, cells, h, w)`, what the frames' cells look like.
            cond: `(f, d)`.
            draft: `(f, c, h, w)`, the frames as they are.
            last: Likewise, the frames before them.
            tokens: `(f, n, d)`, what the transformer makes of them; None is nothing.
        """
        h, p = u.shape[2], self.patch
        if tokens is not None:
            made = self.spread(norm(tokens))
            u = u + rearrange(made, "f (h w) (p q c) -> f c (h p) (w q)", h=h // p, p=p, q=p)
        u = u.contiguous(memory_format=torch.channels_last)
        if tokens is not None and self.blend:
            u = self.blend(u, cond)
        for block in self.tail:
            u = block(u, cond)
        drawn, still = self.copy(cond).float()[..., None, None].chunk(2, 1)
        return self.head(F.silu(u)).float() + drawn * draft + still * last


class Block(nn.Module):
    """Space attention, then (in some blocks) time and text attention, then SwiGLU.

    Args:
        dim: Width of a token.
        heads: Of every attention.
        kv_heads: Key and value heads of attention in space and time.
        text_dim: Width of a word.
        time_layer: Which of the layers that attend over time and text this is; None is none.
    """

    def __init__(
        self, dim: int, heads: int, kv_heads: int, text_dim: int, time_layer: int | None
    ) -> None:
        super().__init__()
        self.time_layer = time_layer
        self.bias = nn.Parameter(torch.zeros(9 * dim))
        self.space = SpaceAttention(dim, heads, kv_heads)
        self.mlp = SwiGLU(dim)
        if time_layer is not None:
            self.time = TimeAttention(dim, heads, kv_heads)
            self.text = TextAttention(dim, heads, text_dim)

    def forward(
        self, x: Tensor, modulation: Tensor, look: Look, words: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        """Map `(b, t, n, d)` to `(b, t, n, d)`.

        Args:
            x: Tokens.
            modulation: `(b, t, 1, 9 d)`.
            look: What all blocks share.
            words: What this block's text attention reads; None where it has none.
        """
        shift_s, scale_s, gate_s, shift_t, scale_t, gate_t, shift_m, scale_m, gate_m = (
            modulation + self.bias.to(modulation.dtype)
        ).chunk(9, -1)
        y = self.space(modulate(x, shift_s, scale_s), look.space, look.space_mask)
        x = torch.addcmul(x, 1 + gate_s, y)
        if words is not None:
            y = self._over_time(modulate(x, shift_t, scale_t), look)
            x = torch.addcmul(x, 1 + gate_t, y)
            x = x + self.text(norm(x), words, look.text.mask)
        return torch.addcmul(x, 1 + gate_m, self.mlp(modulate(x, shift_m, scale_m)))

    def _over_time(self, x: Tensor, look: Look) -> Tensor:
        def remember(k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            if look.cache is not None:
                return look.cache.write(self.time_layer, look.positions, k, v)
            cache, rows = look.fill
            cache.fill(self.time_layer, rows, k, v)
            return k, v

        memory = remember if look.cache is not None or look.fill is not None else None
        return self.time(x, look.time, look.time_mask, memory)


def kept(build):
    """Build once for the same arguments, but within a compiled graph, which keeps its own."""
    once = lru_cache(maxsize=64)(torch.inference_mode(False)(build))  # may be trained with later

    @wraps(build)
    def get(*key):
        return build(*key) if torch.compiler.is_compiling() else once(*key)

    return get


@kept
def embed_places(h: int, w: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Embed each cell's place in the frame as `(h * w, 32)`; [0, 1] across any frame size."""
    ys = fourier((torch.arange(h, device=device) + 0.5) / h, 16)
    xs = fourier((torch.arange(w, device=device) + 0.5) / w, 16)
    both = torch.cat([repeat(ys, "h f -> h w f", w=w), repeat(xs, "w f -> h w f", h=h)], -1)
    return both.flatten(0, 1).to(dtype)


@kept
def space_rotation(h: int, w: int, n: int, pairs: int, device: torch.device) -> Rotation:
    """Rotate half the pairs by row and half by column; special tokens stay as they are."""
    ys, xs = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    place = F.pad(torch.stack([ys.flatten(), xs.flatten()]), (0, n - h * w)).to(device)
    rows, columns = (rotation(axis, pairs // 2, 100.0) for axis in place)
    halves = (torch.cat([r.unflatten(-1, (2, -1)), c.unflatten(-1, (2, -1))], -1).flatten(-2)
              for r, c in zip(rows, columns, strict=True))  # fmt: skip
    return tuple(halves)


@kept
def agent_mask(n: int, device: torch.device) -> Tensor:
    """Return `(n, n)`, False where a world token would look at the agent token."""
    mask = torch.ones(n, n, dtype=torch.bool, device=device)
    mask[:-1, -1] = False
    return mask
