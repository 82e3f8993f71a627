"""Moments on disk: a stage is saved to one safetensors file and goes on from there another day.

Numbers go into tensors, everything else as JSON into the file's metadata. An env without snapshots
is saved as its seed and actions, which it repeats.
"""

import hashlib
import json
from collections import deque
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from worldsim.files import read_tensors, write_tensors
from worldsim.kv_cache import KVCache
from worldsim.moments import EnvSnapshot, Snapshot
from worldsim.openings import Opening, Wish
from worldsim.viewing.insides import limits_of
from worldsim.viewing.stage import PAST_STEPS, Mark, Stage
from worldsim.viewing.tape import Moment, Tape

FORMAT = 7
KINDS = {c.__name__: c for c in (EnvSnapshot, Snapshot, KVCache, Wish, Opening, Moment)}


def write_slot(path: Path, stage: Stage) -> None:
    """Save the present moment of a stage; an older file stays until the new one is whole.

    Raises:
        ValueError: If the env's snapshot holds what no file can.
    """
    mark = stage.mark()
    repeated = mark.state is None
    content = {
        "state": mark.state,
        "observation": None if repeated else mark.observation,
        "moment": stage.moment,
        "options": stage.tape.options,
        "lead": stage.tape.lead,
        "scene": stage.tape.scene,
        "actions": stage.tape.actions if repeated else [],
    }
    tensors: dict[str, torch.Tensor] = {}
    data = _pack(content, tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"format": str(FORMAT), "title": stage.title, "of": fingerprint(stage)}
    write_tensors(path, tensors, about | {"content": json.dumps(data)})


def read_slot(path: Path, stage: Stage) -> bool:
    """Bring a stage to the moment in a file; if that fails, it stays as it is.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or was saved in another world.
    """
    if not path.exists():
        raise FileNotFoundError(f"nothing is saved in {path}; save a moment first")
    tensors, about = read_tensors(path)
    if about.get("format") != str(FORMAT) or "content" not in about:
        raise ValueError(
            f"{path} must be a slot of format {FORMAT}, got {about.get('format')!r}; save it anew"
        )
    if about["of"] != fingerprint(stage):
        raise ValueError(
            f"a slot goes on in the world that it was saved in, got one of {about['title']} with "
            f"other weights or settings than {stage.title} has now; choose another slot"
        )
    content = _unpack(json.loads(about["content"]), tensors)
    state = content["state"]
    if state is not None:
        state = _settle(state[0], stage.env.unwrapped.snapshot()), state[1]
    moment = content["moment"]
    tape = Tape(moment, content["options"], tuple(content["lead"]), content["scene"])
    tape.actions = list(content["actions"])
    return stage.become(Mark(state, content["observation"], tape, deque(maxlen=PAST_STEPS)))


def fingerprint(stage: Stage) -> str:
    """Return what tells one world from another: settings and weights, or an env's id."""
    limits = [limit._max_episode_steps for limit in limits_of(stage.env)]
    digest = hashlib.sha256(repr(limits).encode())
    world = stage.world
    if not hasattr(world, "dynamics"):
        spec = stage.env.spec
        kwargs = {k: v for k, v in spec.kwargs.items() if k != "render_mode"} if spec else {}
        name = spec.id if spec else type(stage.env.unwrapped).__name__
        digest.update(repr((name, sorted(kwargs.items()))).encode())
        return digest.hexdigest()
    digest.update(json.dumps(asdict(world.cfg), sort_keys=True).encode())
    env = stage.env.unwrapped
    if hasattr(env, "rollout"):  # what it was made with may differ from the world's own
        rollout = env.rollout
        asked = rollout.steps, rollout.guidance, rollout.variety, env.horizon, *rollout.frame_size
        digest.update(np.array(asked, np.float64).tobytes())
    digest.update(world.tag.encode())
    return digest.hexdigest()


def _pack(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Return JSON for `value`; tensors and arrays are put aside under numbers."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.Tensor | np.ndarray):
        name = str(len(tensors))
        array = isinstance(value, np.ndarray)
        tensors[name] = torch.from_numpy(value.copy()) if array else value.clone()
        return {"array" if array else "tensor": name}
    if isinstance(value, list | tuple | frozenset):
        return {type(value).__name__: [_pack(part, tensors) for part in value]}
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {"dict": {key: _pack(part, tensors) for key, part in value.items()}}
    if is_dataclass(value) and type(value).__name__ in KINDS:
        parts = {f.name: _pack(getattr(value, f.name), tensors) for f in fields(value)}
        return {type(value).__name__: parts}
    raise ValueError(f"a slot holds arrays and plain data, got {type(value).__name__}")


def _unpack(data: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Undo `_pack`."""
    if not isinstance(data, dict):
        return data
    ((kind, inner),) = data.items()
    if kind in ("tensor", "array"):
        return tensors[inner] if kind == "tensor" else tensors[inner].numpy()
    if kind == "dict" or kind in KINDS:
        parts = {key: _unpack(part, tensors) for key, part in inner.items()}
        return parts if kind == "dict" else KINDS[kind](**parts)
    make = {"list": list, "tuple": tuple, "frozenset": frozenset}[kind]
    return make(_unpack(part, tensors) for part in inner)


def _settle(value: Any, like: Any) -> Any:
    """Bring the tensors in `value` to the device and type of those in `like`."""
    if isinstance(value, torch.Tensor) and isinstance(like, torch.Tensor):
        return value.to(like.device, like.dtype)
    if is_dataclass(value) and type(value) is type(like):
        parts = {f.name: getattr(value, f.name) for f in fields(value)}
        return replace(value, **{n: _settle(v, getattr(like, n)) for n, v in parts.items()})
    return value
