"""Tests that `test_device` starts: a world is trained, played and measured on another device.

Few machines have a GPU, and what only fails there would be seen by none of the other tests. So a
second device is made up: torch keeps a name for devices that are written in Python. Its tensors
hold CPU tensors, and refuse to meet others in the ways in which CUDA's do: only copies cross over,
numbers (tensors without axes) come along, and a tensor may be indexed by one on the CPU. It has no
autocast: what bf16 does to a training on CUDA is not seen here.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, make_tiny_world
from test_evaluation import QUICK, drives  # noqa: F401
from test_training import toy_data
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

import worldsim
from worldsim.corruption import ObjectiveConfig
from worldsim.evaluation import evaluate
from worldsim.logs import WandbConfig
from worldsim.text import TextEncoder

AWAY = "away"
COPIES, INDEXED = ("aten::_to_copy", "aten::copy_"), ("aten::index", "aten::index_put_")


class Away(torch.Tensor):
    """A tensor that is said to be elsewhere; `held` has its numbers."""

    @staticmethod
    def __new__(cls, held):
        with torch._C._InferenceMode(False):
            about = {"strides": held.stride(), "dtype": held.dtype, "device": torch.device(AWAY, 0)}
            made = torch.Tensor._make_wrapper_subclass(cls, held.shape, **about)
        made.held = held
        return made

    @classmethod
    def __torch_dispatch__(cls, run, _types, args=(), kwargs=None):
        return dispatch(run, args, kwargs or {})


def each(change, x):
    """Change what lists in lists hold; torch's own `tree_map` takes twice as long."""
    if isinstance(x, list | tuple):
        return type(x)([each(change, part) for part in x])
    return change(x)


def held(x):
    return x.held if isinstance(x, Away) else x


def dispatch(run, args, kwargs):
    """Do on the CPU what is asked of one device; refuse what is asked of two."""
    name, everything = run._schema.name, []
    each(everything.append, [*args, *kwargs.values()])
    if name == "aten::to":
        with Dispatch():
            return run.decompose(*args, **kwargs)
    away = [x for x in everything if isinstance(x, Away)]
    here = [x for x in everything if isinstance(x, torch.Tensor) and not isinstance(x, Away)]
    if name in INDEXED and isinstance(args[0], Away):
        here = [x for x in args[2:3] if not isinstance(x, Away)]
    if away and any(x.dim() for x in here) and name not in COPIES:
        raise RuntimeError(f"expected all tensors of {name} to be on the same device")
    device = kwargs.get("device")
    there = torch.device(device).type == AWAY if device else bool(away)
    if there and any(isinstance(x, torch.Generator) for x in everything):
        raise RuntimeError(f"expected a generator on the device, got one on the CPU for {name}")
    kwargs = kwargs | ({"device": "cpu"} if device else {})
    made = run(*each(held, args), **{key: each(held, x) for key, x in kwargs.items()})
    if name.endswith("_"):
        return args[0]
    return each(lambda x: Away(x) if isinstance(x, torch.Tensor) else x, made) if there else made


class Dispatch(TorchDispatchMode):
    """Catches what makes tensors from nothing."""

    def __torch_dispatch__(self, run, _types, args=(), kwargs=None):
        return dispatch(run, args, kwargs or {})


class Functions(TorchFunctionMode):
    """Catches what torch does in C++ before it asks any device."""

    def __torch_function__(self, run, _types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if run is torch.Tensor.__format__:
            return format(held(args[0]), args[1])
        if run in (torch.tensor, torch.as_tensor) and kwargs.get("device"):
            return run(*args, **kwargs | {"device": "cpu"}).to(kwargs["device"])
        if run in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
            at = args[1] if isinstance(args[1], tuple) else (args[1],)
            at = tuple(torch.tensor(i) if isinstance(i, list | np.ndarray) else i for i in at)
            args = (args[0], at, *args[2:])
        return run(*args, **kwargs)


BACKEND = SimpleNamespace(  # what torch asks about it
    is_available=lambda: False,
    device_count=lambda: 0,
    manual_seed_all=lambda seed: None,
    _is_in_bad_fork=lambda: False,
    get_amp_supported_dtype=lambda: [torch.bfloat16],
)


@pytest.fixture(scope="module")
def name():
    _setup_privateuseone_for_python_backend(AWAY, BACKEND)
    return AWAY


@pytest.fixture(autouse=True)
def away(name, monkeypatch):
    """Lets a test name the device."""
    monkeypatch.setattr(torch.__future__, "_overwrite_module_params_on_conversion", True)
    with Functions(), Dispatch():
        yield name


@pytest.fixture
def world(away):
    made = make_tiny_world(doubt={"weights": [0.01] * 21, "bias": 0.0})
    made.tokenizer.to(away), made.dynamics.to(away)
    made.words = lambda prompt: torch.ones(1 + len(prompt) % 3, 384)
    return made


def test_the_device_refuses_what_cuda_refuses(away):
    there, here = torch.ones(2, 3, device=away), torch.ones(2, 3)
    assert (there[torch.tensor([1])] + torch.tensor(1.0)).cpu().tolist() == [[2, 2, 2]]
    for mixed in (
        lambda: there + here,
        lambda: here[torch.ones(2, device=away).long()],
        lambda: torch.cat([here, there]),
        lambda: there.index_put_([torch.tensor([0])], here[:1]),
        lambda: torch.randn(2, generator=torch.Generator(), device=away),
        there.numpy,
    ):
        with pytest.raises((RuntimeError, TypeError)):
            mixed()


ALWAYS = {"local_until": 0.0, "bootstrap_from": 0.0, "bootstrap": 0.5, "motion": 0.5}
OBJECTIVES = {
    "causal": ObjectiveConfig(lone=0, causal=1, own_past=0.6, noisy_past=0.5, **ALWAYS),
    "full": ObjectiveConfig(lone=0, causal=0, isolated=0.3, **ALWAYS),
    "lone": ObjectiveConfig(lone=1, **ALWAYS),
    "local": ObjectiveConfig(lone=0, local_until=1),
}


def test_every_stage_trains_and_goes_on_later(away, tmp_path, monkeypatch):
    """No batch reached the device, nor did the tokenizer where a run of the dynamics went on."""
    encode = lambda _, captions: [torch.ones(len(c), 384).half() for c in captions]  # noqa: E731
    monkeypatch.setattr(TextEncoder, "encode", encode)
    data = toy_data(steps=10)
    data = worldsim.MemoryDataset(data.info, [replace(e, captions=("grey",)) for e in data])
    model = worldsim.model_config("tiny")
    model.dynamics.context, model.dynamics.depth = 4, 2
    quick = {"minutes": 0.0, "wandb": WandbConfig("disabled"), "device": away, "batch_size": 4}
    sized = quick | {"model": model}
    for steps in (1, 2):
        worldsim.train_tokenizer(data, tmp_path / "tok", motion=0.5, steps=steps, **sized)
    for steps, objective in enumerate(OBJECTIVES.values(), 1):
        worldsim.train_dynamics(
            data, tmp_path / "tok", tmp_path / "dyn", objective=objective, steps=steps, **sized
        )
    for steps in (1, 2):
        worldsim.train_decoder(
            data, tmp_path / "dyn/world", tmp_path / "fin", clips=2, steps=steps, **quick
        )


@pytest.mark.parametrize("obs", ["pixels", "torch", "latents"])
def test_episodes_begin_go_on_and_go_back(world, away, obs):
    envs = worldsim.WorldVectorEnv(world, 2, obs=obs, horizon=2)
    envs.reset(seed=0, options={"prompt": [CAPTIONS[0], None]})
    for _ in range(3):
        observation = envs.step(envs.action_space.sample())[0]
    assert obs == "pixels" or observation.device.type == away
    clip = np.zeros((3, 32, 32, 3), np.uint8)
    envs.reset(options={"frames": [clip, clip[:2]], "reset_mask": np.array([True, False])})
    moment = envs.snapshot()
    envs.set_prompt("a wall")
    envs.step(envs.autopilot_action())
    envs.restore(moment)
    envs.render()
    envs.reset(options={"start": "nearest", "prompt": CAPTIONS[1]})


def test_films_are_made_in_every_way(world):
    clip, few = np.zeros((5, 32, 32, 3), np.uint8), {"sampler_steps": 2}
    known = np.arange(5 * 32 * 32).reshape(5, 32, 32) % 999 > 99
    worldsim.text_to_video(world, CAPTIONS[0], frames=3, guidance=2.0)
    worldsim.text_to_video(world, CAPTIONS[0], frames=18, mode="full", guidance=2.0, **few)
    worldsim.extend(world, clip, before=2, after=2, video_actions=np.zeros((4, 3)), **few)
    worldsim.infill(world, clip, known, **few)
    worldsim.loop(world, frames=4, **few)
    worldsim.edit(world, clip, CAPTIONS[0], **few)


def test_frames_drift_and_doubts_are_measured(world, drives):  # noqa: F811
    report = evaluate(world, drives, sections=("fidelity", "drift", "doubt", "probe"), **QUICK)
    assert not any("left out" in figures for figures in report.figures.values())
