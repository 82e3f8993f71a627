"""Action spaces as plain data, and actions as one float vector.

A world knows its action space from a JSON file, and sees every action as a float vector of size
`a`: boxes as they are, one-hot for `Discrete`, 0/1 for `MultiBinary`, parts of a `Dict` or `Tuple`
in the order in which `gymnasium.spaces.utils.flatten` lays them out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.spaces import Space
from gymnasium.spaces.utils import flatdim

Policy = Callable[[Any, np.random.Generator], Any]  # observation, rng -> action
KINDS = "Discrete, MultiDiscrete, MultiBinary, Box, Dict and Tuple"


def afresh(policy: Policy) -> Policy:
    """Return a policy as it begins an episode: what has an `afresh` remembers nothing then."""
    return policy.afresh() if hasattr(policy, "afresh") else policy


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
    raise _unsupported(space)


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


def action_dim(space: Space) -> int:
    """Return `a`, the size of the flattened action vector."""
    return int(flatdim(space))


def flatten_action(space: Space, action: Any) -> np.ndarray:
    """Turn an action into one float vector, checking it on the way.

    Args:
        space: The action space.
        action: An element of `space`; numbers of any dtype are taken.

    Returns:
        `(a,)` float32.

    Raises:
        TypeError: If the action is not of the kind that `space` holds.
        ValueError: If it has the wrong shape, is NaN, or lies outside the bounds.
    """
    parts = _flatten(space, action, "action")
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def scale_actions(actions: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Scale flattened actions `(..., a)`: `low` becomes -1, `high` becomes 1."""
    return (2 * (actions - low) / (high - low) - 1).astype(np.float32)


def unflatten_action(space: Space, vector: np.ndarray) -> Any:
    """Turn a float vector into the nearest action: argmax, 0.5 threshold, clip to the bounds.

    Args:
        space: The action space.
        vector: `(a,)`, any real numbers, such as a network's output.
    """
    vector = np.asarray(vector, np.float64)
    if vector.shape != (action_dim(space),):
        raise ValueError(
            f"the flattened action must have shape {(action_dim(space),)} for {space}, "
            f"got {vector.shape}"
        )
    return _unflatten(space, vector)


def action_bounds(space: Space) -> tuple[np.ndarray, np.ndarray]:
    """Return `low (a,)` and `high (a,)` of the flattened vector, infinite where unbounded."""
    match space:
        case spaces.Box():
            low, high = space.low.ravel(), space.high.ravel()
            return low.astype(np.float32), high.astype(np.float32)
        case spaces.Dict() | spaces.Tuple():
            sides = zip(*(action_bounds(part) for part in _parts(space)), strict=True)
            low, high = (np.concatenate(side) for side in sides)
            return low, high
        case spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary():
            size = action_dim(space)
            return np.zeros(size, np.float32), np.ones(size, np.float32)
    raise _unsupported(space)


def limits(space: Space) -> tuple[Any, Any]:
    """Return the smallest and the largest value in an action of numbers, before flattening."""
    match space:
        case spaces.Discrete():
            return space.start, space.start + space.n - 1
        case spaces.MultiDiscrete():
            return space.start, space.start + space.nvec - 1
        case spaces.Box():
            return space.low, space.high
    return 0, 1


def null_action(space: Space) -> Any:
    """Return the action that does nothing: zeros clipped into bounds, the first choice."""
    match space:
        case spaces.Discrete():
            return space.start
        case spaces.MultiDiscrete():
            return space.start.astype(space.dtype)
        case spaces.MultiBinary():
            return np.zeros(space.shape, space.dtype)
        case spaces.Box():
            return np.clip(np.zeros(space.shape, space.dtype), space.low, space.high)
        case spaces.Dict():
            return {key: null_action(part) for key, part in space.spaces.items()}
        case spaces.Tuple():
            return tuple(null_action(part) for part in space.spaces)
    raise _unsupported(space)


def _flatten(space: Space, action: Any, name: str) -> list[np.ndarray]:
    match space:
        case spaces.Dict():
            if not isinstance(action, dict) or action.keys() != space.spaces.keys():
                keys = list(action) if isinstance(action, dict) else type(action).__name__
                raise TypeError(
                    f"`{name}` must be a dict with the keys {list(space.spaces)}, got {keys}"
                )
            nested = [
                _flatten(part, action[key], f"{name}[{key!r}]")
                for key, part in space.spaces.items()
            ]
            return sum(nested, [])
        case spaces.Tuple():
            if not isinstance(action, tuple | list) or len(action) != len(space.spaces):
                size = len(action) if isinstance(action, tuple | list) else type(action).__name__
                raise TypeError(f"`{name}` must be a tuple of {len(space.spaces)}, got {size}")
            nested = [
                _flatten(part, action[i], f"{name}[{i}]") for i, part in enumerate(space.spaces)
            ]
            return sum(nested, [])
        case spaces.Discrete() | spaces.MultiDiscrete() | spaces.MultiBinary() | spaces.Box():
            values = _checked(space, action, name)
        case _:
            raise _unsupported(space)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = np.atleast_1d(space.n if isinstance(space, spaces.Discrete) else space.nvec).ravel()
        chosen = (values - space.start).ravel().astype(np.int64)
        pairs = zip(sizes, chosen, strict=True)
        return [(np.arange(n) == i).astype(np.float32) for n, i in pairs]
    return [values.ravel().astype(np.float32)]


def _checked(space: Space, action: Any, name: str) -> np.ndarray:
    """Return the numbers of `action`, or raise with the rule, the value and a way out."""
    try:
        values = np.asarray(action)
    except ValueError:  # a ragged list
        values = np.array(None)
    if values.dtype.kind not in "biuf":
        raise TypeError(
            f"`{name}` must be numbers of shape {space.shape}, got {type(action).__name__}; "
            f"`env.action_space.sample()` shows a valid one of {space}"
        )
    if values.shape != space.shape and not (space.shape == () and values.size == 1):
        raise ValueError(
            f"`{name}` must have shape {space.shape}, got {values.shape}; "
            f"`env.action_space.sample()` shows a valid one of {space}"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"`{name}` must be finite numbers, got {action!r}; check what computed it")
    low, high = limits(space)
    if isinstance(space, spaces.Box):
        ends = (np.nan_to_num(end, posinf=1.0, neginf=1.0) for end in (low, high))
        slack = 1e-6 * np.maximum(1, np.maximum(*map(np.abs, ends)))  # float64 rounding
        low, high = low - slack, high + slack
    if ((values < low) | (values > high)).any():
        clip = "clip it to `env.action_space.low` and `.high`"
        way_out = clip if isinstance(space, spaces.Box) else "choose one of these"
        raise ValueError(f"`{name}` must lie within {space}, got {action!r}; {way_out}")
    if not isinstance(space, spaces.Box) and (values != np.round(values)).any():
        raise TypeError(f"`{name}` must be whole numbers in {space}, got {action!r}")
    return values


def _unflatten(space: Space, vector: np.ndarray) -> Any:
    match space:
        case spaces.Discrete():
            return space.dtype.type(space.start + vector.argmax())
        case spaces.MultiDiscrete():
            pieces = np.split(vector, np.cumsum(space.nvec.ravel())[:-1])
            chosen = np.array([piece.argmax() for piece in pieces]).reshape(space.shape)
            return (chosen + space.start).astype(space.dtype)
        case spaces.MultiBinary():
            return (vector > 0.5).reshape(space.shape).astype(space.dtype)
        case spaces.Box():
            values = vector.reshape(space.shape)
            values = np.round(values) if space.dtype.kind in "iu" else values
            return np.clip(values, space.low, space.high).astype(space.dtype)
    parts = _parts(space)
    pieces = np.split(vector, np.cumsum([action_dim(part) for part in parts])[:-1])
    values = [_unflatten(part, piece) for part, piece in zip(parts, pieces, strict=True)]
    if isinstance(space, spaces.Dict):
        return dict(zip(space.spaces, values, strict=True))
    return tuple(values)


def _parts(space: spaces.Dict | spaces.Tuple) -> list[Space]:
    return list(space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces)


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


def _unsupported(space: Space) -> TypeError:
    return TypeError(
        f"an action space must be built of {KINDS}, got {space!r}; "
        "wrap the env in a `gymnasium.ActionWrapper` that offers one of these"
    )


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
