"""What a training starts from: earlier weights, recordings as latents, a fast tokenizer."""

import json
import zlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from worldsim.architecture import DynamicsConfig
from worldsim.clips import LatentDataset, action_scaling, encode_dataset
from worldsim.datasets.episodes import Episodes
from worldsim.datasets.subsets import UNKNOWN, fingerprint, opened_like
from worldsim.devices import fast_dtype
from worldsim.files import read_tensors, write_tensors
from worldsim.loading import find_world, load, read_config, recordings_of
from worldsim.processes import rank, wait
from worldsim.runs import checksum
from worldsim.tokenizer import Tokenizer, TokenizerConfig
from worldsim.world import WorldConfig

Config = TypeVar("Config", DynamicsConfig, TokenizerConfig)


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """Read a tokenizer from a run's or a world's folder, in fp32.

    Raises:
        FileNotFoundError: If there is none.
    """
    folder = Path(folder)
    if not (folder / "tokenizer.json").exists():
        try:
            return load(str(folder), dtype=torch.float32).tokenizer
        except FileNotFoundError as error:
            raise FileNotFoundError(
                "a tokenizer must lie in the folder of its training, once that is through, or in a "
                f"world's, got {str(folder)!r}: {error}"
            ) from error
    cfg = TokenizerConfig(**{"stride": 8} | json.loads((folder / "tokenizer.json").read_text()))
    tokenizer = Tokenizer(cfg)
    tokenizer.load_state_dict(read_tensors(folder / "tokenizer.safetensors")[0])
    return tokenizer


def dynamics_weights(init: str | Path) -> dict[str, Tensor]:
    """Read the dynamics of the training run or world at `init`."""
    best = Path(init) / "best.safetensors"
    if best.exists() and "gather.weight" in (weights := read_tensors(best)[0]):
        return weights  # in fp32; those of a decoder's run are no dynamics
    return load(str(init), dtype=torch.float32).dynamics.state_dict()


def going_on(asked: Config, was: Config) -> Config:
    """Return the architecture `was` with what is asked for: all of `asked` that is no default."""
    usual = type(asked)()
    return replace(was, **{k: v for k, v in vars(asked).items() if v != getattr(usual, k)})


def dynamics_like(asked: DynamicsConfig, init: str | Path) -> DynamicsConfig:
    """Return the architecture of the world at `init`, deeper or of longer memory if asked for.

    Raises:
        ValueError: If something else is asked for, or a shorter context.
    """
    known = _config_of(init)
    if known is None:
        return replace(asked, apart=asked.apart and "head.weight" not in dynamics_weights(init))
    was = known.dynamics
    was = was if was.chance else replace(was, chance=asked.chance)  # formats before 7 had none
    cfg = going_on(asked, was)
    if cfg.context < was.context:
        raise ValueError(
            f"`context` must be at least that of `init`, which remembers {was.context} frames, got "
            f"{cfg.context}; leave it out"
        )
    for name in ("patch", "cells", "dim", "heads", "max_steps", "group", "apart", "chance"):
        here, there = getattr(cfg, name), getattr(was, name)
        if here != there:
            raise ValueError(
                f"`{name}` must be that of `init`, {there}, got {here}; leave `model` out to have "
                "all as it is there"
            )
    return cfg


def _config_of(init: str | Path) -> WorldConfig | None:
    """Read what the world at `init` is; None of a run that is not through, which has none yet."""
    try:
        return read_config(find_world(init) / "config.json")
    except FileNotFoundError:
        return None


def recordings_before(init: str | Path | None) -> list[str]:
    """Return the tags of what the world at `init` learned from."""
    try:
        return recordings_of(find_world(init)) if init else []
    except FileNotFoundError:  # a run that is not through
        return [UNKNOWN]


def scaling_like(dataset: Episodes, init: str | Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the bounds of actions as the world at `init` knows them, else as a data set has them.

    A space without bounds is scaled by what was recorded, which would differ from set to set.
    """
    was, own = _config_of(init) if init else None, action_scaling(dataset)
    if was is None or len(was.action_low) != len(own[0]):  # else refused with the weights
        return own
    return np.float32(was.action_low), np.float32(was.action_high)


def start_from(model: nn.Module, weights: dict[str, Tensor], init: str | Path) -> None:
    """Take over the weights that `init` has; more layers than it has begin as the identity.

    Raises:
        ValueError: If the architectures differ in more than that.
    """
    deeper = {
        k: v
        for k, v in model.state_dict().items()
        if k.startswith(("stem", "blocks"))
        or any(part in k for part in (".tail.", ".blend.", ".chance."))
    }
    try:
        model.load_state_dict(deeper | weights)
    except RuntimeError as error:
        raise ValueError(
            "`init` must be a world of the same architecture, with as many layers or fewer, "
            f"got {init}: {error}"
        ) from error


def weights_of(model: nn.Module) -> str:
    """Return what tells the weights that a training starts from, once they are in `model`."""
    return f"weights {checksum(model):08x}"


def with_more(
    train_on: Episodes,
    held_out: Episodes,
    more: Sequence[str | Path | Episodes],
    tokenizer: Tokenizer,
    patch: int = 1,
) -> list[Episodes]:
    """Return all data sets to learn from, once patches are known to fill all frames.

    Raises:
        ValueError: If they do not, or if `more` are recordings of another kind.
    """
    sets = [train_on, *(opened_like(train_on, other, "more") for other in more)]
    for part in (*sets, held_out):
        tokenizer.latent_size(part.info.frame_size, patch)
    return sets


def check_text(*sets: Episodes) -> None:
    """Refuse recordings with captions where there is nothing to read them with.

    Raises:
        FileNotFoundError: If the text encoder's weights are nowhere.
    """
    from worldsim.text import find_weights

    if any(any(part.outline(i).captions) for part in sets for i in range(len(part))):
        find_weights()


def tokenised(
    episodes: Episodes,
    tokenizer: Tokenizer,
    path: Path,
    device: torch.device,
    bar: bool,
    scaling: tuple,
) -> LatentDataset:
    """Encode a data set, its actions by the `scaling` of a world, or read what was encoded.

    Raises:
        ValueError: If that run encoded other recordings or with another tokenizer.
    """
    scale = zlib.crc32(np.float32(scaling).tobytes())
    about = {"of": f"{fingerprint(episodes)}, by {checksum(tokenizer):08x}, {scale:08x}"}
    if rank() == 0 and not path.exists():
        from worldsim.text import TextEncoder

        path.parent.mkdir(parents=True, exist_ok=True)
        encode = TextEncoder().encode
        latents = encode_dataset(episodes, fast(tokenizer, device), encode, bar, scaling)
        write_tensors(path, latents.to_file(), about)
    wait()
    tensors, was = read_tensors(path)
    if was != about:
        raise ValueError(
            "a run goes on with the recordings and the tokenizer it was begun with, got "
            f"{was.get('of')} in {path}, {about['of']} here; choose another `out`"
        )
    return LatentDataset.from_file(tensors)


def sensitivity_of(tokenizer: Tokenizer, latents: Tensor, device: torch.device) -> Tensor:
    """Return what makes of errors in latents such as count by what they do to pixels."""
    some = latents[:: max(1, len(latents) // 64)].to(device).float()
    metric = deepcopy(tokenizer).float().to(device).sensitivity(some)
    idle = 1e-3 * torch.eye(len(metric), device=device)  # a channel that no pixel answers to
    return torch.linalg.cholesky(metric + idle)


def fast(tokenizer: Tokenizer, device: torch.device) -> Tokenizer:
    """Return a copy of a tokenizer as it encodes fastest on `device`."""
    copy = deepcopy(tokenizer).to(device, fast_dtype(device), memory_format=torch.channels_last)
    return copy.requires_grad_(False)
