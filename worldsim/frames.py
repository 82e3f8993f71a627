"""What the dynamics model is told of each frame, and what it says."""

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F
from torch import Tensor

SYMLOG = 6.0  # what the reward head's classes reach, either way


@dataclass(frozen=True)
class Prompts:
    """The words of up to a few prompts per row, and which frame follows which.

    Attributes:
        words: `(b, l, text_dim)`, token embeddings of all prompts of a row, one after another.
        owner: `(b, l)` int64, the prompt a word belongs to; -1 is padding.
        of_frame: `(b, t)` int64, the prompt each frame follows; -1 is the null prompt.
    """

    words: Tensor
    owner: Tensor
    of_frame: Tensor

    def mask(self) -> Tensor:
        """Return `(b, t, 1 + l)`, True at the null word (always there) and at a frame's words."""
        own = (self.owner[:, None] == self.of_frame[..., None]) & (self.owner >= 0)[:, None]
        return F.pad(own, (1, 0), value=True)


@dataclass(frozen=True)
class Text:
    """Prompts as a model has read them, once for many passes.

    Attributes:
        words: Keys and values `(b, heads, 1 + l, dh)` by time layer, the null word's first.
        mask: `(b, t, 1 + l)` bool, True at the words of each frame's prompt.
        gist: `(b, t, text_dim)`, what each frame's prompt says as a whole.
    """

    words: list[tuple[Tensor, Tensor]]
    mask: Tensor
    gist: Tensor

    def during(self, part: slice) -> "Text":
        """Return what the frames at some times follow."""
        return Text(self.words, self.mask[:, part], self.gist[:, part])

    def without(self, null: "Text") -> "Text":
        """Return these words with none of them followed; `null` is what no prompt was read as."""
        mask = F.pad(null.mask, (0, self.mask.shape[-1] - null.mask.shape[-1]))
        return Text(self.words, mask, null.gist)

    def then(self, other: "Text") -> "Text":
        """Return what these frames follow, and after them others of the same words."""
        mask, gist = torch.cat([self.mask, other.mask], 1), torch.cat([self.gist, other.gist], 1)
        return Text(self.words, mask, gist)


@dataclass(frozen=True)
class Frames:
    """What the model is told of every frame.

    Attributes:
        x: `(b, t, c, h, w)`, latents at signal level `tau`.
        tau: `(b, t)`, signal level in [0, 1].
        level: `(b, t)` int64, step size `1 / 2**level`.
        previous: `(b, t, m, c, h, w)`, the `m = recent` frames before, the last one last, as the
            model was fed them; zeros for none.
        previous_tau: `(b, t, m)`, their signal levels; 0 for none.
        actions: `(b, t, a)`, scaled, the action that leads to the frame.
        known: `(b, t)` bool, False where the action has no label (a clip's first frame has none).
    """

    x: Tensor
    tau: Tensor
    level: Tensor
    previous: Tensor
    previous_tau: Tensor
    actions: Tensor
    known: Tensor

    @property
    def single(self) -> Tensor:
        """`(b, t)` bool, frames that a single step from noise leads to."""
        return self.level == 0

    def during(self, part: slice) -> "Frames":
        """Return the frames at some times."""
        return Frames(*(getattr(self, f.name)[:, part] for f in fields(self)))

    def then(self, other: "Frames") -> "Frames":
        """Return these frames and after them others."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Frames(*(torch.cat(pair, 1) for pair in pairs))


@dataclass(frozen=True)
class Prediction:
    """What the model says of every frame.

    Attributes:
        latents: `(b, t, c, h, w)`, the clean frame, float32; of drafts alone where there are some;
            None if not asked for.
        reward: `(b, t, bins)`, logits over symlog reward of the action that led here; or None.
        terminated: `(b, t)`, logit that the episode ended here; or None.
        policy: `(b, t, a, action_bins)`, logits of the recorded policy's next action; or None.
    """

    latents: Tensor | None
    reward: Tensor | None = None
    terminated: Tensor | None = None
    policy: Tensor | None = None


def previous_frames(
    x: Tensor, tau: Tensor, recent: int, isolated: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Collect the frames before each frame of a clip.

    Args:
        x: `(b, t, c, h, w)`, latents as the model is fed them.
        tau: `(b, t)`, their signal levels.
        recent: How many frames to collect.
        isolated: `(b,)` bool, rows whose frames know of no other frame.

    Returns:
        `previous` `(b, t, recent, c, h, w)` and `previous_tau` `(b, t, recent)`, the last frame
        last, zero where there is none.
    """
    previous, previous_tau = _before(x, recent), _before(tau, recent)
    if isolated is not None:
        previous = previous.masked_fill(isolated[:, None, None, None, None, None], 0)
        previous_tau = previous_tau.masked_fill(isolated[:, None, None], 0)
    return previous, previous_tau


def led_by(actions: Tensor) -> Tensor:
    """Put `(..., t - 1, a)` actions between frames beside those they lead to: `(..., t, a)`."""
    return F.pad(actions, (0, 0, 1, 0))


def _before(values: Tensor, count: int) -> Tensor:
    """Collect the last few before each of `(b, t, ...)`: `(b, t, count, ...)`."""
    t = values.shape[1]
    padded = F.pad(values, (0, 0) * (values.ndim - 2) + (count, 0))
    return torch.stack([padded[:, i : i + t] for i in range(count)], 2)


def rows_of(whole: Frames | Prompts | None, rows: Tensor) -> Frames | Prompts | None:
    """Return some rows of a batch."""
    if whole is None:
        return None
    return type(whole)(*(getattr(whole, f.name)[rows] for f in fields(whole)))


def reward_grid(bins: int, device: torch.device | None = None) -> Tensor:
    """Return the reward `(bins,)` that each class of the reward head stands for.

    Evenly spaced in symlog, so that small and large ones are told apart alike.
    """
    grid = torch.linspace(-SYMLOG, SYMLOG, bins, device=device)
    return grid.sign() * grid.abs().expm1()


def action_grid(bins: int, device: torch.device | None = None) -> Tensor:
    """Return the scaled number `(bins,)` that each class of the action head stands for."""
    return torch.linspace(-1.0, 1.0, bins, device=device)


def expected(logits: Tensor, grid: Tensor) -> Tensor:
    """Return the mean `(...)` of what the classes of logits `(..., bins)` stand for, `(bins,)`."""
    return (logits.float().softmax(-1) * grid).sum(-1)
