"""Action spaces and actions in plain JSON, and back."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import Space

from worldsim.spaces import KINDS, unsupported


def space_to_json(space: Space) -> dict[str, Any]:
    """Describe `space` in plain JSON-able data; the inverse of `space_from_json`."""
    match space:
        case spaces.Discrete():
            n, start, dtype = int(space.n), int(space.start), space.dtype.name
            return {"type": "Discrete", "n": n, "start": start, "dtype": dtype}
        case spaces.MultiDiscrete():
            nvec, start = space.nvec.tolist(), space.start.tolist()
            return {
                "type": "MultiDiscrete",
                "nvec": nvec,
                "start": start,
                "dtype": space.dtype.name,
            }
        case spaces.MultiBinary():
            return {"type": "MultiBinary", "n": list(space.shape)}
        case spaces.Box():
            low, high = _bounds_to_json(space.low), _bounds_to_json(space.high)
            shape, dtype = list(space.shape), space.dtype.name
            return {"type": "Box", "low": low, "high": high, "shape": shape, "dtype": dtype}
        case spaces.Dict():
            parts = [[key, space_to_json(part)] for key, part in space.spaces.items()]
            return {"type": "Dict", "spaces": parts}
        case spaces.Tuple():
            return {"type": "Tuple", "spaces": [space_to_json(part) for part in space.spaces]}
    raise unsupported(space)


def space_from_json(data: dict[str, Any]) -> Space:
    """Build the space that `space_to_json` described."""
    kind = data.get("type") if isinstance(data, dict) else None
    match kind:
        case "Discrete":
            dtype = np.dtype(data.get("dtype", "int64")).type
            return spaces.Discrete(data["n"], start=data["start"], dtype=dtype)
        case "MultiDiscrete":
            nvec, start = np.array(data["nvec"]), np.array(data["start"])
            return spaces.MultiDiscrete(nvec, dtype=np.dtype(data["dtype"]).type, start=start)
        case "MultiBinary":
            n = data["n"]
            return spaces.MultiBinary(n[0] if len(n) == 1 else n)
        case "Box":
            dtype, shape = np.dtype(data["dtype"]), tuple(data["shape"])
            low, high = (_bounds_from_json(data[side], shape, dtype) for side in ("low", "high"))
            return spaces.Box(low, high, shape, dtype.type)
        case "Dict":
            return spaces.Dict([(key, space_from_json(part)) for key, part in data["spaces"]])
        case "Tuple":
            return spaces.Tuple([space_from_json(part) for part in data["spaces"]])
    raise ValueError(f"a space is one of {KINDS}, got {data!r}; write it with `space_to_json`")


def _bounds_to_json(bounds: np.ndarray) -> Any:
    """Write one number if all bounds are equal, else a nested list; infinities as strings."""
    if bounds.size and (bounds == bounds.flat[0]).all():
        bounds = bounds.flat[0]

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(item) for item in value]
        return value if np.isfinite(value) else str(value)

    return plain(bounds.tolist())


def _bounds_from_json(data: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    def number(value: Any) -> Any:
        if isinstance(value, list):
            return [number(item) for item in value]
        return float(value) if isinstance(value, str) else value

    return np.broadcast_to(np.array(number(data), dtype), shape).copy()


def action_from_json(space: spaces.Space, data: Any) -> Any:
    """Turn plain JSON data into an action of `space`."""
    match space:
        case spaces.Discrete():
            return int(data)
        case spaces.Dict():
            return {key: action_from_json(part, data[key]) for key, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(
                action_from_json(part, item) for part, item in zip(space.spaces, data, strict=True)
            )
    return np.asarray(data, space.dtype)


def action_to_json(action: Any) -> Any:
    """Turn an action into plain JSON data; the inverse of `action_from_json`."""
    if isinstance(action, dict):
        return {key: action_to_json(part) for key, part in action.items()}
    if isinstance(action, tuple):
        return [action_to_json(part) for part in action]
    return np.asarray(action).tolist()
