"""The parts a spacetime transformer is made of: norms, rotary positions, attention, SwiGLU.

Symbols: `b` worlds, `t` frames, `n` tokens of one frame, `d` width, `dh` width of one head.

References:
    RoFormer (rotary positions), Su et al. 2021, https://arxiv.org/abs/2104.09864, eq. 34
    GLU variants (SwiGLU), Shazeer 2020, https://arxiv.org/abs/2002.05202, eq. 6
    Query-key normalisation, Henry et al. 2020, https://arxiv.org/abs/2010.04245
    Grouped-query attention, Ainslie et al. 2023, https://arxiv.org/abs/2305.13245
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

Rotation = tuple[Tensor, Tensor]  # cosines and signed sines, each (..., dh)


def norm(x: Tensor) -> Tensor:
    """Scale the last axis of `x` to unit root mean square.

    `F.rms_norm` is a chain of eight passes over `x` on a CPU, this is two.
    """
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32)
    return x * torch.rsqrt(length.square() / x.shape[-1] + 1.2e-7).to(x.dtype)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Normalise `x`, then scale and shift it (adaptive layer norm)."""
    return torch.addcmul(shift, norm(x), 1 + scale)


def rotation(positions: Tensor, pairs: int, base: float) -> Rotation:
    """Return what `rotate` needs to turn features by rotary angles.

    Angles are taken in float64, so that position 1,000,000 is as exact as position 1.

    Args:
        positions: `(...)`, any number type.
        pairs: Number of pairs of features that turn, each at its own frequency.
        base: The slowest pair turns about `1 / base` radians per position.

    Returns:
        Cosines and signed sines, each `(..., 2 * pairs)`, float32.
    """
    frequencies = base ** (
        -torch.arange(pairs, device=positions.device, dtype=torch.float64) / pairs
    )
    angles = positions.double()[..., None] * frequencies
    cos, sin = angles.cos().float(), angles.sin().float()
    return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)


def rotate(x: Tensor, by: Rotation) -> Tensor:
    """Turn feature `i` with feature `i + dh / 2` of `x` `(..., dh)` by `by`; the dtype stays."""
    cos, sin = (part.to(x.dtype) for part in by)
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def fourier(x: Tensor, features: int) -> Tensor:
    """Embed numbers in [0, 1] as `features` sines and cosines `(..., features)`, float32."""
    octaves = torch.linspace(0, 6, features // 2, device=x.device)
    angles = x.float()[..., None] * (math.pi * 2**octaves)
    return torch.cat([angles.sin(), angles.cos()], -1)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Mix values for queries: softmax over keys of `q k`, without a further scale.

    On a CPU at our sizes (20 to 65 keys, 32 features a head, bf16) two batched products beat the
    fused kernel: 1.2 to 4 times as fast without a gradient, 7 to 12 times with one.

    Args:
        q: `(b, heads, length, dh)`.
        k: `(b, kv_heads, keys, dh)`; `kv_heads` divides `heads`.
        v: Like `k`.
        mask: Broadcastable to `(b, heads, length, keys)`, True where a query may look.

    Returns:
        `(b, heads, length, dh)`.
    """
    groups = q.shape[1] // k.shape[1]
    if q.device.type != "cpu":
        return fused(q, k, v, mask, groups)
    if groups > 1:
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    scores = q @ k.mT
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e4)
    return scores.softmax(-1, dtype=torch.float32).to(v.dtype) @ v


def fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, groups: int) -> Tensor:
    """Attend in torch's own kernels; heads that share keys ask them one after the other.

    Told of the groups, torch takes a masked attention to its slowest kernel.
    """
    if groups == 1:
        return F.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
    b, heads, length, dh = q.shape
    if mask is not None:
        mask = mask.expand(*mask.shape[:-2], length, -1).repeat(*[1] * (mask.dim() - 2), groups, 1)
    q = q.reshape(b, k.shape[1], groups * length, dh)
    mixed = F.scaled_dot_product_attention(q, k, v, mask, scale=1.0)
    return mixed.reshape(b, heads, length, dh)


class Attention(nn.Module):
    """Multi-head self-attention with normalised, scaled queries and normalised keys.

    Unit queries and keys with a learned temperature per head stand in place of `1 / sqrt(dh)`.

    Args:
        dim: Width.
        heads: Query heads.
        kv_heads: Key and value heads; divides `heads`.
    """

    def __init__(self, dim: int, heads: int, kv_heads: int) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dh = heads, kv_heads, dim // heads
        self.qkv = nn.Linear(dim, (heads + 2 * kv_heads) * self.dh, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), self.dh**0.5))
        nn.init.zeros_(self.out.weight)

    def project(self, x: Tensor, by: Rotation, axes: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values of `(b, t, n, d)`.

        Args:
            x: `(b, t, n, d)`.
            by: Rotation, broadcastable to `axes`.
            axes: Axes of the result, `"b t heads n dh"` to attend in space, `"b n heads t dh"` in
                time. The product comes before the axes move: of moved ones torch would copy the
                weights for every row.

        Returns:
            Three tensors with these axes.
        """
        both = self.heads + self.kv_heads
        qkv = rearrange(self.qkv(x), f"b t n (heads dh) -> {axes}", dh=self.dh)
        qk, v = qkv.split([both, self.kv_heads], 2)
        scale = F.pad(self.scale, (0, 0, 0, 0, 0, self.kv_heads), value=1.0) * self.dh**-0.5
        qk = rotate(norm(qk) * scale.to(qk.dtype), by)
        return *qk.split([self.heads, self.kv_heads], 2), v


class SpaceAttention(Attention):
    """Attention among the tokens of each frame."""

    def forward(self, x: Tensor, by: Rotation, mask: Tensor | None) -> Tensor:
        """Map `(b, t, n, d)` to `(b, t, n, d)`; `mask` `(n, n)` is True where a query may look."""
        q, k, v = (part.flatten(0, 1) for part in self.project(x, by, "b t heads n dh"))
        y = attend(q, k, v, mask)
        return self.out(rearrange(y, "(b t) heads n dh -> b t n (heads dh)", b=x.shape[0]))


class TimeAttention(Attention):
    """Attention over frames, separately at each token's place in the frame."""

    def forward(self, x: Tensor, by: Rotation, mask: Tensor | None, remember=None) -> Tensor:
        """Map `(b, t, n, d)` to `(b, t, n, d)`.

        Args:
            x: `(b, t, n, d)`.
            by: Rotation at the frames' absolute positions, `(b, 1, 1, t, dh)`.
            mask: `(b, 1, t, keys)`, True where a frame may look at another.
            remember: Function `(k, v) -> (k, v)` that stores this call's keys and values
                `(b, n * kv_heads, t, dh)` in a cache and returns all that can be seen.
        """
        q, k, v = (part.flatten(1, 2) for part in self.project(x, by, "b n heads t dh"))
        if remember is not None:
            k, v = remember(k, v)
        y = attend(q, k, v, mask)
        return self.out(rearrange(y, "b (n heads) t dh -> b t n (heads dh)", heads=self.heads))


class TextAttention(nn.Module):
    """Attention from every token of a frame to the words of its prompt.

    Args:
        dim: Width.
        heads: Attention heads.
        text_dim: Width of the text encoder's token embeddings.
    """

    def __init__(self, dim: int, heads: int, text_dim: int) -> None:
        super().__init__()
        self.heads, self.dh = heads, dim // heads
        self.q = nn.Linear(dim, dim, bias=False)
        self.kv = nn.Linear(text_dim, 2 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.scale = nn.Parameter(torch.full((heads, 1, 1), self.dh**0.5))
        nn.init.zeros_(self.out.weight)

    def read(self, words: Tensor) -> tuple[Tensor, Tensor]:
        """Return keys and values `(b, heads, l, dh)` of `words` `(b, l, text_dim)`."""
        k, v = rearrange(
            self.kv(words), "b l (two heads dh) -> two b heads l dh", two=2, dh=self.dh
        )
        return norm(k) * self.dh**-0.5, v

    def forward(self, x: Tensor, kv: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        """Map `(b, t, n, d)` to the same; `mask` `(b, t, l)` is True at a frame's words."""
        b, t, n, _ = x.shape
        if kv[1].shape[2] == 1 and not torch.is_grad_enabled():  # nobody asks: all see the one word
            return self.out(rearrange(kv[1], "b heads l dh -> b l 1 (heads dh)"))
        q = rearrange(self.q(x), "b t n (heads dh) -> b heads (t n) dh", dh=self.dh)
        q = norm(q) * (self.scale * self.dh**-0.5).to(q.dtype)
        seen = mask[:, None, :, None].expand(-1, 1, -1, n, -1).reshape(b, 1, t * n, -1)
        y = attend(q, *kv, seen)
        return self.out(rearrange(y, "b heads (t n) dh -> b t n (heads dh)", n=n))


class SwiGLU(nn.Module):
    """Gated feed-forward layer, 8/3 as wide inside as outside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        hidden = -(-8 * dim // 3 // 32) * 32
        self.up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(..., d)` to `(..., d)`."""
        gate, value = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * value)


class Conv2d(nn.Conv2d):
    """A convolution that packs its weights once for rollouts on a CPU.

    oneDNN wants weights in an order of its own and otherwise sorts them in every call: 177 in place
    of 97 us for 128 channels on 8x8 cells (bf16, one core).
    """

    packed: tuple[tuple, Tensor] | None = None  # what was packed, and the packed weights

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, in, h, w)` to `(b, out, h, w)`."""
        weight, how = self.weight, (self.padding, self.stride, self.dilation)
        rollout = not (torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"))
        fits = x.device.type == "cpu" and x.dtype == weight.dtype in _PACKED
        if not rollout or not fits or torch.compiler.is_compiling():
            return super().forward(x)
        key = weight.data_ptr(), weight._version, weight.dtype  # training and loading change them
        if self.packed is None or self.packed[0] != key:
            order = torch._C._nn.mkldnn_reorder_conv2d_weight
            dense = weight.detach().contiguous().to_mkldnn()
            self.packed = key, order(dense, *how, self.groups, list(x.shape))
        return torch.ops.mkldnn._convolution_pointwise(
            x, self.packed[1], self.bias, *how, self.groups, "none", [], ""
        )

    def __getstate__(self) -> dict:
        """Leave packed weights out of copies."""
        return {name: value for name, value in super().__getstate__().items() if name != "packed"}


_PACKED: set[torch.dtype] = set()  # what oneDNN packs here
if torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
    _PACKED |= {torch.float32}
    if torch.cpu._is_avx512_bf16_supported():
        _PACKED |= {torch.bfloat16}
