"""What `test_training` starts under torchrun: each process trains and keeps its weights."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from test_objective import film
from test_training import loss, sample, small_model, weights

from worldsim.clips import sampler
from worldsim.corruption import ObjectiveConfig
from worldsim.logs import WandbConfig
from worldsim.runs import TrainConfig
from worldsim.tokenizer import Tokenizer, TokenizerConfig
from worldsim.training import fit

out = Path(sys.argv[1])
dist.init_process_group("gloo")
quiet = {"warmup": 0, "wandb": WandbConfig("disabled")}
by_time = fit(small_model(), sample, loss, TrainConfig(minutes=0.02, **quiet), out / "time")

torch.manual_seed(0)
tokenizer = Tokenizer(TokenizerConfig(width=16, blocks=1))
frames = lambda g, _: torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8, generator=g)  # noqa: E731
by_steps = fit(
    tokenizer, frames, lambda model, _e, batch, _p, _g: model(batch),
    TrainConfig(steps=3, **quiet), out / "steps",
)  # fmt: skip

g = torch.Generator().manual_seed(dist.get_rank())
draw = sampler([film()], 8, 32, ObjectiveConfig())
batches = [draw(g, 1.0) for _ in range(20)]
kinds = [(batch.causal, batch.clips.latents.shape) for batch in batches]
seen = torch.cat([batch.clips.actions.flatten() for batch in batches])
torch.save([weights(by_time), weights(by_steps), kinds, seen], out / f"{dist.get_rank()}.pt")
dist.destroy_process_group()
