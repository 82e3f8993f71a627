"""Actions of any space as one float vector, and back.

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
    raise unsupported(space)


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
    raise unsupported(space)


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
            raise unsupported(space)
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


def unsupported(space: Space) -> TypeError:
    """Return the error for a space that no action can be flattened in."""
    return TypeError(
        f"an action space must be built of {KINDS}, got {space!r}; "
        "wrap the env in a `gymnasium.ActionWrapper` that offers one of these"
    )
