"""Clips that episodes of a world can begin with."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from worldsim.files import read_tensors, write_tensors


@dataclass(frozen=True)
class Starts:
    """Clips to start from.

    Attributes:
        latents: `(s, t, c, h, w)`.
        actions: `(s, t, a)`, scaled; `actions[:, i]` leads to frame `i`.
        known: `(s, t)` bool, False where there is no action label.
        captions: One per clip.
        words: Token embeddings `(l, text_dim)` of each caption; none if all captions are empty.
    """

    latents: Tensor
    actions: Tensor
    known: Tensor
    captions: tuple[str, ...]
    words: tuple[Tensor, ...]

    def save(self, path: Path) -> None:
        """Write them to one file."""
        tensors = {"latents": self.latents.bfloat16(), "actions": self.actions.float()}
        tensors["known"] = self.known
        tensors["words"] = torch.cat(self.words).bfloat16() if self.words else torch.zeros(0, 0)
        lengths = [len(words) for words in self.words]
        meta = {"captions": json.dumps(list(self.captions)), "lengths": json.dumps(lengths)}
        write_tensors(path, tensors, meta)

    @classmethod
    def read(cls, path: Path) -> "Starts":
        """Undo `save`.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged, or holds something else.
        """
        tensors, meta = read_tensors(path)
        try:
            captions, lengths = (json.loads(meta[key]) for key in ("captions", "lengths"))
            words = tensors["words"].split(lengths) if lengths else ()
            latents, actions = tensors["latents"], tensors["actions"]
            known = tensors.get("known", torch.ones(actions.shape[:2], dtype=torch.bool))
            return cls(latents, actions, known, tuple(captions), words)
        except KeyError as error:
            raise ValueError(
                f"{path} must hold start clips, got a file without {error}; copy the world again"
            ) from error
