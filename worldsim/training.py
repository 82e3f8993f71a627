"""One loop, `fit`, that trains the tokenizer and the dynamics model.

The learning rate warms up, stays, and falls to zero over most of the budget, or of each of its two
parts. A checkpoint holds the masters in fp32, their moving average, optimizer state and every
random state in one safetensors file that is replaced atomically, so a run resumes exactly where it
stopped. SIGINT and SIGTERM save first. Under `torchrun` the same loop averages gradients over
processes.
"""

import json
import math
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from copy import deepcopy
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from worldsim.compiling import compile_layers
from worldsim.files import read_tensors, write_tensors
from worldsim.holding import Hold
from worldsim.limits import check_least, check_shares
from worldsim.logs import Log, WandbConfig
from worldsim.machine import cpp_compiler
from worldsim.optim import MuonAdamW
from worldsim.processes import agree, catch_signals, distributed, rank, wait
from worldsim.world import has_bf16

LOOKBACK = 0.1  # share of the budget over which weights are averaged, at most
COMPILE_FROM = 40  # minutes of training that are worth two of compiling
AGAIN = 0.03  # share of a second part's budget until its learning rate is full

Batch = Any
Sample = Callable[[torch.Generator, float], Batch]  # random source, share that is over
# model, its moving average, batch, share of the training that is over, random source
Loss = Callable[
    [nn.Module, nn.Module, Batch, float, torch.Generator], tuple[Tensor, dict[str, float]]
]


@dataclass
class TrainConfig:
    """How long and how fast to train."""

    minutes: float = 30.0
    """Budget in minutes of wall clock; 0 for none."""
    steps: int = 0
    """Budget in train steps; 0 for none. The first budget to run out ends the training."""
    batch_size: int = 0
    """Frames (tokenizer, default 32; decoder, 48) or clips of `context` frames (dynamics, 8)."""
    accumulate: int = 1
    """Batches per train step."""
    muon_lr: float = 0.02
    """Learning rate of the matrices, convolutions among them."""
    adam_lr: float = 0.001
    """Learning rate of everything else."""
    ema: float = 0.998
    """Decay of the moving average of the weights in a step, at most."""
    warmup: int = 50
    """Train steps until the learning rate is full, at the beginning."""
    cooldown: float = 0.7
    """Share of the budget, or of each part of it, over which the learning rate falls to zero."""
    seed: int = 0
    threads: int = 0
    """CPU threads; 0 leaves torch's choice."""
    compile: bool | None = None
    """Whether to compile the layers: a third faster on a CPU, after two minutes. Left out, so it is
    where there are 40 minutes or more, and a C++ compiler."""
    save_minutes: float = 5.0
    """Minutes between checkpoints."""
    evaluate_minutes: float = 10.0
    """Minutes between evaluations on held-out episodes."""
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        if self.minutes <= 0 and self.steps <= 0:
            raise ValueError(
                "training needs a budget: set `minutes` or `steps` above 0, got neither"
            )
        if self.compile and cpp_compiler() is None:
            raise ValueError(
                "compile=true needs a C++ compiler, got none; install g++ or clang, or leave it out"
            )
        check_least(self, minutes=0, steps=0)
        check_least(self, batch_size=0, accumulate=1, muon_lr=0, adam_lr=0, warmup=0, threads=0)
        check_shares(self, "ema", "cooldown")


def checksum(model: nn.Module) -> int:
    """Return a number that tells weights apart, whatever dtype and device they are in."""
    total = 0
    for values in model.state_dict().values():
        total = zlib.crc32(values.detach().float().cpu().contiguous().numpy(), total)
    return total


class Run:
    """What a training carries from step to step and over an interruption."""

    def __init__(
        self,
        model: nn.Module,
        cfg: TrainConfig,
        device: torch.device,
        data: Sequence[str] = (),
        anew: float = 0.0,
    ) -> None:
        self.model, self.cfg, self.data, self.anew = model, cfg, list(data), anew
        self.ema = deepcopy(model).requires_grad_(False)
        self.optimizer = MuonAdamW(model, cfg.muon_lr, cfg.adam_lr)
        # other weights draw other batches: those that `init` knew by heart taught it nothing more
        self.g = torch.Generator().manual_seed(cfg.seed + 1000 * rank() + checksum(model))
        self.step, self.elapsed, self.best = 0, 0.0, -float("inf")
        self.averaged = 0.0  # progress when the average last moved
        self.skipped: float | None = None  # spent when the second part went on with more budget
        self.device = device

    @property
    def spent(self) -> float:
        """Share of the budget that is spent, in [0, 1]."""
        by_steps = self.step / self.cfg.steps if self.cfg.steps else 0.0
        by_time = self.elapsed / (60 * self.cfg.minutes) if self.cfg.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    @property
    def progress(self) -> float:
        """How far the training is, in [0, 1]; a first part that is over stays so."""
        if self.skipped is None:
            return self.spent
        return self.anew + (1 - self.anew) * (self.spent - self.skipped) / (1 - self.skipped)

    @property
    def lr_scale(self) -> float:
        """Share of the full learning rate in force now."""
        rise = (self.step + 1) / self.cfg.warmup if self.cfg.warmup else 1.0
        part = self.progress
        if part < self.anew:
            part /= self.anew
        elif self.anew:
            part = (part - self.anew) / (1 - self.anew) if self.anew < 1 else 1.0
            rise = part / AGAIN
        fall = (1 - part) / self.cfg.cooldown if self.cfg.cooldown else 1.0
        return max(0.0, min(1.0, rise, fall))

    @torch.no_grad()
    def update_ema(self) -> None:
        """Move the average a little towards the weights, faster where steps are few and far."""
        passed, self.averaged = self.progress - self.averaged, self.progress
        decay = min(self.cfg.ema, (1 + self.step) / (10 + self.step), math.exp(-passed / LOOKBACK))
        for average, p in zip(self.ema.parameters(), self.model.parameters(), strict=True):
            average.lerp_(p, 1 - decay)
        for average, buffer in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            average.copy_(buffer)

    def save(self, path: Path) -> None:
        """Write a checkpoint; the old one stays until the new one is whole."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"ema.{k}": v for k, v in self.ema.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in self.optimizer.state().items()}
        tensors["generator"] = self.g.get_state()
        tensors["torch_rng"] = torch.get_rng_state()
        facts = {"step": self.step, "elapsed": self.elapsed, "best": self.best}
        facts |= {"second": self.progress >= self.anew, "skipped": self.skipped}
        write_tensors(path, tensors, {"facts": json.dumps(facts), "data": json.dumps(self.data)})

    def load(self, path: Path) -> None:
        """Take over the checkpoint at `path`."""
        tensors, meta = read_tensors(path)
        was = json.loads(meta.get("data", "[]"))
        if was != self.data:
            there, here = ("; ".join(each) or "fresh weights" for each in (was, self.data))
            raise ValueError(
                "a run goes on with the recordings and from the weights it was begun with, got "
                f"{there} in {path}, {here} here; choose another `out`"
            )
        part = lambda name: {  # noqa: E731
            k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")
        }
        try:
            self.model.load_state_dict(part("model"))
            self.optimizer.load(part("optimizer"))
        except (RuntimeError, KeyError) as error:
            raise ValueError(
                "a run goes on with the architecture it was begun with, and the optimizer of that "
                f"worldsim, got another in {path}; choose another `out`"
            ) from error
        self.ema.load_state_dict(part("ema"))
        self.g.set_state(tensors["generator"])
        torch.set_rng_state(tensors["torch_rng"])
        facts = json.loads(meta["facts"])
        if rank() > 0:  # the checkpoint is that of the first process
            self.g.manual_seed(self.cfg.seed + 1000 * rank() + facts["step"])
        self.step, self.elapsed, self.best = facts["step"], facts["elapsed"], facts["best"]
        self.skipped = facts.get("skipped")
        if facts.get("second") and self.progress < self.anew:
            self.skipped = self.spent
        self.averaged = self.progress


def fit(
    model: nn.Module,
    sample: Sample,
    loss: Loss,
    cfg: TrainConfig,
    out: Path,
    *,
    data: Sequence[str] = (),
    anew: float = 0.0,
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
            run.best = max(run.best, _score_of(out / "best.safetensors"))  # judged after that
        if cfg.threads:
            torch.set_num_threads(cfg.threads)
        if _compiles(cfg, device):
            compile_layers(model)
        with closing(Log(out, cfg.wandb, asdict(cfg), name, progress)) as log:
            judge = partial(_judge, run, evaluate, pictures, out, log) if evaluate else None
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


def _judge(run: Run, evaluate: Callable, pictures: Callable | None, out: Path, log: Log) -> None:
    """Evaluate the moving average and keep it as `best.safetensors` if it scores best so far.

    A second part may teach what the score does not see: only its second half counts.
    """
    if rank() > 0:
        return
    scores = evaluate(run.ema)
    counts = not run.anew or run.progress >= (1 + run.anew) / 2
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
    return float(read_tensors(path)[1].get("score", "-inf")) if path.exists() else -math.inf


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Move a tensor, or the tensors of a dataclass, to `device`."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if not is_dataclass(batch) or device.type == "cpu":
        return batch
    return replace(batch, **{k: to_device(v, device) for k, v in vars(batch).items()})
