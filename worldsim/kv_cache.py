"""What a rollout remembers: keys and values of the last `context` frames, in a ring.

Frame `i` of a world lives in slot `i % context`. Keys are stored already rotated at their absolute
position, so nothing is ever moved or rotated again and frame 10,000 costs what frame 100 costs.
The frame being denoised writes provisionally into the slot of the frame that just left the band;
committing it is writing it once more and advancing the clock. Each row of the batch has a clock of
its own, so that one world can start afresh while the others go on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class KVCache:
    """Keys and values of all time-attention layers.

    Attributes:
        keys: `(layers, b, n * kv_heads, context, dh)`.
        values: Like `keys`.
        clock: `(b,)` int64, frames committed so far in each row.
    """

    keys: Tensor
    values: Tensor
    clock: Tensor

    @classmethod
    def empty(
        cls, layers: int, rows: int, streams: int, context: int, dh: int, like: Tensor
    ) -> "KVCache":
        """Allocate for `rows` worlds with `streams` key heads per frame, in the dtype of `like`."""
        keys = like.new_zeros(layers, rows, streams, context, dh)
        clock = torch.zeros(rows, dtype=torch.int64, device=like.device)
        return cls(keys, torch.zeros_like(keys), clock)

    @property
    def context(self) -> int:
        """Frames in the ring, the current one included."""
        return self.keys.shape[3]

    def visible(self) -> Tensor:
        """Return `(b, 1, 1, context)`, True at slots that hold a frame in the current band."""
        slots = torch.arange(self.context, device=self.clock.device)
        return (slots <= self.clock[:, None])[:, None, None]

    def write(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put the current frame `(b, streams, 1, dh)` into its slot; return the layer's ring."""
        keys, values = self.keys[layer], self.values[layer]
        if k.shape[1] < keys.shape[1]:  # a pass without the agent token leaves its stream alone
            keys, values = keys[:, : k.shape[1]], values[:, : k.shape[1]]
        assert k.dtype == keys.dtype, f"cache is {keys.dtype}, got keys in {k.dtype}"
        rows = torch.arange(len(self.clock), device=self.clock.device)
        slot = self.clock % self.context
        keys[rows, :, slot] = k[:, :, 0]
        values[rows, :, slot] = v[:, :, 0]
        return keys, values

    def fill(self, layer: int, rows: Tensor, k: Tensor, v: Tensor) -> None:
        """Store the first `t` frames `(rows, streams, t, dh)`, `t <= context`, of some rows."""
        self.keys[layer, rows, :, : k.shape[2]] = k
        self.values[layer, rows, :, : v.shape[2]] = v

    def clone(self) -> "KVCache":
        """Return an independent copy."""
        return KVCache(self.keys.clone(), self.values.clone(), self.clock.clone())

    def copy_rows_(self, other: "KVCache", rows: Tensor) -> None:
        """Take `rows` over from `other`, in place."""
        self.keys[:, rows] = other.keys[:, rows]
        self.values[:, rows] = other.values[:, rows]
        self.clock[rows] = other.clock[rows]
