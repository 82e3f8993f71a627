"""A training as `worldsim train` starts it: alone, or as one of the processes of `torchrun`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from omegaconf import MISSING

from worldsim.corruption import ObjectiveConfig
from worldsim.devices import choose_device
from worldsim.finishing import train_decoder
from worldsim.limits import check_choice
from worldsim.recipes import train_dynamics, train_tokenizer
from worldsim.runs import TrainConfig
from worldsim.sizes import ModelConfig


@dataclass
class LaunchConfig(TrainConfig):
    """What to train, on what, and for how long."""

    stage: str = MISSING
    """tokenizer (first), dynamics (on its latents), decoder (last, on what `init` imagines)."""
    data: str = MISSING
    """Folder of the data set."""
    out: str = ""
    """Folder of the run; runs/<stage> if empty. A run that is there is resumed."""
    tokenizer: str = ""
    """Run or world whose tokenizer to use (dynamics); that of `init` if empty."""
    test: str = ""
    """Held-out data set; every 50th episode of `data` if empty."""
    more: tuple[str, ...] = ()
    """Data sets of frames of other sizes to learn from as well."""
    init: str = ""
    """World or run whose weights to start from; fresh ones if empty."""
    device: str = ""
    """Where to train; chosen if empty."""
    model: ModelConfig = field(default_factory=ModelConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("stage", self.stage, STAGES)
        if self.stage == "dynamics" and not (self.tokenizer or self.init):
            raise ValueError(
                "stage=dynamics needs a `tokenizer`, got nothing; train one with stage=tokenizer "
                "and add tokenizer=runs/tokenizer, or init=<world>"
            )
        if self.stage == "decoder" and not self.init:
            raise ValueError("stage=decoder needs a world to finish, got no `init`; try init=drive")
        self.more = tuple(self.more)
        if self.stage == "decoder" and self.more:
            raise ValueError(f"stage=decoder learns from `data` alone, got more={list(self.more)}")
        if self.stage != "dynamics":
            self._check_unread()
        self.out = self.out or f"runs/{self.stage}"

    def _check_unread(self) -> None:
        """Refuse what only stage=dynamics reads."""
        if self.tokenizer:
            raise ValueError(
                f"`tokenizer` is for stage=dynamics, got tokenizer={self.tokenizer} with "
                f"stage={self.stage}; weights to start from are named by `init`"
            )
        unread = {"motion": 0.0} if self.stage == "tokenizer" else {}
        if replace(self.objective, **unread) != ObjectiveConfig():
            raise ValueError(
                f"`objective` is for stage=dynamics (`objective.motion` for stage=tokenizer, too), "
                f"got {self.objective} with stage={self.stage}; leave it out"
            )

    @property
    def budget(self) -> TrainConfig:
        """The part that `fit` takes."""
        return TrainConfig(**{f.name: getattr(self, f.name) for f in fields(TrainConfig)})


def launch(cfg: LaunchConfig) -> None:
    """Train one stage and say what comes next."""
    with _processes(cfg.device) as device:
        shared = {
            "test": cfg.test or None,
            "init": cfg.init or None,
            "device": device,
            "train": cfg.budget,
        }
        print(STAGES[cfg.stage](cfg, shared))


def _tokenizer(cfg: LaunchConfig, shared: dict) -> str:
    train_tokenizer(
        cfg.data, cfg.out,
        model=cfg.model, more=cfg.more, motion=cfg.objective.motion, **shared,
    )  # fmt: skip
    return (
        f"{cfg.out}: a tokenizer; go on with "
        f"worldsim train stage=dynamics data={cfg.data} tokenizer={cfg.out}"
    )


def _dynamics(cfg: LaunchConfig, shared: dict) -> str:
    train_dynamics(
        cfg.data, cfg.tokenizer or cfg.init, cfg.out,
        model=cfg.model, more=cfg.more, objective=cfg.objective, **shared,
    )  # fmt: skip
    return _made(cfg)


def _decoder(cfg: LaunchConfig, shared: dict) -> str:
    if "LOCAL_RANK" in os.environ:
        raise ValueError(
            "stage=decoder runs in one process, got several by torchrun; start it alone"
        )
    world = train_decoder(cfg.data, out=cfg.out, **shared)
    anew = f"worldsim evaluate world={cfg.out}/world data=HELD_OUT sections=doubt keep=true"
    return _made(cfg) + ("" if world.cfg.doubt else f"\nits alarm is to be calibrated: {anew}")


def _made(cfg: LaunchConfig) -> str:
    world = Path(cfg.out) / "world"
    return f"{world}: a world; go on with worldsim play world={world}"


STAGES = {"tokenizer": _tokenizer, "dynamics": _dynamics, "decoder": _decoder}


@contextmanager
def _processes(device: str) -> Iterator[str]:
    """Join the process group where `torchrun` started this process; yield the device to use."""
    mine = os.environ.get("LOCAL_RANK")
    if mine is not None and device in ("", "cuda") and torch.cuda.is_available():
        device = f"cuda:{mine}"
    device = choose_device(device)
    if mine is None:
        yield str(device)
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    patience = timedelta(hours=6)  # the first process encodes what all learn from
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=patience)
    try:
        yield str(device)
    finally:
        dist.destroy_process_group()
