"""A tiny world with random weights, for every test that needs one."""

import os
import signal

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("SDL_AUDIODRIVER", "dummy")

import numpy as np
import pytest
import torch
from gymnasium import spaces

from worldsim.architecture import DynamicsConfig
from worldsim.dynamics import Dynamics
from worldsim.space_json import space_to_json
from worldsim.starts import Starts
from worldsim.tokenizer import Tokenizer, TokenizerConfig
from worldsim.world import World, WorldConfig

# A shell starts what runs in the background deaf to Ctrl-C, and its children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

DRIVE = spaces.Box(np.array([-1, 0, 0], np.float32), np.ones(3, np.float32))
KEYS = [[[], [0, 0, 0]], [["left"], [-1, 0, 0]], [["left", "up"], [-1, 1, 0]], [["d"], [1, 0, 0]]]
CAPTIONS = ("a desert road", "a snowy forest at night", "a city street in the rain")


def make_tiny_world(
    action_space: spaces.Space = DRIVE,
    *,
    width: int = 32,
    dim: int = 64,
    endless: bool = False,
    **overrides,
) -> World:
    """Build a world of 32x32 frames and 16 tokens with no weight at zero, in float32.

    Its prompts are its start clips' captions, whose embeddings are random and need no encoder.
    Unless it is `endless`, it may take any frame for the end of an episode.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = space_to_json(action_space)
        low, high = action_scale(action_space)
        tokenizer = TokenizerConfig(width=width, blocks=1)
        dynamics = DynamicsConfig(
            dim=dim,
            depth=4,
            heads=2,
            patch=2,
            context=8,
            action_dim=len(low),
            cells=16,
            stem=1,
            tail=1,
        )
        models = Tokenizer(tokenizer), Dynamics(dynamics)
        torch.nn.init.zeros_(models[1].agent.bias)
        for parameter in (p for model in models for p in model.parameters()):
            parameter.data += 0.05 * torch.randn_like(parameter)
            parameter.requires_grad_(False)
        if endless:
            models[1].agent.bias[dynamics.bins] = -100
        settings = {"sampler_steps": 2, "horizon": 40, "keys": KEYS, "prompts": list(CAPTIONS)}
        cfg = WorldConfig(
            "tiny", 10, (32, 32), data, low, high,
            tokenizer=tokenizer, dynamics=dynamics, **settings | overrides,
        )  # fmt: skip
        clips = torch.randn(3, 6, 8, 8, 8).bfloat16(), 2 * torch.rand(3, 6, len(low)) - 1
        words = tuple(torch.randn(length, 384).bfloat16() for length in (4, 9, 6))
        known = torch.ones(3, 6, dtype=torch.bool)
        return World(cfg, *models, Starts(*clips, known, CAPTIONS, words))


def action_scale(space: spaces.Space) -> tuple[list[float], list[float]]:
    """Return what a world of this space scales its actions by."""
    from worldsim.spaces import action_bounds

    return tuple(bound.tolist() for bound in action_bounds(space))


@pytest.fixture(scope="session")
def tiny_world() -> World:
    """A world in memory, float32."""
    return make_tiny_world()


@pytest.fixture(scope="session")
def tiny_world_path(tiny_world, tmp_path_factory) -> str:
    """The folder of the same world; its weights are rounded to bfloat16 there."""
    return str(tiny_world.save(tmp_path_factory.mktemp("worlds") / "tiny"))
