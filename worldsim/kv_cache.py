"""What a rollout remembers: keys and values of the last frames, in a ring.

Frame `i` of a world lives in slot `i % slots`. Keys are stored already rotated at their absolute
position, so nothing is ever moved or rotated again and frame 10,000 costs what frame 100 costs.
There is one slot more than the `context` frames that a frame can see: while the next frame is
drafted in its slot, the frame before it, which is committed in the same pass, sees its whole band.
Each row of the batch has a clock of its own, so that one world can start afresh while the others go
on.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class KVCache:
    """Keys and values of all time-attention layers.

    Attributes:
        keys: `(layers, b, n * kv_heads, context + 1, dh)`.
        values: Like `keys`.
        clock: `(b,)` int64, frames so far in each row: the position of the next one.
    """

    keys: Tensor
    values: Tensor
    clock: Tensor

    @classmethod
    def empty(
        cls, layers: int, rows: int, streams: int, context: int, dh: int, like: Tensor
    ) -> "KVCache":
        """Allocate for `rows` worlds with `streams` key heads per frame, in the dtype of `like`."""
        keys = like.new_zeros(layers, rows, streams, context + 1, dh)
        clock = torch.zeros(rows, dtype=torch.int64, device=like.device)
        return cls(keys, torch.zeros_like(keys), clock)

    @property
    def slots(self) -> int:
        """Frames in the ring."""
        return self.keys.shape[3]

    def visible(self, positions: Tensor) -> Tensor:
        """Tell what frames at `positions` `(b, t)` see, the last of which is the newest written.

        Returns:
            `(b, 1, t, slots)`, True at slots that hold one of a frame's last `slots - 1` frames.
        """
        slots = torch.arange(self.slots, device=positions.device)
        newest = positions[:, -1:]
        held = newest - (newest - slots) % self.slots  # (b, slots), position of each slot's frame
        lag = positions[:, :, None] - held[:, None]
        return ((held[:, None] >= 0) & (lag >= 0) & (lag < self.slots - 1))[:, None]

    def write(self, layer: int, positions: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Put frames `(b, streams, t, dh)` at `positions` `(b, t)`; return the layer's ring."""
        keys, values = self.keys[layer], self.values[layer]
        if k.shape[1] < keys.shape[1]:  # a pass without the agent token leaves its stream alone
            keys, values = keys[:, : k.shape[1]], values[:, : k.shape[1]]
        assert k.dtype == keys.dtype, f"cache is {keys.dtype}, got keys in {k.dtype}"
        rows = torch.arange(len(positions), device=positions.device)
        for i, slot in enumerate((positions % self.slots).unbind(1)):
            keys[rows, :, slot] = k[:, :, i]
            values[rows, :, slot] = v[:, :, i]
        return keys, values

    def fill(self, layer: int, rows: Tensor, k: Tensor, v: Tensor) -> None:
        """Store the first `t` frames `(rows, streams, t, dh)`, `t < slots`, of some rows."""
        streams, t = k.shape[1:3]  # without the agent token there is a stream less
        self.keys[layer, rows, :streams, :t] = k
        self.values[layer, rows, :streams, :t] = v

    def clone(self) -> "KVCache":
        """Return an independent copy."""
        return KVCache(self.keys.clone(), self.values.clone(), self.clock.clone())

    def rows(self, index: Tensor) -> "KVCache":
        """Return a copy of some rows, in the order of `index`, as often as they stand there."""
        return KVCache(self.keys[:, index], self.values[:, index], self.clock[index])

    def copy_rows_(self, rows: Tensor, other: "KVCache") -> None:
        """Take all rows of `other` over as `rows` here, in place."""
        self.keys[:, rows], self.values[:, rows] = other.keys, other.values
        self.clock[rows] = other.clock
