"""Where a make stands, on disk for the next start and as one bar."""

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from tqdm import tqdm

from worldsim.files import own_folder, write_text
from worldsim.logs import BAR
from worldsim.make_config import MakeConfig

PARTS = {"recording": 0.14, "tokenizer": 0.1, "dynamics": 0.71, "evaluating": 0.05}


class Notes:
    """What a make has chosen, done and spent: on disk for the next start, and as one bar.

    Args:
        cfg: The settings.

    Attributes:
        parts: Share of each stage in the minutes; a tokenizer is only trained where there is none.
        data: What `make.json` holds: "settings", "minutes" that each stage may take, "spent"
            seconds of each, and whether all is "done".

    Raises:
        ValueError: If the folder was begun with other settings.
        FileExistsError: If the world's folder holds something that was not made here.
    """

    def __init__(self, cfg: MakeConfig) -> None:
        self.path, self.total = cfg.folder / "make.json", cfg.minutes
        parts = {name: PARTS[name] for name in PARTS if not (cfg.init and name == "tokenizer")}
        self.parts = {name: part / sum(parts.values()) for name, part in parts.items()}
        settings = {k: v for k, v in asdict(cfg).items() if k != "out"}
        settings = json.loads(json.dumps(settings))  # as they come back: lists for tuples
        self.data = {"settings": settings, "minutes": {}, "spent": {}}
        if cfg.init:  # as seen from here, so that both may move
            self.data["before"] = os.path.relpath(cfg.init, cfg.folder)
        out = own_folder(cfg.out)
        if self.path.exists():
            self.data = json.loads(self.path.read_text())
            was = self.data["settings"]
            changed = [
                f"{k}={was[k]!r} there, {v!r} here" for k, v in settings.items()
                if k in was and was[k] != v and k not in ("workers", "device")  # whoever computes
            ]  # fmt: skip
            if changed:
                raise ValueError(
                    f"{out} can only be made with the settings it was begun with, got "
                    f"{', '.join(changed)}; use the same, another `out`, or remove {cfg.folder}; a "
                    f"world that is made goes on with init={out} and another `out`"
                )
        elif out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise FileExistsError(
                f"a world is made in a new folder, got {out}, which was not made here; choose "
                "another folder or remove it"
            )

    def write(self, **more: Any) -> None:
        """Remember some more, on disk."""
        self.data |= more
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, json.dumps(self.data, indent=2))

    @contextmanager
    def bar(self, progress: bool) -> Iterator[None]:
        """Show one bar for all stages; say what to do if they are interrupted."""
        with tqdm(total=100, desc="make", disable=not progress, bar_format=BAR) as self._bar:
            try:
                yield
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"stopped; what is done lies in {self.path.parent}: the same again goes on"
                ) from None

    @contextmanager
    def stage(
        self, name: str, beside: Callable[[], float] | None = None
    ) -> Iterator[tuple[float, Callable[[float], None]]]:
        """Time a stage; yield its minutes and what shows the share of them that is over.

        Args:
            name: One of `parts`.
            beside: Tells, once, how many minutes all beside it will take from now to the end; None
                gives each stage to come its part.
        """
        order = list(self.parts)
        before = sum(self.parts[n] for n in order[: order.index(name)])
        part = self.parts[name]
        if name not in self.data["minutes"]:
            left = max(self.total - sum(self.data["spent"].values()) / 60, 0.1 * self.total)
            own = left * part / (1 - before) if beside is None else max(left - beside(), left / 2)
            self.data["minutes"][name] = round(own, 4)
        began, earlier = time.monotonic(), self.data["spent"].get(name, 0.0)
        last = began

        def show(share: float) -> None:
            nonlocal last
            now = time.monotonic()
            self.data["spent"][name] = round(earlier + now - began, 1)
            if now - last > 5:
                self.write()
                last = now
            self._bar.set_description_str(name, refresh=False)
            self._bar.update(100 * (before + part * min(share, 1.0)) - self._bar.n)

        show(0.0)
        try:
            yield self.data["minutes"][name], show
            show(1.0)
        finally:
            self.data["spent"][name] = round(earlier + time.monotonic() - began, 1)
            self.write()
