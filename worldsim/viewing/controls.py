"""What each key of the viewer does, and a player's own bindings.

A player's bindings are JSON: `{"left+up": [-1, 0.7, 0], "right trigger": [0, 1, 0], "space": "p"}`.
A list or a number is an action for the env, by keys pressed together or by a deflection of
`analogue.SOURCES`; a text is the key whose job is taken over. Buttons of a pad are "pad a" and so
on, as in `pad.BUTTONS`.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pygame

from worldsim.keyboard import ARROWS, WASD
from worldsim.screen import key_codes
from worldsim.viewing.analogue import SOURCES
from worldsim.viewing.pad import BUTTONS
from worldsim.viewing.stage import Stage

NAMES = {"return": "Enter", "escape": "Esc", "=": "+", "[+]": "+", "[-]": "-"}
NAMES |= {"left": "←", "right": "→", "up": "↑", "down": "↓"}


class Command(NamedTuple):
    """One thing that a player can ask for."""

    keys: tuple[int, ...]
    about: str
    """What F1 says."""
    name: str
    """Method of the session, or of the window if it begins with "_"."""
    args: tuple = ()


COMMANDS = [
    Command((pygame.K_p,), "pause", "pause"),
    Command((pygame.K_n, pygame.K_PERIOD), "one step", "single_step"),
    Command((pygame.K_BACKSPACE,), "hold to go back in time", "rewind", (True,)),
    Command((pygame.K_MINUS, pygame.K_KP_MINUS), "slower", "change_speed", (-1,)),
    Command((pygame.K_EQUALS, pygame.K_PLUS, pygame.K_KP_PLUS), "faster", "change_speed", (1,)),
    Command((pygame.K_r,), "begin this start again", "restart"),
    Command((pygame.K_RETURN, pygame.K_TAB), "next start", "next_start"),
    Command((pygame.K_F7, pygame.K_i), "choose a start from pictures", "open_gallery"),
    Command((pygame.K_t,), "type a prompt", "_enter_prompt"),
    Command((pygame.K_o,), "who drives: you, autopilot, agent", "next_driver"),
    Command((pygame.K_m,), "imagined or real simulator", "switch"),
    Command((pygame.K_F2, pygame.K_y), "real beside imagined", "compare"),
    Command((pygame.K_F3,), "show their difference", "_toggle_difference"),
    Command((pygame.K_F4, pygame.K_l), "imagine on from the real frames", "imagine_from_real"),
    Command((pygame.K_b,), "futures side by side: 2, 3, 4, 1", "branch"),
    Command((pygame.K_j,), "what futures differ in", "change_difference"),
    Command((pygame.K_f,), "next future in focus", "focus_next"),
    Command((pygame.K_F5,), "quick-save", "save_slot"),
    Command((pygame.K_F9,), "quick-load", "load_slot"),
    Command((pygame.K_F6,), "next slot", "next_slot"),
    Command((pygame.K_v,), "film: begin, end", "_record"),
    Command((pygame.K_k,), "keep the episode in a data set", "keep_episode"),
    Command((pygame.K_c,), "save a picture of the window", "_save_picture"),
    Command((pygame.K_h,), "show or hide the HUD", "_toggle_hud"),
    Command((pygame.K_g,), "pixels: sharp, whole, smooth", "_change_pixels"),
    Command((pygame.K_F11,), "full screen", "_toggle_full_screen"),
    Command((pygame.K_F1,), "this help", "_toggle_help"),
    Command((pygame.K_ESCAPE,), "quit", "_quit"),
]


def asked(key: int) -> list[tuple[str, tuple]]:
    """Return what a key that the env does not bind asks for: commands and their arguments."""
    presets = [("choose_prompt", (key - pygame.K_1,))] if pygame.K_1 <= key <= pygame.K_9 else []
    return presets + [(name, args) for keys, _, name, args in COMMANDS if key in keys]


@dataclass(frozen=True)
class Keys:
    """A player's own bindings."""

    actions: dict[tuple[str, ...], Any] = field(default_factory=dict)
    """Actions for the env, by names of keys pressed together or of a deflection."""
    aliases: dict[int, int] = field(default_factory=dict)
    """The key whose job another takes over."""
    buttons: dict[str, int] = field(default_factory=dict)
    """Keys that a pad's buttons stand for."""


def read_keys(text: str | None) -> Keys:
    """Read a player's bindings.

    Args:
        text: JSON as above, or the path of a file of it; None for none.

    Raises:
        FileNotFoundError: If there is no such file.
        TypeError: If it is no text.
        ValueError: If it is no such JSON, or names a key that there is not.
    """
    if not text:
        return Keys()
    if not isinstance(text, str):
        raise TypeError(f"`keys` must be JSON or the path of a file of it, got {text!r}")
    if not text.lstrip().startswith("{"):
        if not Path(text).is_file():
            raise FileNotFoundError(
                f"`keys` must be a JSON file or JSON such as "
                f'{{"space": "p", "left": [-1, 0, 0]}}, got {text!r} and no file there'
            )
        text = Path(text).read_text()
    try:
        data = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f'`keys` must be a JSON object such as {{"space": "p"}}, got: {error}'
        ) from error
    keys = Keys()
    for name, job in data.items():
        if not isinstance(job, str):
            alone = name in SOURCES or name in key_codes()  # "+" is a key as well
            names = (name,) if alone else tuple(part.strip() for part in name.split("+"))
            keys.actions[tuple(_known(part, SOURCES) for part in names)] = job
        elif name.removeprefix("pad ") in BUTTONS and name.startswith("pad "):
            keys.buttons[name] = key_codes()[_known(job)]
        else:
            keys.aliases[key_codes()[_known(name)]] = key_codes()[_known(job)]
    return keys


def _known(name: str, also: tuple[str, ...] = ()) -> str:
    """Refuse what names no key."""
    if name not in key_codes() and name not in also:
        raise ValueError(
            f"`keys` are pygame's names such as left, space or f2, pad {', pad '.join(BUTTONS)}"
            f", and for actions also {', '.join(SOURCES)}, got {name!r}"
        )
    return name


def help_rows(stage: Stage, aliases: dict[int, int] | None = None) -> list[tuple[str, str]]:
    """List the keys of an env and of the viewer, as F1 shows them."""
    aliases = aliases or {}
    bound = frozenset().union(*stage.bindings)
    names = ["Arrows"] * (bound >= set(ARROWS)) + ["WASD"] * (bound >= set(WASD))
    shown = {key for keys in (ARROWS, WASD) if bound >= set(keys) for key in keys}
    names += [key_name(key) for key in sorted(bound - shown)]
    rows = [(", ".join(names[:6]), "play")] if names else []
    if names or stage.analogue:
        rows.append(("gamepad, mouse drag", "play"))
    for keys, about, _, _ in COMMANDS:
        taken = [key for key, job in aliases.items() if job in keys]
        free = [key for key in keys if key not in bound and key not in aliases]
        if taken or free:
            rows.append((", ".join(dict.fromkeys(map(key_name, [*taken, *free]))), about))
    if stage.prompts:
        rows.insert(-2, (f"1 … {min(9, len(stage.prompts))}", "example prompts"))
    return rows


def key_name(key: int) -> str:
    """Return a key's name as it stands on a keyboard."""
    name = NAMES.get(pygame.key.name(key), pygame.key.name(key))
    return name.strip("[]").capitalize() if len(name) > 1 or name.isalpha() else name
