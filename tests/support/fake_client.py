"""A client's connection without a socket."""

from __future__ import annotations

import json
from collections import deque
from typing import Any


class FakeClient:
    """Has only what the server asks of an accepted socket.

    Parameters
    ----------
    *incoming : bytes, None or Exception
        What each `recv` gives; afterwards nothing is there.
    room : int or None
        How many bytes it takes before it would block; None is no limit.
    """

    def __init__(self, *incoming: bytes | Exception, room: int | None = None) -> None:
        self.incoming = deque(incoming)
        self.room = room
        self.sent = b""
        self.fails: Exception | None = None
        self.closed = False

    def recv(self, size: int) -> bytes:
        if not self.incoming:
            raise BlockingIOError
        piece = self.incoming.popleft()
        if isinstance(piece, Exception):
            raise piece
        if len(piece) > size:
            self.incoming.appendleft(piece[size:])
        return piece[:size]

    def send(self, data: bytes) -> int:
        if self.fails is not None:
            raise self.fails
        taken = len(data) if self.room is None else min(self.room, len(data))
        if not taken:
            raise BlockingIOError
        if self.room is not None:
            self.room -= taken
        self.sent += data[:taken]
        return taken

    def fileno(self) -> int:
        return 10**6

    def getpeername(self) -> tuple[str, int]:
        return "10.0.0.7", 4711

    def close(self) -> None:
        self.closed = True

    @property
    def lines(self) -> list[Any]:
        """What was sent, line by line."""
        return [json.loads(line) for line in self.sent.splitlines()]
