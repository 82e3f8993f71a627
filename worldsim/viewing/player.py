"""The thread on which the model runs, so that a slow one never holds up a window."""

import queue
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

from worldsim.viewing.controls import asked
from worldsim.viewing.scene import View
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Moment, Stage


class Player:
    """Run sessions on a thread, at an even pace, and hand over the latest moment.

    The window calls `press`, `release`, `steer` and `send`, and reads `view`, `latest` (the moment
    in focus) and `error`; nothing of this waits for the model.

    Args:
        open_session: Makes a fresh session.
    """

    def __init__(self, open_session: Callable[[], Session]) -> None:
        self.open_session, self.sessions = open_session, []
        self.latest: tuple[Stage, Moment] | None = None
        self.view: View | None = None
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin a fresh session on a thread, which opens the stage first; again after an error."""
        self.session = self.open_session()
        self.sessions.append(self.session)
        self.latest = self.view = self.error = None
        self._commands: queue.SimpleQueue[tuple[str, tuple] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._held: list[int] = []
        self._tapped: list[int] = []
        self._axes: dict[str, float] = {}
        self._pressed: float | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def films(self) -> list[Path]:
        """Films that are finished."""
        return [film for session in self.sessions for film in session.films]

    def close(self, patience: float = 30.0) -> bool:
        """Finish the film and close the envs; return whether the model ended in so many seconds.

        Some of gymnasium's envs shut all of pygame down when they close, so this comes last.
        """
        if self.sessions:
            self._commands.put(None)
            self._thread.join(patience)
            if self._thread.is_alive():
                return False
        for session in self.sessions:
            session.close()
        return True

    def finish(self) -> list[Path]:
        """Return the films, or raise what the model raised, if that was how it ended."""
        if self.error is not None:
            raise self.error
        return self.films

    def send(self, command: str, *args: Any) -> None:
        """Have the thread call a method of the session, between two steps."""
        self._commands.put((command, args))

    def press(self, key: int) -> None:
        """Hold a key down. A key that is released before the next step still counts in it."""
        with self._lock:
            if key not in self._held:
                self._held.append(key)
                self._tapped.append(key)
                self._pressed = self._pressed or perf_counter()

    def release(self, key: int | None = None) -> None:
        """Let go of a key, or of all; rewinding ends with its own."""
        with self._lock:
            self._held = [k for k in self._held if key is not None and k != key]
            if key is None:
                self._axes.clear()
        if key is None or ("rewind", (True,)) in asked(key):
            self.send("rewind", False)

    def steer(self, axes: dict[str, float]) -> None:
        """Change deflections of sticks and mouse, by name."""
        with self._lock:
            changed = self._axes | axes
            if changed != self._axes:
                self._pressed = self._pressed or perf_counter()
            self._axes = changed

    def _take_hands(self) -> tuple[tuple[int, ...], tuple[tuple[str, float], ...], float | None]:
        with self._lock:
            keys = tuple(dict.fromkeys([*self._held, *self._tapped]))
            axes = tuple((name, value) for name, value in self._axes.items() if value)
            pressed, self._pressed = self._pressed, None
            self._tapped.clear()
        return keys, axes, pressed

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            self.session.start()
            self._show()
            self._play()
        except BaseException as caught:
            error = caught
        try:
            self.session.finish_film()
        except Exception as caught:
            error = error or caught
        self.error = error

    def _play(self) -> None:
        session, due = self.session, perf_counter()
        while True:
            wait = None if session.idle else max(0.0, due - perf_counter())
            try:
                command = self._commands.get(timeout=wait)
            except queue.Empty:
                began = perf_counter()
                keys, axes, pressed = self._take_hands()
                session.tick(keys, axes)
                self._show(pressed)
                # a frame that comes late is made up for; a longer halt is not
                due = (due if due + session.period > began else began) + session.period
                continue
            if command is None:
                return
            if wait is None:
                self._pressed = None  # while time stood still no frame could answer
            name, args = command
            getattr(session, name)(*args)
            due = min(due, perf_counter() + session.period)  # going back begins at once
            self._show()

    def _show(self, pressed: float | None = None) -> None:
        stage = self.session.stage
        moment = stage.moment
        self.latest = stage, replace(moment, pressed=pressed) if pressed else moment
        self.view = replace(self.session.view(), pressed=pressed)
