"""What `test_training` starts under torchrun: each process trains and keeps its weights."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from test_training import loss, sample, small_model, weights

from worldsim.training import TrainConfig, WandbConfig, fit

out = Path(sys.argv[1])
dist.init_process_group("gloo")
cfg = TrainConfig(minutes=0.02, warmup=0, wandb=WandbConfig("disabled"))
model = small_model()
fit(model, sample, loss, cfg, out, evaluate=lambda ema: {"score": 1.0})
torch.save(weights(model), out / f"{dist.get_rank()}.pt")
dist.destroy_process_group()
