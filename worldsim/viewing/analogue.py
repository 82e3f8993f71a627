"""Sticks, triggers and the mouse: deflections in [-1, 1] that move an action a part of the way.

A deflection has a name, such as "left x" or "right trigger". What it does at its full value is an
action, as with a key; so bindings of keys and of deflections stand in one list, in a world's
`config.json` and in a player's own.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from worldsim.keyboard import ARROWS, read_action
from worldsim.spaces import null_action

STICKS = ("left x", "left y", "right x", "right y")  # up is positive
TRIGGERS = ("right trigger", "left trigger")
MOUSE = ("mouse x", "mouse up", "mouse down")
SOURCES = (*STICKS, *TRIGGERS, *MOUSE)


def analogue_bindings(
    env: gymnasium.Env, given: dict[tuple[str, ...], Any] | None = None
) -> dict[str, np.ndarray]:
    """Return what each deflection does at its full value; only `Box` actions can be moved so.

    Args:
        env: Whose world's `config.json` may bind some; if it does not, the axes of the action
            space take what there is, in order.
        given: A player's own bindings, which go first.
    """
    space = env.action_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        return {}
    own = getattr(getattr(getattr(env.unwrapped, "world", None), "cfg", None), "keys", ())
    listed = [(tuple(names), action) for names, action in own] + list((given or {}).items())
    bound = {
        names[0]: np.asarray(read_action(names, action, env), np.float64)
        for names, action in listed
        if len(names) == 1 and names[0] in SOURCES
    }
    return bound or _default(space)


def _default(space: spaces.Box) -> dict[str, np.ndarray]:
    """Give sticks to axes with two directions and triggers to the others; the mouse does both."""
    idle = null_action(space).astype(np.float64)
    signed = [i for i, low in enumerate(space.low) if low < 0]
    others = [i for i, low in enumerate(space.low) if low >= 0]

    def full(axis: int, end: np.ndarray, sign: float) -> np.ndarray:
        action = idle.copy()
        action[axis] = end[axis] if np.isfinite(end[axis]) else sign
        return action

    pairs = [*zip(STICKS, signed, strict=False), *zip(TRIGGERS, others, strict=False)]
    bound = {name: full(axis, space.high, 1.0) for name, axis in pairs}
    if signed:
        bound["mouse x"] = full(signed[0], space.high, 1.0)
    vertical = [(axis, space.high, 1.0) for axis in others[:2]]
    for axis in signed[1:2] if not others else ():
        vertical = [(axis, space.high, 1.0), (axis, space.low, -1.0)]
    bound |= {name: full(*end) for name, end in zip(MOUSE[1:], vertical, strict=False)}
    return bound


def add_axes(
    action: Any,
    axes: Sequence[tuple[str, float]],
    bindings: dict[str, np.ndarray],
    space: spaces.Space,
) -> Any:
    """Move an action of a `Box` by the deflections held.

    Args:
        action: What the keys say.
        axes: Name and value of each deflection.
        bindings: From `analogue_bindings`.
        space: The action space.
    """
    moves = [(value, bindings[name]) for name, value in axes if name in bindings]
    if not moves:
        return action
    idle = null_action(space).astype(np.float64)
    total = np.asarray(action, np.float64) + sum(value * (full - idle) for value, full in moves)
    return np.clip(total, space.low, space.high).astype(space.dtype)


def keys_from_axes(axes: Sequence[tuple[str, float]]) -> tuple[int, ...]:
    """Return the arrows that deflections stand for where actions know no half measures."""
    left, right, up, down = ARROWS
    ends = {"left x": (left, right), "mouse x": (left, right), "left y": (down, up)}
    ends |= {"mouse up": (None, up), "mouse down": (None, down)}
    keys = [ends[name][value > 0] for name, value in axes if name in ends and abs(value) > 0.5]
    return tuple(key for key in keys if key is not None)
