"""Output of one client that waits until the kernel takes it.

Owns the bytes and how many there are; knows nothing of their meaning, nor of polling.  A client
is any object with ``send(data)``.  Loop thread only.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import Protocol

from spalloc_server._wire import stand_ins

#: A client that leaves more bytes of notifications than this unread is dropped.
MAX_UNREAD = 16 << 20
#: No further command of a client is taken while more than this waits for it.
PAUSE_ABOVE = 1 << 20
#: Pieces are joined up to about this size, so that many replies are one send.
_JOIN = 1 << 16


class Client(Protocol):
    """An object that output can be sent to."""

    def send(self, data: bytes, /) -> int:
        """Send some of the data, return how many bytes were taken."""


class Output:
    """Waiting output of one client.

    Attributes
    ----------
    size : int
        Bytes that wait.
    handed : int
        Bytes that the kernel has taken so far.
    held : int
        Those that wait, the last of them, that must not be sent yet (see `hold`).
    allowed : int
        Bytes that may wait before the client is dropped.  A reply may be of any size while its
        client reads it, so it raises the limit until all has been sent.
    """

    __slots__ = ("_batches", "_offset", "_pieces", "allowed", "handed", "held", "size")

    def __init__(self) -> None:
        self.size = self.handed = 0
        self.allowed = MAX_UNREAD
        self._pieces: deque[bytes] | None = None
        self.held = 0
        # (position, bytes) of each hold, oldest first; later output is behind them.
        self._batches: deque[tuple[int, int]] | None = None
        # Bytes of the first piece that were sent.
        self._offset = 0

    def add(self, data: bytes) -> None:
        """Put data behind the bytes that wait."""
        if self._pieces is None:
            self._pieces = deque()
        self._pieces.append(data)
        self.size += len(data)
        if self.held:
            self.held += len(data)

    def add_reply(self, data: bytes) -> None:
        """Put a reply behind the bytes that wait."""
        self.add(data)
        self.allow_reply()

    def allow_reply(self) -> None:
        """Let the bytes that wait stay until their client has read them: a reply is among them."""
        self.allowed = max(self.allowed, self.size + MAX_UNREAD)

    def hold(self, position: int) -> None:
        """Send nothing of the bytes that wait now until `release` reaches a position."""
        if self._batches is None:
            self._batches = deque()
        fresh = self.size - sum(size for _, size in self._batches)
        if fresh:
            self._batches.append((position, fresh))
            self.held = self.size

    def release(self, position: int) -> None:
        """Let the bytes go that were held for this position or an earlier one."""
        batches = self._batches
        while batches and batches[0][0] <= position:
            self.held -= batches.popleft()[1]
        if not batches:
            self.held = 0  # nothing holds later bytes but those in front of them

    def send_new(self, client: Client, data: bytes) -> bool:
        """Send new data, behind the bytes that wait.

        Returns
        -------
        bool
            Whether nothing is left.

        Raises
        ------
        OSError
            If the client is gone.
        """
        if self.size:
            self.add(data)
            return self.send(client)
        try:
            sent = client.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        if sent == len(data):
            self.handed += sent
            return True
        self._keep_rest(data, stand_ins.bytes_taken(sent, len(data)))
        return not self.size

    def send(self, client: Client) -> bool:
        """Send as much as the kernel takes now.

        Returns
        -------
        bool
            Whether nothing is left.

        Raises
        ------
        OSError
            If the client is gone.
        """
        pieces = self._pieces
        while self.size > self.held:
            assert pieces is not None
            if self._offset or len(pieces) == 1:
                data = pieces.popleft()
            else:
                data = _joined(pieces, self.size - self.held)
            sent = self._send_piece(client, data)
            self.handed += sent
            if self._offset + sent < len(data):
                pieces.appendleft(data)
                self._offset += sent
                self.size -= sent
                return False
            self.size -= len(data) - self._offset
            self._offset = 0
        if self.size:
            return False
        self.allowed = MAX_UNREAD
        return True

    def clear(self) -> None:
        """Drop all bytes that wait."""
        self._pieces, self._batches = None, None
        self.size = self.held = self._offset = 0
        self.allowed = MAX_UNREAD

    def _keep_rest(self, data: bytes, sent: int) -> None:
        self.handed += sent
        if sent < len(data):
            self.add(data)
            self._offset = sent
            self.size -= sent

    def _send_piece(self, client: Client, data: bytes) -> int:
        """Have the kernel take a piece as far as it can; returns how many bytes it took."""
        rest: bytes | memoryview = data
        if self._offset:
            # A long reply is sent in many parts: the rest of it is not copied for each.
            rest = memoryview(data)[self._offset :]
            if not isinstance(client, socket.socket):
                rest = bytes(rest)
        try:
            sent = client.send(rest)  # type: ignore[arg-type]
        except (BlockingIOError, InterruptedError):
            return 0
        size = len(rest)
        return size if sent == size else stand_ins.bytes_taken(sent, size)


def _joined(pieces: deque[bytes], most: int) -> bytes:
    """Take the next piece, with as many small ones after it as go well in one send.

    `most` bytes may be sent; no piece is in part behind them.
    """
    first = pieces.popleft()
    if len(first) >= _JOIN:
        return first
    joined, size = [first], len(first)
    while pieces and size < min(_JOIN, most):
        joined.append(pieces.popleft())
        size += len(joined[-1])
    return b"".join(joined)
