"""One loop, `fit`, that trains the tokenizer and the dynamics model.

The learning rate warms up, stays, and falls to zero over most of the budget, or of each of its two
parts. A checkpoint holds the masters in fp32, their moving average, optimizer state and every
random state in one safetensors file that is replaced atomically, so a run resumes exactly where it
stopped. SIGINT and SIGTERM save first. Under `torchrun` the same loop averages gradients over
processes.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from dataclasses import asdict, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldsim.compiling import compile_layers
from worldsim.devices import has_bf16
from worldsim.files import read_metadata, read_tensors, write_tensors
from worldsim.holding import Hold
from worldsim.logs import Log
from worldsim.machine import cpp_compiler
from worldsim.processes import agree, catch_signals, distributed, rank, wait
from worldsim.runs import Run, TrainConfig

COMPILE_FROM = 40  # minutes of training that are worth two of compiling

Batch = Any
Sample = Callable[[torch.Generator, float], Batch]  # random source, share that is over
# model, its moving average, batch, share of the training that is over, random source
Loss = Callable[
    [nn.Module, nn.Module, Batch, float, torch.Generator], tuple[Tensor, dict[str, float]]
]


def fit(
    model: nn.Module,
    sample: Sample,
    loss: Loss,
    cfg: TrainConfig,
    out: Path,
    *,
    data: Sequence[str] = (),
    anew: float = 0.0,
    judged_from: float = 0.0,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    pictures: Callable[[nn.Module], Tensor] | None = None,
    name: str = "train",
    progress: Callable[[float], None] | None = None,
) -> nn.Module:
    """Train `model` until the budget is spent.

    Args:
        model: Trained in place; fp32 masters.
        sample: Draws a batch.
        loss: Computes loss and metrics of a batch.
        cfg: Budget, learning rates, logging.
        out: Folder for `checkpoint.safetensors` and `log.jsonl`; resumes from the former.
        data: What tells the recordings, where `sample` does not see to that, and the weights that
            `model` has from elsewhere.
        anew: Share of the budget after which the learning rate, fallen to zero, begins anew.
        judged_from: Share of the budget from which a score counts: what is learned late may be
            what the score does not see.
        evaluate: Judges the moving average; its `"score"` (higher is better) chooses `best`.
        pictures: Film strips `(h, w, 3)` uint8 to log with each evaluation.
        name: Label of the progress bar.
        progress: Told the share of the budget that is spent, in place of a bar.

    Returns:
        The moving average with the best score, or the last one without `evaluate`.

    Raises:
        ValueError: If `out` was begun with another architecture or other `data`.
        BlockingIOError: If another process trains in `out`.
        FloatingPointError: If the gradient is no longer finite; the checkpoint stays as it was.
        KeyboardInterrupt: After SIGINT or SIGTERM, once the checkpoint is saved.
    """
    device, checkpoint = next(model.parameters()).device, out / "checkpoint.safetensors"
    with Hold(out, f"trains in {out}") if rank() == 0 else nullcontext():
        run = Run(model, cfg, device, data, anew)
        if checkpoint.exists():
            run.load(checkpoint)
            run.best = _score_of(out / "best.safetensors")  # may have been judged, or lost, since
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        if _compiles(cfg, device):
            compile_layers(model)
        with closing(Log(out, cfg.wandb, asdict(cfg), name, progress)) as log:
            judged = run, evaluate, pictures, out, log, judged_from
            judge = partial(_judge, *judged) if evaluate else None
            if not _train(run, sample, loss, log, checkpoint, judge):
                raise KeyboardInterrupt(
                    f"stopped at step {run.step}; run again to resume from {checkpoint}"
                )
            if judge:
                judge()
                wait()
                run.ema.load_state_dict(read_tensors(out / "best.safetensors")[0])
        return run.ema


def _train(
    run: Run,
    sample: Sample,
    loss: Loss,
    log: Log,
    checkpoint: Path,
    judge: Callable[[], None] | None,
) -> bool:
    """Train until the budget is spent, or until a signal comes; say whether it is spent."""
    cfg, trained = run.cfg, distributed(run.model, run.device)
    clock = last_save = last_judged = time.monotonic()
    with catch_signals() as stopped:
        while run.progress < 1 and not stopped:
            metrics = _train_step(run, trained, sample, loss)
            now = time.monotonic()
            run.elapsed, clock = agree(run.elapsed + now - clock, stopped), now
            log.step(run.step, metrics, run.progress, run.elapsed)
            if judge and now - last_judged > 60 * cfg.evaluate_minutes and run.progress < 1:
                judge()
                last_judged = clock = time.monotonic()
            if now - last_save > 60 * cfg.save_minutes and rank() == 0:
                run.save(checkpoint)
                last_save = time.monotonic()
    if rank() == 0:
        run.save(checkpoint)
    return not stopped


def _compiles(cfg: TrainConfig, device: torch.device) -> bool:
    """Say whether layers are compiled: as asked for, else where it is known to pay."""
    if cfg.compile is not None:
        return cfg.compile
    return device.type == "cpu" and cfg.minutes >= COMPILE_FROM and cpp_compiler() is not None


def _train_step(run: Run, trained: nn.Module, sample: Sample, loss: Loss) -> dict[str, float]:
    run.optimizer.zero_grad()
    for _ in range(run.cfg.accumulate):
        batch = to_device(sample(run.g, run.progress), run.device)
        with torch.autocast(run.device.type, torch.bfloat16, enabled=has_bf16(run.device)):
            total, metrics = loss(trained, run.ema, batch, run.progress, run.g)
        (total / run.cfg.accumulate).backward()
    norm = nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
    if not torch.isfinite(norm):
        raise FloatingPointError(
            f"the gradient's norm must be finite, got {norm} at step {run.step}; lower `muon_lr` "
            f"(now {run.cfg.muon_lr}), or look at frames with `worldsim data preview`, at rewards "
            "and actions with `worldsim data inspect`"
        )
    run.optimizer.step(run.lr_scale)
    run.step += 1
    run.update_ema()
    return metrics | {"loss": total.item()}


def _judge(
    run: Run, evaluate: Callable, pictures: Callable | None, out: Path, log: Log, judged_from: float
) -> None:
    """Evaluate the moving average and keep it as `best.safetensors` if it scores best so far."""
    if rank() > 0:
        return
    scores = evaluate(run.ema)
    counts = run.progress >= judged_from
    score = scores["score"] if counts and math.isfinite(scores["score"]) else -math.inf
    if score > run.best or run.best == -math.inf:
        run.best = score
        meta = {"score": repr(run.best)}
        write_tensors(out / "best.safetensors", run.ema.state_dict(), meta)
    log.write(run.step, {f"eval/{k}": v for k, v in scores.items()} | {"minutes": run.elapsed / 60})
    if pictures:
        log.picture(run.step, pictures(run.ema))


def _score_of(path: Path) -> float:
    """Return what kept weights were judged to be worth, if there are any."""
    return float(read_metadata(path).get("score", "-inf")) if path.exists() else -math.inf


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a tensor, or the tensors of a dataclass, to `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if not is_dataclass(batch) or device.type == "cpu":
        return batch
    return replace(batch, **{k: to_device(v, device) for k, v in vars(batch).items()})
