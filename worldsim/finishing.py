"""A decoder that has seen what its world imagines.

A tokenizer learns to decode latents of real frames. What a world imagines in one step, without
chance, is the mean of what may come, and no real frame has such latents: decoded, they show stripes
and specks that nobody recorded. So once the dynamics is trained, the decoder learns from both: from
real latents, and from imagined ones beside the frames that really came. The encoder and every
latent stay. What comes out lies between the weights before and after, where rollouts on held-out
clips are best: fine-tuned weights are better when they are averaged with those they came from.
Where nothing is gained, the decoder stays as it was.

References:
    Robust fine-tuning (WiSE-FT), Wortsman et al. 2022, https://arxiv.org/abs/2109.01903
"""

import warnings
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from worldsim.datasets.episodes import Episodes
from worldsim.datasets.subsets import fingerprint, hold_out, opened, tags
from worldsim.files import read_tensors, write_tensors
from worldsim.loading import load
from worldsim.measuring.dreaming import dream, rollout_quality
from worldsim.measuring.heldout import check_fit, cut_usual
from worldsim.runs import TrainConfig, checksum
from worldsim.tokenizer import Tokenizer
from worldsim.training import fit
from worldsim.world import World

CHUNK = 64  # clips that are imagined at once
REAL = 1 / 3  # share of a batch that is latents of real frames
WAYS = (0.0, 0.25, 0.5, 0.75, 1.0)  # from the weights before to those after


@dataclass(frozen=True)
class Dreams:
    """Frames and two kinds of latents that stand for them.

    Attributes:
        frames: `(n, h, w, 3)` uint8, what really came.
        real: `(n, c, h / s, w / s)` bfloat16, their latents.
        imagined: The same shape, what the world expected instead.
    """

    frames: Tensor
    real: Tensor
    imagined: Tensor


def train_decoder(
    data: str | Path | Episodes,
    init: str | Path,
    out: str | Path,
    *,
    test: str | Path | Episodes | None = None,
    device: str | None = None,
    train: TrainConfig | None = None,
    clips: int = 2048,
    **overrides,
) -> World:
    """Teach a world's decoder to read what the world imagines.

    Args:
        data: Path of a data set, or a data set; what the world was trained on will do.
        init: The world.
        out: Folder of the run; the world with its new decoder lands in `out / "world"`.
        test: Held-out data set; by default every 50th episode of `data`.
        device: Where to train; CUDA if there is some, else the CPU.
        train: Budget and learning rates, of which a third is taken, as the weights are good.
        clips: How many clips of up to 16 given and 16 imagined frames to learn from; a decoder
            soon knows them by heart, so many of them and few minutes.
        **overrides: Fields of `TrainConfig`, for short (`minutes=10`).

    Returns:
        The world with the decoder whose rollouts on held-out clips score best, on the way from the
        one it had to the one that was trained.

    Raises:
        ValueError: If `data` are not of the world's kind, a batch is too small, or `out` was begun
            with another world.
    """
    out, data = Path(out), opened(data)
    train = replace(train or TrainConfig(), **overrides)
    train = replace(train, muon_lr=train.muon_lr / 3, adam_lr=train.adam_lr / 3)
    rows = train.batch_size or 48
    if rows < 3:
        raise ValueError(f"`batch_size` must be at least 3, got {rows}: real and imagined frames")
    world = load(str(init), device=device)
    tokenizer = load(str(init), device=device, dtype=torch.float32).tokenizer
    check_fit(world, data, "data")
    train_on, held_out = hold_out(data, test)
    dreams = imagined(world, train_on, clips, out / "dreams.safetensors")
    judged = cut_usual(held_out, 64)

    def sample(g: torch.Generator, _progress: float) -> Dreams:
        index = torch.randint(len(dreams.frames), (rows,), generator=g)
        return Dreams(dreams.frames[index], dreams.real[index], dreams.imagined[index])

    def with_decoder(decoder: nn.Module) -> World:
        world.tokenizer.decoder.load_state_dict(decoder.state_dict())
        return world

    def evaluate(decoder: nn.Module) -> dict[str, float]:
        return rollout_quality(with_decoder(decoder), judged)

    decoder = deepcopy(tokenizer.decoder).requires_grad_(True)
    loss = partial(_loss, tokenizer)
    best = fit(decoder, sample, loss, train, out, evaluate=evaluate, name="decoder")
    scores = {share: evaluate(between(tokenizer.decoder, best, share))["score"] for share in WAYS}
    share = max(scores, key=scores.get)
    if share:
        world.cfg.doubt = {}  # told by what the old decoder painted
        world.learned_from |= set(tags(train_on))
    else:
        warnings.warn("nothing was gained: the decoder stays as it was", stacklevel=2)
    with_decoder(between(tokenizer.decoder, best, share)).save(out / "world")
    return world


def _loss(tokenizer: Tokenizer, decoder: nn.Module, _ema, batch: Dreams, _progress, _g) -> tuple:
    """Score what is decoded from real latents, a share of the batch, and from imagined ones."""
    n = round(REAL * len(batch.frames))
    z = torch.cat([batch.real[:n], batch.imagined[n:]])
    error = decoder(tokenizer.unscale(z.float())).float() - tokenizer.to_float(batch.frames)
    square = error.square().mean((1, 2, 3))
    edges = sum(torch.diff(error[:n], dim=d).square().mean() for d in (2, 3))
    metrics = {"real_mse": square[:n].mean() / 4, "imagined_mse": square[n:].mean() / 4}
    total = square.mean() + REAL * tokenizer.cfg.edge_weight * edges
    return total, {name: value.item() for name, value in metrics.items()}


@torch.no_grad()
def between(one: nn.Module, other: nn.Module, share: float) -> nn.Module:
    """Return a module a share of the way from one to another of the same architecture."""
    mixed = deepcopy(one)
    for weight, far in zip(mixed.parameters(), other.parameters(), strict=True):
        weight.lerp_(far.to(weight), share)
    return mixed


def imagined(world: World, data: Episodes, count: int, path: Path) -> Dreams:
    """Let a world go on from `count` clips of a data set; or read what an interrupted run made."""
    parts = f"{checksum(world.dynamics):08x} {checksum(world.tokenizer):08x} {world.cfg.refresh}"
    about = {"world": parts, "clips": str(count), "data": fingerprint(data)}
    if path.exists():
        tensors, was = read_tensors(path)
        if {name: was.get(name) for name in about} != about:
            raise ValueError(
                f"{path.parent} was begun with another world, recordings or number of clips, got "
                f"{was} there, {about} here; choose another `out`"
            )
        return Dreams(**tensors)
    parts: dict[str, list[Tensor]] = {"frames": [], "real": [], "imagined": []}
    clips = cut_usual(data, count)
    for first in range(0, len(clips), CHUNK):
        some = clips.rows(np.arange(first, min(first + CHUNK, len(clips))))
        made = dream(
            world, some.given, some.actions, some.horizon, known=some.known, seed=first, variety=0.0
        )
        parts["frames"].append(torch.from_numpy(some.future).flatten(0, 1))
        parts["real"].append(world.encode(some.future).flatten(0, 1).bfloat16().cpu())
        parts["imagined"].append(made.latents.flatten(0, 1).bfloat16().cpu())
    dreams = Dreams(**{name: torch.cat(part) for name, part in parts.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, vars(dreams), about)
    return dreams
