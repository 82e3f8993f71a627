"""Every number of the dynamics model's architecture, and what follows from them.

References:
    Grouped-query attention, Ainslie et al. 2023, https://arxiv.org/abs/2305.13245
    Symexp two-hot regression, Hafner et al. 2023, https://arxiv.org/abs/2301.04104
"""

from dataclasses import dataclass

from worldsim.limits import check_least


@dataclass
class DynamicsConfig:
    """Architecture of the dynamics model."""

    channels: int = 8
    """Channels of a latent cell; the tokenizer's."""
    action_dim: int = 3
    """Length of a flattened action."""
    dim: int = 192
    """Width of the transformer."""
    depth: int = 6
    """Number of transformer blocks."""
    heads: int = 6
    patch: int = 4
    """Side of a square patch, in latent cells."""
    time_every: int = 2
    """Every such block also attends over time and to the prompt."""
    cells: int = 96
    """Width of the convolutions over latent cells."""
    group: int = 16
    """Channels of the convolutions that are normalised together: a CPU does 16 at once."""
    recent: int = 4
    """Frames before the current one that the convolutions see."""
    stem: int = 2
    """Convolutional blocks before the transformer."""
    tail: int = 4
    """Convolutional blocks after it."""
    apart: bool = True
    """Whether frames that no single step from noise leads to have a painter of their own: what goes
    on from the past is then disturbed by nothing else."""
    chance: int = 32
    """Random numbers that steer a frame which a single step leads to: one of those that may come,
    as a whole; no more than the smallest frame has. 0: what is expected, always."""
    context: int = 32
    """Frames a frame can see in causal mode, itself included."""
    max_steps: int = 16
    """Sampler steps at the finest step size; a power of two."""
    registers: int = 4
    """Spare tokens in each frame."""
    text_dim: int = 384
    """Width of the text encoder's token embeddings."""
    bins: int = 63
    """Classes of the two-hot reward head, see `frames.reward_grid`."""
    action_bins: int = 15
    """Classes per number of the action head, over scaled actions in [-1, 1]."""

    def __post_init__(self) -> None:
        check_least(self, channels=1, action_dim=1, dim=8, depth=1, heads=1, patch=1, time_every=1)
        check_least(
            self, cells=1, group=1, recent=1, stem=0, tail=0, context=1, registers=0, text_dim=1
        )
        check_least(self, chance=0, bins=3, action_bins=2)
        if self.dim % (2 * self.heads) or self.dim // self.heads % 4:
            raise ValueError(
                "`dim / heads` must be a multiple of 4, "
                f"got dim={self.dim}, heads={self.heads}; try dim="
                f"{max(2, self.dim // (4 * self.heads)) * 4 * self.heads}"
            )
        if self.depth % self.time_every:
            raise ValueError(
                "`depth` must be divisible by `time_every`, "
                f"got depth={self.depth}, time_every={self.time_every}; try depth="
                f"{max(1, self.depth // self.time_every) * self.time_every}"
            )
        if self.cells % self.group:
            raise ValueError(
                f"`cells` must be a multiple of `group`, {self.group}, got {self.cells}; try "
                f"{max(1, self.cells // self.group) * self.group}"
            )
        if self.max_steps & (self.max_steps - 1) or self.max_steps < 4:
            raise ValueError(
                f"`max_steps` must be a power of two of at least 4, got {self.max_steps}; try 16"
            )

    @property
    def kv_heads(self) -> int:
        """Key and value heads: grouped-query attention from 8 heads up."""
        return self.heads // 2 if self.heads >= 8 and self.heads % 2 == 0 else self.heads

    @property
    def finest(self) -> int:
        """Level of the finest step size, `1 / 2**finest = 1 / max_steps`."""
        return self.max_steps.bit_length() - 1

    @property
    def time_layers(self) -> int:
        """Blocks that attend over time."""
        return self.depth // self.time_every
