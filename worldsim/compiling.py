"""Layers and whole steps as machine code that torch makes for them; needs a C++ compiler.

A step of training is bound by memory: compiled layers go through it once where single operations
do so many times. Each kind of layer is compiled once for batches of all shapes, which takes two
minutes in all; whole models are compiled for every shape anew.

At batch 1 a step of a rollout is bound by hundreds of small operations; compiled, with the weights
packed into the code, they become few: 9.4 in place of 13.4 ms (one core). The first step takes half
a minute or more, and so does that of each other number of worlds. On two threads what torch makes
is four times as slow as what it runs without, so larger batches are left alone. Prompts are padded
to one of two lengths, so that another prompt seldom means to compile again.
"""

from copy import copy

import torch
import torch._dynamo.config
import torch._inductor.config
import torch.nn.functional as F
from torch import Tensor, nn

from worldsim.blocks import Block, CellBlock
from worldsim.devices import FEW
from worldsim.frames import Frames, Prediction, Prompts, Text
from worldsim.kv_cache import KVCache
from worldsim.text import MAX_TOKENS
from worldsim.tokenizer import ResidualBlock
from worldsim.world import World

LENGTHS = (64, 1 + MAX_TOKENS)  # of prompts, the null word counted in


def compile_layers(model: nn.Module) -> None:
    """Compile the layers of a model that is to be trained, in place, when they first run."""
    # what learns and what does not, with and without the agent, one frame or many: each its own
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 32)
    for layer in model.modules():
        if isinstance(layer, Block | CellBlock | ResidualBlock):
            layer.compile(dynamic=True)


def compiled(world: World) -> World:
    """Return the same world, sharing its weights, with compiled steps.

    What is compiled is the pass that commits a frame and drafts the next one: all of a step at
    `sampler_steps=1`, the first of several passes otherwise.
    """
    plain = world.dynamics
    quick = torch.compile(plain.step, dynamic=False)

    def read_prompts(prompts: Prompts | None, like: Tensor) -> Text:
        text = plain.read_prompts(prompts, like)
        length = text.mask.shape[-1]
        room = next((most - length for most in LENGTHS if most >= length), 0)
        words = [tuple(F.pad(part, (0, 0, 0, room)) for part in pair) for pair in text.words]
        return Text(words, F.pad(text.mask, (0, room)), text.gist)

    def step(
        frames: Frames, positions: Tensor, cache: KVCache, text: Text, *,
        single: bool, agent: bool = False, latents: bool = True,
    ) -> Prediction:  # fmt: skip
        usual = positions.shape[1] == 2 and agent and latents and _is_small(positions)
        run = quick if usual else plain.step
        with torch._inductor.config.patch(freezing=True):  # packs the weights; no option of a call
            how = {"single": single, "agent": agent, "latents": latents}
            return run(frames, positions, cache, text, **how)

    fast = copy(world)
    fast.dynamics = copy(plain)
    fast.dynamics.step, fast.dynamics.read_prompts = step, read_prompts
    return fast


def _is_small(batch: Tensor) -> bool:
    """Say whether a batch is faster compiled."""
    few = batch.device.type != "cpu" or len(batch) < FEW
    return few and not torch.is_grad_enabled()
