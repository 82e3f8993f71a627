"""What `worldsim make` is asked for, and what it takes from the world that it goes on from."""

import json
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING

from worldsim.filmed import STRIDE
from worldsim.limits import check_cells, read_size
from worldsim.loading import read_config

INHERITED = ("env", "env_kwargs", "size", "model_size")  # what worlds of one line have in common


@dataclass
class MakeConfig:
    """What to make a world of, and how long it may take."""

    env: str = ""
    """Id of an env such as ALE/Breakout-v5, or module:function that makes one; that of `init` if
    empty."""
    out: str = MISSING
    """Folder of the world; an interrupted make goes on where it stopped."""
    minutes: float = 30.0
    """For everything, from the first recording to the last measure."""
    init: str = ""
    """Folder of a world made before, to go on from: what it knows is where this one begins, and its
    recordings are learned from beside the new ones."""
    policy: str = ""
    """scripted, random, sticky, keys, module:function, or a Stable-Baselines3 .zip; chosen if
    empty."""
    size: str = ""
    """Width x height of the frames such as 64x64, or several such as 64x64,96x64 for a world of all
    of them, the first one in the main; chosen if empty."""
    model_size: str = ""
    """tiny, quick, small or base; chosen if empty."""
    max_steps: int = 500
    """Truncate episodes after so many actions."""
    workers: int = 1
    """Processes that record."""
    seed: int = 0
    device: str = ""
    """Where to train; chosen if empty."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the env, such as env_kwargs.mode=4."""

    def __post_init__(self) -> None:
        if self.init:
            self._go_on()
        elif not self.env:
            raise ValueError("`env` must be the id of an env, got none; try env=ALE/Breakout-v5")
        for name, usual in (("minutes", 30), ("max_steps", 500), ("workers", 2)):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be above 0, got {getattr(self, name)}; try {usual}"
                )
        _ = self.sizes  # refuses what cannot be read
        taken = {"frame_size", "env", "repeat", "render_mode"} & set(self.env_kwargs)
        if taken:
            raise ValueError(
                f"`env_kwargs` must leave {', '.join(sorted(taken))} to `make`, got "
                f"{self.env_kwargs}; the size of frames is set by size=96x64"
            )

    def _go_on(self) -> None:
        """Take over what is as it was in the world to go on from, which may be set to nothing else.

        Raises:
            FileNotFoundError: If it is no world that was made so, with its recordings beside it.
            ValueError: If something else is asked for.
        """
        was = made_by(self.init)
        check_line(self.init)
        if not (self.env or was["by_name"]):
            raise ValueError(
                f"`init` was made of an object, got {self.init!r} and no env; pass the same one to "
                "`worldsim.make_world(env, ..., init=...)`"
            )
        if self.out and folder_beside(self.out) == folder_beside(self.init):
            raise ValueError(f"`out` must be a new folder, not that of `init`, got {self.out!r}")
        for name in INHERITED:
            here, there = getattr(self, name), was[name]
            if here and here != there:
                raise ValueError(
                    f"`{name}` must be that of `init`, {there!r}, got {here!r}; leave it out"
                )
            setattr(self, name, there)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """`(h, w)` of each size in `size`."""
        texts = self.size.replace(" ", "").split(",") if self.size else ()
        sizes = tuple(map(read_size, texts))
        for size in sizes:
            check_cells(size, STRIDE)
        if len(set(sizes)) < len(sizes):
            raise ValueError(f"`size` must not name a size twice, got {self.size!r}")
        return sizes

    @property
    def folder(self) -> Path:
        """Where lies what leads to the world."""
        return folder_beside(self.out)

    def command(self, by_name: bool) -> str:
        """Return the command that makes the same, or the call, where env or policy has no name."""
        usual, words = MakeConfig("env"), []
        asked = {k: v for k, v in vars(self).items() if k == "minutes" or v != getattr(usual, k)}
        if not by_name:
            objects = [f"{k}={asked.pop(k)}" for k in ("env", "policy") if k in asked]
            words = objects + [f"{k}={v!r}" for k, v in asked.items()]
            return f"worldsim.make_world({', '.join(words)})"
        for name, value in asked.items():
            if name == "env_kwargs":
                words += _dotted(name, value)
            else:
                words.append(f"{name}={value:g}" if name == "minutes" else f"{name}={value}")
        return shlex.join(["worldsim", "make", *words])


def folder_beside(world: str | Path) -> Path:
    """Return where lies what led to a world."""
    return Path(f"{Path(world)}.making")


def made_by(world: str | Path) -> dict[str, Any]:
    """Return what a finished make was asked for, and what it chose of the rest.

    Raises:
        FileNotFoundError: If there is none.
    """
    notes = folder_beside(world) / "make.json"
    told = json.loads(notes.read_text()) if notes.is_file() else {}
    if not told.get("done"):
        raise FileNotFoundError(
            "`init` must be a world that `worldsim make` has made, with what led to it beside it, "
            f"got {str(world)!r} without {notes}, or not done; `worldsim train init=` takes others"
        )
    asked = told["settings"] | {"by_name": told.get("by_name", True)}
    h, w = read_config(Path(world) / "config.json").frame_size
    chosen = {"model_size": told["chosen"]["model"], "size": f"{w}x{h}"}
    return asked | {name: asked[name] or usual for name, usual in chosen.items()}


def line_of(world: str | Path) -> Iterator[Path]:
    """Yield what led to a world, then to the one that it went on from, and so on.

    Raises:
        FileNotFoundError: If that is no longer there.
    """
    while world:
        folder = folder_beside(world)
        before = json.loads(_needed(folder / "make.json").read_text()).get("before")
        yield folder
        world = os.path.normpath(folder / before) if before else ""


def check_line(world: str | Path) -> None:
    """Refuse a world to go on from if what it learned from, or has learned, is gone.

    Raises:
        FileNotFoundError: If it is.
    """
    folders = list(line_of(world))
    for folder in folders:
        _needed(folder / "data/meta/info.json")
    _needed(folders[0] / "dynamics/world/config.json")
    _needed(folders[-1] / "tokenizer/tokenizer.safetensors")


def _needed(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"`init` goes on from what led to that world and to those before it, got no {path}; "
            "put it back, or make a world anew"
        )
    return path


def _dotted(name: str, value: Any) -> list[str]:
    """Write a setting, which may hold others, as words of a command."""
    if isinstance(value, dict):
        return [word for key, part in value.items() for word in _dotted(f"{name}.{key}", part)]
    return [f"{name}={'null' if value is None else value}"]
