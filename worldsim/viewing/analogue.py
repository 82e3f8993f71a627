"""Sticks, triggers and the mouse: deflections in [-1, 1] that move an action a part of the way.

A deflection has a name, such as "left x" or "right trigger". What it does at its full value is an
action, as with a key; so bindings of keys and of deflections stand in one list, in a world's
`config.json` and in a player's own.
"""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pygame
from gymnasium import spaces

from worldsim.spaces import null_action
from worldsim.viewing.keyboard import ARROWS, read_action

STICKS = ("left x", "left y", "right x", "right y")  # up is positive
TRIGGERS = ("right trigger", "left trigger")
MOUSE = ("mouse x", "mouse up", "mouse down")
SOURCES = (*STICKS, *TRIGGERS, *MOUSE)
DEAD = 0.12  # deflection that a stick may have at rest

# pygame.joystick's numbers on pads of the usual layout
PAD_AXES = {0: "left x", 1: "left y", 2: "left trigger", 3: "right x", 4: "right y"}
PAD_AXES |= {5: "right trigger"}
PAD_BUTTONS = ("a", "b", "x", "y", "left bumper", "right bumper", "back", "start")
PAD_KEYS = (
    pygame.K_SPACE, pygame.K_x, pygame.K_z, pygame.K_o,
    pygame.K_BACKSPACE, pygame.K_RETURN, pygame.K_r, pygame.K_p,
)  # fmt: skip


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


class Pad:
    """Turn pygame's gamepad and mouse events into deflections and keys.

    The mouse moves an action while its left button is held: sideways from the middle of the
    window, up and down from where the button went down.

    Args:
        buttons: Keys that the pad's buttons stand for where they differ from `PAD_KEYS`.
    """

    def __init__(self, buttons: dict[str, int] | None = None) -> None:
        names = {f"pad {name}": key for name, key in zip(PAD_BUTTONS, PAD_KEYS, strict=True)}
        self.buttons = list((names | (buttons or {})).values())
        self.pads: dict[int, Any] = {}  # a pad whose object is gone sends no events
        self._mouse: tuple[int, int] | None = None
        self._hat: tuple[int, int] = (0, 0)

    def axes(self, event: pygame.event.Event, size: tuple[int, int]) -> dict[str, float]:
        """Return the deflections that an event changes.

        Args:
            event: Any.
            size: Of the window.
        """
        if event.type == pygame.JOYDEVICEADDED:
            pad = pygame.joystick.Joystick(event.device_index)
            self.pads[pad.get_instance_id()] = pad
        elif event.type == pygame.JOYDEVICEREMOVED:
            self.pads.pop(event.instance_id, None)
            return dict.fromkeys((*STICKS, *TRIGGERS), 0.0)
        elif event.type == pygame.JOYAXISMOTION and event.axis in PAD_AXES:
            return self._tilt(PAD_AXES[event.axis], event.value)
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            self._mouse = event.pos
            return self._drag(event.pos, size)
        elif event.type == pygame.MOUSEMOTION and self._mouse is not None:
            return self._drag(event.pos, size)
        elif event.type == pygame.MOUSEBUTTONUP and event.button == 1:
            self._mouse = None
            return dict.fromkeys(MOUSE, 0.0)
        return {}

    def let_go(self) -> None:
        """Forget a drag whose end may never be told."""
        self._mouse = None

    def keys(self, event: pygame.event.Event) -> list[tuple[int, bool]]:
        """Return the keys that an event of a pad presses (True) or lets go (False)."""
        if event.type in (pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP):
            down = event.type == pygame.JOYBUTTONDOWN
            return [(self.buttons[event.button], down)] if event.button < len(PAD_KEYS) else []
        if event.type != pygame.JOYHATMOTION:
            return []
        before, self._hat = _arrows(self._hat), tuple(event.value)
        now = _arrows(self._hat)
        return [(key, False) for key in before - now] + [(key, True) for key in now - before]

    def _tilt(self, name: str, value: float) -> dict[str, float]:
        if name in TRIGGERS:
            value = (value + 1) / 2  # a trigger rests at -1
        elif name.endswith("y"):
            value = -value
        far = max(0.0, abs(value) - DEAD) / (1 - DEAD)
        return {name: float(np.copysign(min(far, 1.0), value))}

    def _drag(self, at: tuple[int, int], size: tuple[int, int]) -> dict[str, float]:
        reach = 0.35 * min(size)
        x = float(np.clip((at[0] - size[0] / 2) / reach, -1, 1))
        y = float(np.clip((self._mouse[1] - at[1]) / reach, -1, 1))
        return {"mouse x": x, "mouse up": max(y, 0.0), "mouse down": max(-y, 0.0)}


def _arrows(hat: tuple[int, int]) -> set[int]:
    left, right, up, down = ARROWS
    return {(left, None, right)[hat[0] + 1], (down, None, up)[hat[1] + 1]} - {None}
