"""From a data set to a tokenizer, and from both to a world.

`train_tokenizer` and `train_dynamics` put data, model, loss and measure together and leave the
loop to `fit`. Both resume an interrupted run in the same `out`, and both can start from the weights
of a shipped world or an earlier run (`init`).
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from worldsim.building import assemble, build_world
from worldsim.clips import draw_set, sampler
from worldsim.corruption import ObjectiveConfig
from worldsim.datasets.episodes import Episodes
from worldsim.datasets.subsets import fingerprint, hold_out, opened
from worldsim.devices import choose_device, fast_dtype
from worldsim.dynamics import Dynamics
from worldsim.files import write_tensors, write_text
from worldsim.objective import dynamics_loss
from worldsim.pixels import Film, Pixels
from worldsim.preparing import (
    check_text,
    dynamics_like,
    dynamics_weights,
    going_on,
    load_tokenizer,
    recordings_before,
    scaling_like,
    sensitivity_of,
    start_from,
    tokenised,
    weights_of,
    with_more,
)
from worldsim.processes import rank, wait
from worldsim.runs import TrainConfig
from worldsim.sizes import ModelConfig, model_config
from worldsim.tokenizer import Tokenizer
from worldsim.training import Loss, fit

BATCH = {"tokenizer": 32, "dynamics": 8}


def train_tokenizer(
    data: str | Path | Episodes,
    out: str | Path,
    *,
    model: str | ModelConfig = "small",
    test: str | Path | Episodes | None = None,
    more: Sequence[str | Path | Episodes] = (),
    init: str | Path | None = None,
    device: str | None = None,
    train: TrainConfig | None = None,
    motion: float = 0.0,
    progress: Callable[[float], None] | None = None,
    **overrides,
) -> Tokenizer:
    """Train a tokenizer on every frame of a data set.

    Args:
        data: Path of a data set, or a data set.
        out: Folder of the run: checkpoint, log, and in the end `tokenizer.safetensors`.
        model: A size, or an architecture.
        test: Held-out data set; by default every 50th episode of `data`.
        more: Data sets to learn from as well, of frames of other sizes; all count by their frames.
        init: World or run whose tokenizer's weights, and architecture, to start from.
        device: Where to train; CUDA if there is some, else the CPU.
        train: Budget and learning rates.
        motion: Share of the loss's weight that goes to pixels that change (less where fewer than
            one in a hundred does).
        progress: Told the share of the budget that is spent, in place of a bar.
        **overrides: Fields of `TrainConfig`, for short (`minutes=10`).

    Returns:
        The tokenizer with the best held-out PSNR.

    Raises:
        ValueError: If `init`, `more` or `test` do not fit, or `out` was begun with something else.
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is saved.
    """
    out, device, data = Path(out), choose_device(device), opened(data)
    arch = model_config(model) if isinstance(model, str) else model
    cfg = arch.tokenizer
    started = load_tokenizer(init) if init else None
    cfg = going_on(cfg, started.cfg) if started else cfg
    train = _budget(train, overrides, "tokenizer")
    train_on, held_out = hold_out(data, test)
    patch = 1 if started else arch.dynamics.patch  # of the dynamics that are to come
    sets = with_more(train_on, held_out, more, Tokenizer(cfg), patch)
    films = [Film.of(part) for part in sets]
    seen = Film.of(held_out).frames
    seen = seen[torch.linspace(0, len(seen) - 1, min(512, len(seen))).long()].to(device)
    torch.manual_seed(train.seed)
    tokenizer = Tokenizer(cfg).to(device, memory_format=torch.channels_last)
    begun = [fingerprint(part) for part in sets]
    if started:
        start_from(tokenizer, started.state_dict(), init)
        begun.append(weights_of(tokenizer))

    def sample(g: torch.Generator, _progress: float) -> Pixels:
        film = films[draw_set([len(film.frames) for film in films], g)]
        return film.sample(train.batch_size, motion, g)

    @torch.no_grad()
    def evaluate(ema: Tokenizer) -> dict[str, float]:
        errors = [ema.loss(part)[1]["mse"] for part in seen.split(64)]
        psnr = float(-10 * np.log10(np.mean(errors)))
        return {"psnr": psnr, "score": psnr}

    best = fit(
        tokenizer, sample,
        lambda model, _e, batch, _p, _g: model(batch.frames, batch.weight),
        train, out, data=begun, evaluate=evaluate, name="tokenizer", progress=progress,
    )  # fmt: skip
    frames = films[0].frames
    some = torch.randperm(len(frames), generator=torch.Generator().manual_seed(0))[:4096]
    best.fit_statistics(frames[some].to(device))
    if rank() == 0:
        write_text(out / "tokenizer.json", json.dumps(asdict(cfg), indent=2))
        write_tensors(out / "tokenizer.safetensors", best.state_dict())
    wait()
    return best


def train_dynamics(
    data: str | Path | Episodes,
    tokenizer: str | Path | Tokenizer,
    out: str | Path,
    *,
    model: str | ModelConfig = "small",
    test: str | Path | Episodes | None = None,
    more: Sequence[str | Path | Episodes] = (),
    init: str | Path | None = None,
    device: str | None = None,
    train: TrainConfig | None = None,
    objective: ObjectiveConfig | None = None,
    progress: Callable[[float], None] | None = None,
    **overrides,
):
    """Train a world's dynamics on a data set and save the world.

    Args:
        data: Path of a data set, or a data set.
        tokenizer: A tokenizer, or the folder of a run or world that has one.
        out: Folder of the run; the world lands in `out / "world"`.
        model: A size, or an architecture (its tokenizer part is not read).
        test: Held-out data set; by default every 50th episode of `data`.
        more: Data sets to learn from as well, of frames of other sizes; all count by their frames.
        init: World or run whose dynamics' weights to start from. The architecture is as there but
            for what `model` says beside its defaults: more layers, a longer context. One of a
            format before 6 has no part in which the convolutions learn alone.
        device: Where to train; CUDA if there is some, else the CPU.
        train: Budget and learning rates.
        objective: Mix of the batches and weights of the losses.
        progress: Told the share of the budget that is spent, in place of a bar.
        **overrides: Fields of `TrainConfig`, for short (`minutes=10`).

    Returns:
        The `World` with the best held-out rollout, of those in the second half of the last part.

    Raises:
        ValueError: If `init`, `more` or `test` do not fit, or `out` was begun with something else.
        KeyboardInterrupt: After Ctrl-C, once a checkpoint is saved.
    """
    out, device, data = Path(out), choose_device(device), opened(data)
    cfg = model_config(model) if isinstance(model, str) else model
    train, objective = _budget(train, overrides, "dynamics"), objective or ObjectiveConfig()
    tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else load_tokenizer(tokenizer)
    train_on, held_out = hold_out(data, test)
    scaling = scaling_like(train_on, init)
    arch = dynamics_like(cfg.dynamics, init) if init else cfg.dynamics
    arch = replace(arch, channels=tokenizer.cfg.channels, action_dim=len(scaling[0]))
    if init and not arch.apart:  # one painter for all: what it learns alone would cost it the rest
        objective = replace(objective, local_until=0.0)
    sets = with_more(train_on, held_out, more, tokenizer, arch.patch)
    check_text(*sets)
    torch.manual_seed(train.seed)
    dynamics = Dynamics(arch).to(device)
    begun = []
    if init:
        start_from(dynamics, dynamics_weights(init), init)
        begun.append(weights_of(dynamics))
    paths = [out / f"latents{f'-{i}' if i else ''}.safetensors" for i in range(len(sets))]
    films = [
        tokenised(part, tokenizer, path, device, not progress, scaling)
        for part, path in zip(sets, paths, strict=True)
    ]
    about, before = {"scaling": scaling, "more": sets[1:]}, recordings_before(init)
    evaluate, pictures = judge(train_on, held_out, tokenizer, about)
    eye = sensitivity_of(tokenizer, films[0].latents, device)
    settled = objective.settled and arch.apart and (bool(init) or objective.local_until > 0)
    last = objective.last_part(draws=arch.chance > 0)
    best = fit(
        dynamics, sampler(films, train.batch_size, arch.context, objective),
        _loss(dynamics, objective, eye, settled), train, out, data=begun,
        anew=objective.local_until, judged_from=(1 + last) / 2 if last else 0.0,
        evaluate=evaluate, pictures=pictures, name="dynamics", progress=progress,
    )  # fmt: skip
    world = build_world(train_on, *played(tokenizer, best), name=out.name, before=before, **about)
    if rank() == 0:
        world.save(out / "world")
    wait()
    return world


def _loss(dynamics: Dynamics, objective: ObjectiveConfig, eye: Tensor, settled: bool) -> Loss:
    """Return what `dynamics` learns from, with a teacher that plays as a world will."""
    device, joined = dynamics.agent.weight.device, []
    teacher = Dynamics(dynamics.cfg).to(device, fast_dtype(device)).requires_grad_(False)

    def loss(model, ema, batch, progress, g):  # noqa: ANN001
        if progress >= objective.local_until and not joined:
            joined.append(progress)
            for each in (dynamics, ema):
                each.join(settled)
        if progress >= objective.drawn_from and dynamics.cfg.chance:
            dynamics.requires_grad_(True)
        teacher.load_state_dict(ema.state_dict())
        return dynamics_loss(
            model, teacher, batch.clips, objective,
            causal=batch.causal, progress=progress, g=g, eye=eye,
        )  # fmt: skip

    return loss


def judge(
    train_on: Episodes, held_out: Episodes, tokenizer: Tokenizer, about: dict
) -> tuple[Callable, Callable]:
    """Return functions that score and picture a dynamics model; `about` is for `assemble`.

    The score is the gain over copy-the-last-frame, in dB, of rollouts on held-out clips: weights
    are chosen by what they are for, never by loss.
    """
    from worldsim.measuring.dreaming import dream, film_strip, rollout_quality
    from worldsim.measuring.heldout import cut_usual

    clips = cut_usual(held_out, 64)
    horizon = clips.horizon

    def world_of(ema: Dynamics):
        return assemble(train_on, *played(tokenizer, ema), name="in training", **about)

    def evaluate(ema: Dynamics) -> dict[str, float]:
        return rollout_quality(world_of(ema), clips)

    def pictures(ema: Dynamics) -> Tensor:
        some = clips.rows(np.arange(4))
        made = dream(world_of(ema), some.given, some.actions, horizon, known=some.known).frames
        rows = [video for pair in zip(some.future, made, strict=True) for video in pair]
        return torch.from_numpy(film_strip(rows))

    return evaluate, pictures


def played(tokenizer: Tokenizer, dynamics: Dynamics) -> list:
    """Return copies of both where `dynamics` is, in the dtype that worlds are played in."""
    device = dynamics.agent.weight.device  # the tokenizer of a resumed run need not be there
    return [deepcopy(model).to(device, fast_dtype(device)) for model in (tokenizer, dynamics)]


def _budget(train: TrainConfig | None, overrides: dict, stage: str) -> TrainConfig:
    train = replace(train or TrainConfig(), **overrides)
    return train if train.batch_size else replace(train, batch_size=BATCH[stage])
