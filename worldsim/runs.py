"""A training's settings, and what it carries from step to step and over an interruption."""

import json
import math
import zlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from worldsim.files import read_tensors, write_tensors
from worldsim.limits import check_least, check_shares
from worldsim.logs import WandbConfig
from worldsim.machine import cpp_compiler
from worldsim.optim import MuonAdamW
from worldsim.processes import rank

LOOKBACK = 0.1  # share of the budget over which weights are averaged, at most
AGAIN = 0.03  # share of a second part's budget until its learning rate is full


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
