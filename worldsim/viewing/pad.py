"""Gamepads and the mouse: their events to deflections and keys.

Pads whose layout SDL knows, which are most, speak of "a" and "left trigger" whoever made them. Of
others there are numbers alone, taken as those of the usual layout.
"""

from typing import Any

import numpy as np
import pygame
from pygame._sdl2 import controller

from worldsim.keyboard import ARROWS
from worldsim.viewing.analogue import MOUSE, STICKS, TRIGGERS

DEAD = 0.12  # deflection that a stick may have at rest
AXES = (*STICKS, "left trigger", "right trigger")  # by SDL's numbers
BUTTONS = {
    "a": pygame.CONTROLLER_BUTTON_A, "b": pygame.CONTROLLER_BUTTON_B,
    "x": pygame.CONTROLLER_BUTTON_X, "y": pygame.CONTROLLER_BUTTON_Y,
    "left bumper": pygame.CONTROLLER_BUTTON_LEFTSHOULDER,
    "right bumper": pygame.CONTROLLER_BUTTON_RIGHTSHOULDER,
    "back": pygame.CONTROLLER_BUTTON_BACK, "start": pygame.CONTROLLER_BUTTON_START,
}  # fmt: skip
KEYS = (
    pygame.K_SPACE, pygame.K_x, pygame.K_z, pygame.K_o,
    pygame.K_BACKSPACE, pygame.K_RETURN, pygame.K_r, pygame.K_p,
)  # fmt: skip
CROSS = (
    pygame.CONTROLLER_BUTTON_DPAD_LEFT, pygame.CONTROLLER_BUTTON_DPAD_RIGHT,
    pygame.CONTROLLER_BUTTON_DPAD_UP, pygame.CONTROLLER_BUTTON_DPAD_DOWN,
)  # fmt: skip
# numbers of a pad that SDL does not know
BARE_AXES = {0: "left x", 1: "left y", 2: "left trigger", 3: "right x", 4: "right y"}
BARE_AXES |= {5: "right trigger"}
PRESSED = (pygame.CONTROLLERBUTTONDOWN, pygame.CONTROLLERBUTTONUP)
BARE = (pygame.JOYAXISMOTION, pygame.JOYHATMOTION, pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP)
SHOWING = {pygame.K_SPACE: pygame.K_RETURN, pygame.K_x: pygame.K_ESCAPE}  # a and b among pictures


class Pad:
    """Turn pygame's gamepad and mouse events into deflections and keys.

    The mouse moves an action while its left button is held: sideways from the middle of the
    window, up and down from where the button went down.

    Args:
        buttons: Keys that the pad's buttons stand for where they differ from `KEYS`.
    """

    def __init__(self, buttons: dict[str, int] | None = None) -> None:
        names = {f"pad {name}": key for name, key in zip(BUTTONS, KEYS, strict=True)}
        self.bare = list((names | (buttons or {})).values())
        self.known = dict(zip(BUTTONS.values(), self.bare, strict=True))
        self.known |= dict(zip(CROSS, ARROWS, strict=True))
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
            self._meet(event.device_index)
        elif event.type == pygame.JOYDEVICEREMOVED:
            self.pads.pop(event.instance_id, None)
            return dict.fromkeys((*STICKS, *TRIGGERS), 0.0)
        elif event.type == pygame.CONTROLLERAXISMOTION and event.axis < len(AXES):
            return _tilt(AXES[event.axis], event.value / 32767)
        elif event.type == pygame.JOYAXISMOTION and event.axis in BARE_AXES and self._bare(event):
            name = BARE_AXES[event.axis]  # whose triggers rest at -1
            return _tilt(name, (event.value + 1) / 2 if name in TRIGGERS else event.value)
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
        if event.type in PRESSED:
            key = self.known.get(event.button)
            return [(key, event.type == pygame.CONTROLLERBUTTONDOWN)] if key else []
        if event.type not in BARE or not self._bare(event):
            return []
        if event.type in (pygame.JOYBUTTONDOWN, pygame.JOYBUTTONUP):
            down = event.type == pygame.JOYBUTTONDOWN
            return [(self.bare[event.button], down)] if event.button < len(self.bare) else []
        if event.type != pygame.JOYHATMOTION:
            return []
        before, self._hat = _arrows(self._hat), tuple(event.value)
        now = _arrows(self._hat)
        return [(key, False) for key in before - now] + [(key, True) for key in now - before]

    def _meet(self, index: int) -> None:
        """Keep a pad that was plugged in, known to SDL or not."""
        bare = pygame.joystick.Joystick(index)
        known = controller.Controller(index) if controller.is_controller(index) else None
        self.pads[bare.get_instance_id()] = (bare, known)

    def _bare(self, event: pygame.event.Event) -> bool:
        """Say whether a pad's numbers are all there is: a known one tells all of it twice."""
        return self.pads.get(event.instance_id, (None, None))[1] is None

    def _drag(self, at: tuple[int, int], size: tuple[int, int]) -> dict[str, float]:
        reach = 0.35 * min(size)
        x = float(np.clip((at[0] - size[0] / 2) / reach, -1, 1))
        y = float(np.clip((self._mouse[1] - at[1]) / reach, -1, 1))
        return {"mouse x": x, "mouse up": max(y, 0.0), "mouse down": max(-y, 0.0)}


def _tilt(name: str, value: float) -> dict[str, float]:
    value = -value if name.endswith("y") else value
    far = max(0.0, abs(value) - DEAD) / (1 - DEAD)
    return {name: float(np.copysign(min(far, 1.0), value))}


def _arrows(hat: tuple[int, int]) -> set[int]:
    left, right, up, down = ARROWS
    return {(left, None, right)[hat[0] + 1], (down, None, up)[hat[1] + 1]} - {None}
