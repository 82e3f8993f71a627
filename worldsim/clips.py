"""Recordings to training batches: frames are tokenised once, captions are read once.

A `LatentDataset` holds a whole data set as latents in memory (4 KiB a frame at 64x64) and cuts
random clips from it. Actions are moved from the transition to the frame they lead to.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from worldsim.corruption import ObjectiveConfig
from worldsim.datasets.episodes import Episodes
from worldsim.frames import Prompts
from worldsim.processes import together
from worldsim.spaces import action_bounds, scale_actions
from worldsim.tokenizer import Tokenizer


@dataclass(frozen=True)
class Clips:
    """A batch of clips, cut from recordings.

    Attributes:
        latents: `(b, t, c, h, w)`, clean.
        actions: `(b, t, a)`, scaled; `actions[:, i]` leads to frame `i`.
        known: `(b, t)` bool, False at the first frame and where there is no action label.
        rewards: `(b, t)`, of the same transition.
        terminated: `(b, t)` bool, of the same transition.
        prompts: The clips' captions, or None.
    """

    latents: Tensor
    actions: Tensor
    known: Tensor
    rewards: Tensor
    terminated: Tensor
    prompts: Prompts | None


@dataclass(eq=False)
class LatentDataset:
    """A data set as latents, one row per frame of all `e` episodes.

    Attributes:
        latents: `(frames, c, h, w)`, bfloat16.
        actions: `(frames, a)`, scaled to [-1, 1]; the action that led to the frame.
        known: `(frames,)` bool, whether there is such an action.
        rewards: `(frames,)`, of that transition.
        terminated: `(frames,)` bool, of that transition.
        caption: `(frames,)` int64 into `words`; -1 for none.
        words: Token embeddings `(l, text_dim)` of every caption.
        edges: `(e + 1,)` int64, where episodes start and end.
    """

    latents: Tensor
    actions: Tensor
    known: Tensor
    rewards: Tensor
    terminated: Tensor
    caption: Tensor
    words: list[Tensor]
    edges: Tensor
    _windows: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict, init=False)

    def window_starts(self, t: int) -> tuple[Tensor, Tensor]:
        """Return the first frames of all clips of `t` frames, and of those that end an episode.

        Raises:
            ValueError: If no episode is that long.
        """
        if t not in self._windows:
            spans = [
                (a, b) for a, b in zip(self.edges[:-1], self.edges[1:], strict=True) if b - a >= t
            ]
            if not spans:
                longest = int(self.edges.diff().max())
                raise ValueError(
                    f"clips of {t} frames need longer episodes, the longest has {longest} frames; "
                    "record longer episodes or lower `context`"
                )
            starts = torch.cat([torch.arange(a, b - t + 1) for a, b in spans])
            ends = [b - t for _, b in spans if self.terminated[b - 1]]
            self._windows[t] = starts, torch.tensor(ends, dtype=torch.int64)
        return self._windows[t]

    def sample(
        self, b: int, t: int, g: torch.Generator, *, endings: float = 0.1, drop: float = 0.1
    ) -> Clips:
        """Draw `b` clips of `t` frames.

        Args:
            b: Number of clips.
            t: Frames in each.
            g: Source of randomness, on the CPU.
            endings: Share of clips that end with a terminated episode.
            drop: Share of clips, and of frames in the others, that lose their caption.
        """
        starts, ends = self.window_starts(t)
        first = starts[torch.randint(len(starts), (b,), generator=g)]
        if len(ends):
            last = ends[torch.randint(len(ends), (b,), generator=g)]
            first = torch.where(torch.rand(b, generator=g) < endings, last, first)
        dropped = torch.rand(b, 1, generator=g) < drop
        dropped = dropped | (torch.rand(b, t, generator=g) < drop)
        return self.cut(first, t, dropped)

    def cut(self, first: Tensor, t: int, dropped: Tensor | None = None) -> Clips:
        """Cut the clips of `t` frames that start at `first` `(b,)`; `dropped` `(b, t)` captions."""
        index = first[:, None] + torch.arange(t)
        known = self.known[index]
        known[:, 0] = False
        caption = self.caption[index]
        if dropped is not None:
            caption = caption.masked_fill(dropped, -1)
        return Clips(
            latents=self.latents[index].float(),
            actions=self.actions[index],
            known=known,
            rewards=self.rewards[index],
            terminated=self.terminated[index],
            prompts=self._prompts(caption),
        )

    def _prompts(self, caption: Tensor) -> Prompts | None:
        if not self.words:
            return None
        row, many = torch.arange(len(caption))[:, None].expand_as(caption), len(self.words)
        pair = (row * many + caption)[caption >= 0].unique()  # each caption of a row, once
        row, ids = pair // many, pair % many
        read = [self.words[i] for i in ids.tolist()]
        lengths = torch.tensor([len(each) for each in read], dtype=torch.int64)
        row, ids = row.repeat_interleave(lengths), ids.repeat_interleave(lengths)
        widths = torch.bincount(row, minlength=len(caption))
        column = torch.arange(len(row)) - (widths.cumsum(0) - widths)[row]
        longest = max(1, int(widths.max()))
        words = torch.zeros(len(caption), longest, self.words[0].shape[1])
        owner = torch.full((len(caption), longest), -1)
        if read:
            words[row, column], owner[row, column] = torch.cat(read).float(), ids
        return Prompts(words, owner, caption)

    def to_file(self) -> dict[str, Tensor]:
        """Return all of it as named tensors, for safetensors."""
        lengths = torch.tensor([len(w) for w in self.words], dtype=torch.int64)
        words = torch.cat(self.words) if self.words else torch.zeros(0, 0)
        names = ("latents", "actions", "known", "rewards", "terminated", "caption", "edges")
        return {name: getattr(self, name) for name in names} | {"words": words, "lengths": lengths}

    @cached_property
    def usual(self) -> int:
        """How many frames an episode has, at least, of those that hold half of all frames."""
        lengths = self.edges.diff().sort(descending=True).values
        return int(lengths[(2 * lengths.cumsum(0) < lengths.sum()).sum()])

    @classmethod
    def from_file(cls, tensors: dict[str, Tensor]) -> "LatentDataset":
        """Undo `to_file`."""
        own = dict(tensors)
        lengths = own.pop("lengths").tolist()
        return cls(**own | {"words": list(own["words"].split(lengths)) if lengths else []})


@dataclass(frozen=True)
class Batch:
    """Clips, and whether they are looked at backwards only or both ways in time."""

    clips: Clips
    causal: bool


def sampler(
    films: list[LatentDataset], clips: int, context: int, objective: ObjectiveConfig
) -> Callable[[torch.Generator, float], Batch]:
    """Return what draws batches of as many cells as `clips` clips of `context` frames have.

    It is told how much of the training is over: convolutions alone see clips, and look backwards.
    """
    cells = [film.latents[0].numel() for film in films]

    def sample(g: torch.Generator, progress: float) -> Batch:
        kind = together(g)
        which = draw_set([len(film.latents) for film in films], kind)
        film, room = films[which], clips * context * cells[0] // cells[which]
        local = progress < objective.local_until
        if film.words and torch.rand((), generator=kind).item() < objective.lone and not local:
            return Batch(film.sample(max(1, room), 1, g, endings=0), True)
        causal = torch.rand((), generator=kind).item() < objective.causal or local
        long = torch.rand((), generator=kind).item() < 0.2
        # of many lengths, else an ending is what stands behind so and so many frames
        some = int(torch.randint(context // 4, 3 * context // 4 + 1, (), generator=kind))
        t = min(2 * context if long else max(2, some), film.usual)  # else a few fill the batches
        return Batch(film.sample(max(1, room // t), t, g), causal)

    return sample


def draw_set(sizes: list[int], g: torch.Generator) -> int:
    """Choose one of several sets, each as often as it is large; one alone costs no draw."""
    if len(sizes) == 1:
        return 0
    return int(torch.multinomial(torch.tensor(sizes, dtype=torch.float64), 1, generator=g))


def action_scaling(dataset: Episodes) -> tuple[np.ndarray, np.ndarray]:
    """Return the `low` and `high` `(a,)` that scale a data set's actions to [-1, 1].

    The space's bounds where they are finite, else the least and largest recorded value.
    """
    low, high = action_bounds(dataset.info.action_space)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        every = np.concatenate([dataset.outline(i).actions for i in range(len(dataset))])
        low = np.where(np.isfinite(low), low, every.min(0))
        high = np.where(np.isfinite(high), high, every.max(0))
    high = np.where(high > low, high, low + np.maximum(1, np.abs(low)))  # what never moved
    return low.astype(np.float32), high.astype(np.float32)


@torch.no_grad()
def encode_dataset(
    dataset: Episodes, tokenizer: Tokenizer, encode_words, progress: bool = True, scaling=None
) -> LatentDataset:
    """Tokenise every frame and embed every caption of a data set.

    Args:
        dataset: `MemoryDataset` or `DiskDataset`.
        tokenizer: Trained, in the dtype to run in.
        encode_words: Function from captions to token embeddings `(l, text_dim)`; None for no text.
        progress: Whether to show a bar.
        scaling: What `action_scaling` says of the data set whose world this is for; None is this.
    """
    low, high = scaling or action_scaling(dataset)
    device = tokenizer.latent_mean.device
    parts: dict[str, list] = {
        name: [] for name in ("latents", "actions", "known", "rewards", "terminated", "caption")
    }
    captions: dict[str, int] = {}
    for i in tqdm(range(len(dataset)), "tokenise", disable=not progress):
        episode = dataset[i]
        frames = torch.from_numpy(episode.frames)
        latents = [tokenizer.encode(part.to(device)).bfloat16().cpu() for part in frames.split(64)]
        parts["latents"].extend(latents)
        led = {
            "actions": scale_actions(episode.actions, low, high),
            "known": episode.action_known,
            "rewards": episode.rewards,
            "terminated": episode.terminated,
        }
        for name, values in led.items():
            parts[name].append(torch.from_numpy(lead(values)))
        ids = [captions.setdefault(c, len(captions)) if c else -1 for c in episode.captions]
        parts["caption"].append(torch.tensor(ids)[torch.from_numpy(episode.caption_index)])
    lengths = torch.tensor([0] + [len(a) for a in parts["known"]])
    words = encode_words(list(captions)) if encode_words and captions else []
    columns = {name: torch.cat(values) for name, values in parts.items()}
    if not words:
        columns["caption"].fill_(-1)
    return LatentDataset(**columns, words=[w.bfloat16() for w in words], edges=lengths.cumsum(0))


def lead(values: np.ndarray) -> np.ndarray:
    """Shift values of `t` transitions to the frames they lead to; the first frame gets zero."""
    return np.concatenate([np.zeros_like(values[:1]), values])
