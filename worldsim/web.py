"""A session in the browser: one page, one WebSocket, several viewers and one driver.

The model runs on the `Player`'s thread, as for the window. This thread runs an event loop that
looks for news and tells every viewer; each has a sender of its own, which always sends the newest
frame and skips what it had no time for, so a slow viewer delays nobody. `docs/web-protocol.md`
describes the messages.
"""

import asyncio
import itertools
import json
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pygame

from worldsim.screen import key_codes
from worldsim.viewing.controls import COMMANDS, asked
from worldsim.viewing.film import PIXELS
from worldsim.viewing.player import Player
from worldsim.viewing.session import Session
from worldsim.viewing.stage import Moment, Stage
from worldsim.viewing.web_messages import (
    LONGEST,
    SUBPROTOCOL,
    JpegEncoder,
    frame_message,
    key_names,
    read_message,
    stage_message,
)

try:
    from websockets import ConnectionClosed
    from websockets.asyncio.server import ServerConnection, serve

    from worldsim.viewing.web_door import Door, names
    from worldsim.viewing.web_viewer import IN_FLIGHT, Viewer
except ImportError:
    raise ImportError(
        "playing in a browser needs websockets: `pip install 'worldsim-sdk[web]'`"
    ) from None

GLANCE = 0.004  # seconds between two looks for news
SILENT = 2.0  # seconds in which a driver must draw some of what it gets, or another one drives
# what of the window's own commands is done here; the page does others itself
SESSIONS = {"_record": ("record", ()), "open_gallery": ("_open_gallery", ())}


class Broadcast:
    """Serve a session to browsers.

    Args:
        open_session: Makes a fresh session; called again if the model fails and the driver retries.
        title: Of the page.
        host: Address to listen on.
        port: 0 takes a free one.
        pixels: How frames are enlarged at first, one of `film.PIXELS`.
        hud: Whether to show the HUD at first.
        record: Whether to start filming at the first frame.
        aliases: The key whose job another takes over, by pygame's codes.
    """

    def __init__(
        self,
        open_session: Callable[[], Session],
        title: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        pixels: str = PIXELS[0],
        hud: bool = True,
        record: bool = False,
        aliases: Mapping[int, int] | None = None,
    ) -> None:
        self.player, self.title, self.host, self.port = Player(open_session), title, host, port
        self.pixels, self.hud, self.record_first = pixels, hud, record
        self.aliases = dict(aliases or {})
        self.door, self.url = Door(host), ""
        self.viewers: list[Viewer] = []  # the first one drives
        self._numbers = itertools.count(1)
        self._jpeg = JpegEncoder()
        self._shown: tuple[Stage, Moment] | None = None
        self._frame, self._frames = b"", 0
        self._stage: dict[str, Any] | None = None
        self._state: dict[str, Any] | None = None
        self._resting = False

    def run(self) -> list[Path]:
        """Serve until Ctrl-C.

        Returns:
            The films that were recorded.

        Raises:
            OSError: If nobody can listen on this address and port.
            BaseException: What the model raised, if that was how it ended.
        """
        try:
            with ThreadPoolExecutor(1) as beside:  # the loop of a notebook runs here already
                served = beside.submit(lambda: asyncio.run(self.serve()))
                try:
                    served.result()
                except KeyboardInterrupt:
                    self._loop.call_soon_threadsafe(self._task.cancel)
                    raise
        except KeyboardInterrupt:
            pass
        finally:
            self.close()
        return self.player.finish()

    async def serve(self) -> None:
        """Serve until this task is cancelled or the model fails before its first frame."""
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        log = logging.Logger("worldsim.web")
        log.addFilter(lambda record: "handshake" not in record.msg)  # strangers cause no noise
        listen = partial(
            serve, self._meet, self.host, self.port, process_request=self.door.admit, logger=log,
            subprotocols=[SUBPROTOCOL], max_size=LONGEST, compression=None, server_header=None,
            close_timeout=2,
        )  # fmt: skip
        try:
            server = await listen()
        except OSError as error:
            raise OSError(
                f"cannot listen on {self.host}, port {self.port}: {error}; choose another "
                "`web_port`, or 0 for a free one"
            ) from error
        async with server:
            port = server.sockets[0].getsockname()[1]
            urls = [f"http://{name}:{port}/?token={self.door.token}" for name in names(self.host)]
            self.url = urls[0]
            print(f"{self.title} plays at {', or '.join(urls)}\nCtrl-C ends it", flush=True)
            self.player.start()
            while self.player.error is None or self.player.latest is not None:
                self._look()
                await asyncio.sleep(GLANCE)

    def close(self) -> None:
        """Wait for the film to be written, say where it is, close the envs."""
        if self.player.close():
            for session in self.player.sessions:
                print(*session.notices, sep="\n", end="\n" if session.notices else "")

    async def _meet(self, connection: ServerConnection) -> None:
        """Talk with a viewer for as long as it stays."""
        viewer = Viewer(next(self._numbers), connection)
        viewer.post(self._hello(viewer))
        for message in (self._stage, self._state):
            if message is not None:
                viewer.post(message)
        self.viewers.append(viewer)
        sender = asyncio.create_task(viewer.send(self._newest))
        try:
            async for data in connection:
                viewer.heard = monotonic()
                try:
                    self._obey(viewer, read_message(data))
                except ValueError as error:
                    await connection.send(json.dumps({"type": "error", "text": str(error)}))
        except ConnectionClosed:
            pass
        finally:
            sender.cancel()
            self._let_go(viewer)

    def _newest(self) -> tuple[int, bytes]:
        return self._frames, self._frame

    def _look(self) -> None:
        """Tell the viewers what is new."""
        session, latest = self.player.session, self.player.latest
        if session.notices:
            self._post({"type": "notice", "text": session.notices.popleft()})
        if latest is not None and latest is not self._shown and self.viewers:
            if self._shown is None and self.record_first:
                self.player.send("record", self.hud)
            if self._shown is None or latest[0] is not self._shown[0]:
                bound = self._named(frozenset().union(*latest[0].bindings))
                self._stage = stage_message(latest[0], session.fps, bound)
                self._post(self._stage)
            self._shown, self._frames = latest, self._frames + 1
            jpeg = self._jpeg.encode(latest[1].frame)
            self._frame = frame_message(self._frames, *latest, jpeg)
            for viewer in self.viewers:
                viewer.news.set()
        if (state := self._describe()) != self._state:
            self._state = state
            self._post(state)
        self._rest()
        self._miss()

    def _miss(self) -> None:
        """Let go of the keys of a driver that draws nothing any more; the next one drives."""
        for driver in self.viewers[:1]:
            lost = len(driver.flying) >= IN_FLIGHT and monotonic() - driver.heard > SILENT
            if lost and not driver.lost:
                self.player.release()
                self.viewers.append(self.viewers.pop(0))
            driver.lost = lost

    def _rest(self) -> None:
        """Stop time while nobody watches."""
        if self._resting == bool(self.viewers):
            self._resting = not self.viewers
            self.player.send("rest", self._resting)

    def _post(self, message: dict[str, Any]) -> None:
        for viewer in self.viewers:
            viewer.post(message)

    def _hello(self, viewer: Viewer) -> dict[str, Any]:
        commands = [
            {
                "keys": key_names(self._named(keys)),
                "text": text,
                "command": SESSIONS.get(command, (command,))[0],
            }
            for keys, text, command, _ in COMMANDS
        ]
        return {
            "type": "hello", "version": 1, "you": viewer.number, "title": self.title,
            "pixels": self.pixels, "hud": self.hud, "commands": commands,
        }  # fmt: skip

    def _named(self, keys: Collection[int]) -> list[int]:
        """Return the keys that do what these do: themselves, unless they do something else here."""
        own = sorted(keys) if isinstance(keys, frozenset) else keys
        others = [key for key, job in self.aliases.items() if job in keys]
        return [*(key for key in own if key not in self.aliases), *others]

    def _describe(self) -> dict[str, Any]:
        """Say how the session stands."""
        session, film, error = self.player.session, self.player.session.film, self.player.error
        return {
            "type": "state",
            "driver": self.viewers[0].number if self.viewers else None,
            "viewers": len(self.viewers),
            "paused": session.paused,
            "rewinding": session.rewinding,
            "speed": session.speed,
            "pilot": session.driver,
            "recorded": int(film.seconds) if film else None,
            "error": f"{type(error).__name__}: {error}" if error else None,
            "films": [str(film) for film in self.player.films],
        }

    def _obey(self, viewer: Viewer, message: dict[str, Any]) -> None:
        """Do what a viewer asks, if it may.

        Raises:
            ValueError: If it may not, or if there is no such key.
        """
        kind = message["type"]
        if kind == "seen":
            viewer.flying = [number for number in viewer.flying if number > message["frame"]]
            viewer.news.set()
            return
        if viewer is not self.viewers[0]:
            raise ValueError("you are watching; whoever came first drives until they leave")
        if kind == "typing":
            if self.player.latest is not None:
                self.player.send("expect_prompt")
            return
        if kind == "prompt":
            prompt, begin = message["text"].strip(), bool(message["begin"])
            if self.player.latest is not None and (prompt or begin):
                self.player.send("begin" if begin else "set_prompt", prompt)
            return
        name = message["key"]
        key = None if name is None else key_codes().get(name)
        if name is not None and key is None:
            raise ValueError("`key` must be a name that pygame has for a key: left, a, space, …")
        if self.player.error is None:  # else R starts again, whatever it stands for
            key = self.aliases.get(key, key)
        if kind == "press":
            self._press(key)
        else:
            self.player.release(key)

    def _press(self, key: int) -> None:
        """Drive, if the env binds the key; else obey."""
        if self.player.error is not None and key == pygame.K_r:
            self.player.start()
            self._shown = None
        if self.player.latest is None or self.player.error is not None:
            return
        if any(key in combination for combination in self.player.latest[0].bindings):
            self.player.press(key)
            return
        for command, args in asked(key):
            command, args = SESSIONS.get(command, (command, args))
            args = (self.hud,) if command == "record" else args
            if not command.startswith("_"):
                self.player.send(command, *args)

    def _let_go(self, viewer: Viewer) -> None:
        """Forget a viewer; if it drove, the next one finds no key held."""
        if viewer is self.viewers[0]:
            self.player.release()
        self.viewers.remove(viewer)
