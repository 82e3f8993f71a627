"""A world: tokenizer, dynamics, spaces and start clips, in memory and as a folder.

On disk it is

    drive/
      config.json            every architecture number, the spaces, fps, key bindings
      tokenizer.safetensors  frames <-> latents
      dynamics.safetensors   latents, actions, text -> next latents, reward, termination; what it
                             learned from
      starts.safetensors     start clips with their captions and text embeddings
      README.md              model card
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from worldsim.architecture import DynamicsConfig
from worldsim.dynamics import Dynamics
from worldsim.files import renewed, write_tensors
from worldsim.formats import FORMAT_VERSION
from worldsim.space_json import space_from_json
from worldsim.spaces import flatten_action, scale_actions, unflatten_action
from worldsim.starts import Starts
from worldsim.tokenizer import Tokenizer, TokenizerConfig

if hasattr(os, "register_at_fork"):  # OpenMP's threads stay behind, and the child waits for them
    os.register_at_fork(after_in_child=partial(torch.set_num_threads, 1))

PART = 64  # pictures that are encoded or decoded at once


@dataclass
class WorldConfig:
    """Everything about a world that is not a weight; plain data."""

    name: str
    fps: int
    frame_size: tuple[int, int]
    """`(h, w)` in pixels."""
    action_space: dict
    """JSON of a Gymnasium space, see `worldsim.space_json`."""
    action_low: list[float]
    """What the flattened action's numbers are scaled by: these become -1 ..."""
    action_high: list[float]
    """... and these 1."""
    env_id: str = ""
    """The source simulator, if it is a registered environment."""
    env_kwargs: dict = field(default_factory=dict)
    keys: list = field(default_factory=list)
    """Key bindings, `[[key names], action]`."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    sampler_steps: int = 1
    """Denoising passes per frame, by default."""
    variety: float = 1.0
    """How much chance has a say in frames of a single step, by default: 1 draws one of those that
    may come, 0 is what is expected."""
    guidance: float = 1.0
    """How strongly a new prompt is followed, by default; 1 is as learned."""
    commit_tau: float = 0.9
    """Signal level at which finished frames are fed back."""
    refresh: float = 0.0
    """How far finished frames are moved towards what their own picture encodes to before that; see
    `Tokenizer.refresh`."""
    prompts: list[str] = field(default_factory=list)
    """Examples of what to ask for."""
    labelled: bool = True
    """Whether its recordings say what was done; else a player's actions are not read."""
    horizon: int = 1000
    """Imagined steps before truncation."""
    doubt: dict = field(default_factory=dict)
    """Calibration of the hallucination alarm, see `worldsim.doubt`; empty for none."""
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        self.frame_size = tuple(self.frame_size)
        if isinstance(self.tokenizer, dict):
            self.tokenizer = TokenizerConfig(**self.tokenizer)
        if isinstance(self.dynamics, dict):
            self.dynamics = DynamicsConfig(**self.dynamics)


class World:
    """A trained simulator.

    Args:
        cfg: Its description.
        tokenizer: Its eyes.
        dynamics: Its laws.
        starts: Where it can begin.
        learned_from: The recordings that its weights were learned from, by their tags (see
            `worldsim.datasets.subsets.tags`); `UNKNOWN` stands for some that nobody wrote down.
    """

    def __init__(
        self,
        cfg: WorldConfig,
        tokenizer: Tokenizer,
        dynamics: Dynamics,
        starts: Starts,
        learned_from: Iterable[str] = (),
    ) -> None:
        self.cfg, self.starts, self.learned_from = cfg, starts, frozenset(learned_from)
        self.tokenizer, self.dynamics = tokenizer.eval(), dynamics.eval()
        self.action_space = space_from_json(cfg.action_space)
        self._low = np.asarray(cfg.action_low, np.float32)
        self._high = np.asarray(cfg.action_high, np.float32)
        self._known = dict(zip(starts.captions, starts.words, strict=bool(starts.words)))

    def __repr__(self) -> str:
        h, w = self.cfg.frame_size
        return f"World({self.cfg.name!r}, {w}x{h}, {self.cfg.fps} a second, {self.action_space})"

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.dynamics.agent.weight.device

    @cached_property
    def tag(self) -> str:
        """Its name, and what tells its weights from all others, in whatever precision they are."""
        digest = hashlib.sha256()
        for model in (self.tokenizer, self.dynamics):
            for tensor in model.state_dict().values():
                digest.update(tensor.detach().bfloat16().float().cpu().numpy().tobytes())
        return f"{self.cfg.name} {digest.hexdigest()[:16]}"

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are in."""
        return self.dynamics.agent.weight.dtype

    def latent_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Return the latent grid `(h, w)` of frames of `frame_size` `(h, w)` pixels.

        Raises:
            ValueError: If this world's patches do not fill such frames.
        """
        return self.tokenizer.latent_size(frame_size, self.dynamics.cfg.patch)

    def scale_actions(self, actions: np.ndarray) -> np.ndarray:
        """Scale flattened actions `(..., a)` to [-1, 1]."""
        return scale_actions(actions, self._low, self._high)

    def read_actions(
        self, actions: Sequence[Any] | None, count: int, name: str = "actions"
    ) -> Tensor | None:
        """Check, flatten and scale `count` actions of the action space: `(count, a)` float32.

        Where there are none, None.

        Raises:
            TypeError: If `actions` is no sequence, or one of them is of another kind.
            ValueError: If there are not `count`, or one lies outside the space.
        """
        if actions is None:
            return None
        if not hasattr(actions, "__len__"):
            raise TypeError(f"`{name}` must be a sequence, got {type(actions).__name__} {actions}")
        if len(actions) != count:
            raise ValueError(
                f"`{name}` must hold one action per transition, {count} here, got {len(actions)}; "
                f"{name}[i] leads from frame i to frame i + 1"
            )
        flat = [flatten_action(self.action_space, action) for action in actions]
        flat = np.stack(flat) if flat else np.zeros((0, self.dynamics.cfg.action_dim), np.float32)
        return torch.from_numpy(self.scale_actions(flat))

    def unscale_actions(self, actions: np.ndarray) -> np.ndarray:
        """Undo `scale_actions`."""
        return (self._low + (np.asarray(actions) + 1) / 2 * (self._high - self._low)).astype(
            np.float32
        )

    def played(self, policy: Tensor) -> Tensor:
        """Return the scaled actions `(b, a)` nearest to what a policy expects, choices whole."""
        flat = self.unscale_actions(policy.float().cpu().numpy())
        space = self.action_space
        real = [flatten_action(space, unflatten_action(space, row)) for row in flat]
        return torch.from_numpy(self.scale_actions(np.stack(real))).to(policy.device)

    @torch.inference_mode()
    def encode(self, frames: np.ndarray | Tensor) -> Tensor:
        """Turn pixels `(..., h, w, 3)` uint8 into latents `(..., c, h, w)`, a few at a time."""
        if not isinstance(frames, Tensor):  # torch takes no view that runs backwards
            frames = torch.from_numpy(np.array(frames, order="C"))
        if frames.dtype != torch.uint8 or frames.ndim < 3 or frames.shape[-1] != 3:
            raise ValueError(
                "frames must be uint8 (..., h, w, 3), got "
                f"{str(frames.dtype).removeprefix('torch.')} {tuple(frames.shape)}; convert the "
                "pixels to 0..255"
            )
        return self._in_parts(self.tokenizer.encode, frames)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Turn latents `(..., c, h, w)` into pixels `(..., h, w, 3)` uint8, a few at a time."""
        return self._in_parts(self.tokenizer.decode, latents)

    def _in_parts(self, run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Map pictures `(..., ?, ?, ?)` without filling the memory with all of them at once."""
        pictures = x.reshape(-1, *x.shape[-3:])
        made = torch.cat([run(part.to(self.device)) for part in pictures.split(PART)])
        return made.reshape(*x.shape[:-3], *made.shape[1:])

    @cached_property
    def encoder(self):
        """The text encoder; its first use loads it."""
        from worldsim.text import TextEncoder

        return TextEncoder()

    def words(self, prompt: str) -> Tensor:
        """Return token embeddings `(l, text_dim)` of a prompt, reworded as the world was taught.

        A start's caption needs no encoder.
        """
        if prompt not in self._known:
            self._known[prompt] = self.encoder.encode([self.reworded(prompt)])[0]
        return self._known[prompt]

    def reworded(self, prompt: str) -> str:
        """Return what the world reads where a person writes `prompt` (see `worldsim.rewording`)."""
        return self._rewording(prompt)

    def heard(self, prompt: str) -> str:
        """Say what is made of a prompt, for people; nothing, if it is read as it is."""
        if not prompt or prompt in self.starts.captions:  # those need no encoder
            return ""
        return self._rewording.heard(prompt)

    @cached_property
    def _rewording(self):
        from worldsim.filmed import ENV_ID
        from worldsim.rewording import Rewording

        filmed = self.cfg.env_kwargs.get("env", "") if self.cfg.env_id == ENV_ID else ""
        return Rewording(str(filmed or self.cfg.env_id), self.encoder)

    def nearest_start(self, prompt: str) -> int:
        """Return the start clip whose caption says most nearly what `prompt` does.

        Where the captions' attributes are known, the one that shows most of what is asked for, the
        place first, which a prompt changes least. Then each word of the prompt looks for the
        caption's word that is nearest to it, so that long captions are not further away than short
        ones.

        Reference:
            Late interaction, Khattab & Zaharia 2020, https://arxiv.org/abs/2004.12832
        """
        captions = self.starts.captions
        if prompt in captions:
            return captions.index(prompt)
        asked, *told = (
            F.normalize(words.float().cpu(), dim=-1)
            for words in (self.words(prompt), *self.starts.words)
        )
        alike = torch.stack([(asked @ words.T).amax(1).mean() for words in told])
        shown = self._rewording.in_common(self.reworded(prompt), captions)
        return int((torch.tensor(shown) + alike / 16).argmax())  # below what any attribute counts

    def save(self, folder: str | Path, card: str = "") -> Path:
        """Write the world's folder: the old one stays until the new one is whole.

        Args:
            folder: Where; what else lies in a world's folder, such as pictures, is kept.
            card: Text of the model card; an existing card is kept if empty.

        Raises:
            FileExistsError: If the folder holds something else than a world.
        """
        folder = Path(folder).expanduser()
        with renewed(folder) as new:
            is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
            if not is_free and not (folder / "config.json").exists():
                raise FileExistsError(
                    f"a world is saved in a new folder or in place of a world, got {folder}; "
                    "choose another folder or remove it"
                )
            if not is_free:
                shutil.copytree(folder, new, dirs_exist_ok=True)
            self._write(new, card)
        return folder

    def _write(self, folder: Path, card: str) -> None:
        if card or not (folder / "README.md").exists():
            (folder / "README.md").write_text(card or f"# {self.cfg.name}\n")
        (folder / "config.json").write_text(json.dumps(asdict(self.cfg), indent=2) + "\n")
        write_tensors(folder / "tokenizer.safetensors", _half(self.tokenizer.state_dict()))
        learned = {"learned_from": " ".join(sorted(self.learned_from))}
        write_tensors(folder / "dynamics.safetensors", _half(self.dynamics.state_dict()), learned)
        self.starts.save(folder / "starts.safetensors")


def _half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: t.bfloat16() if t.is_floating_point() else t for name, t in state.items()}
