"""One of those who watch a session in a browser."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from websockets import ConnectionClosed
from websockets.asyncio.server import ServerConnection

IN_FLIGHT = 4  # frames that a viewer may not have drawn yet


class Viewer:
    """One page that is open."""

    def __init__(self, number: int, connection: ServerConnection) -> None:
        self.number, self.connection = number, connection
        self.mail: dict[str, str] = {}  # the newest of each type, not sent yet
        self.sent = 0  # number of the latest frame
        self.flying: list[int] = []  # frames sent and not drawn yet
        self.heard, self.lost = monotonic(), False  # when it last said something; too long ago
        self.news = asyncio.Event()

    def post(self, message: dict[str, Any]) -> None:
        """Have a message sent; it takes the place of one of its type that waits."""
        self.mail[message["type"]] = json.dumps(message)
        self.news.set()

    async def send(self, newest: Callable[[], tuple[int, bytes]]) -> None:
        """Send what is posted, then the newest frame, as fast as the viewer takes them.

        Args:
            newest: Returns the number of the newest frame, and its message.
        """
        with suppress(ConnectionClosed):
            while await self.news.wait():
                self.news.clear()
                while self.mail:
                    await self.connection.send(self.mail.pop(next(iter(self.mail))))
                number, frame = newest()
                if self.sent < number and len(self.flying) < IN_FLIGHT:
                    self.sent = number
                    self.flying.append(number)
                    await self.connection.send(frame)
