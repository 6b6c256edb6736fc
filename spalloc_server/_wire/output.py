"""Output of one client that waits until the kernel takes it.

Owns the bytes and how many there are; knows nothing of what they say, nor of polling.  A client
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
    allowed : int
        Bytes that may wait before the client is dropped.  A reply may be of any size while its
        client reads it, so it raises the limit until all has been sent.
    """

    __slots__ = ("_offset", "_pieces", "allowed", "size")

    def __init__(self) -> None:
        self.size = 0
        self.allowed = MAX_UNREAD
        self._pieces: deque[bytes] | None = None
        # Bytes of the first piece that were sent.
        self._offset = 0

    def add(self, data: bytes) -> None:
        """Put data behind the bytes that wait."""
        if self._pieces is None:
            self._pieces = deque()
        self._pieces.append(data)
        self.size += len(data)

    def add_reply(self, data: bytes) -> None:
        """Put a reply behind the bytes that wait."""
        self.add(data)
        self.allow_reply()

    def allow_reply(self) -> None:
        """Let the bytes that wait stay until their client has read them: a reply is among them."""
        self.allowed = max(self.allowed, self.size + MAX_UNREAD)

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
        while self.size:
            assert pieces is not None
            data = _joined(pieces) if not self._offset and len(pieces) > 1 else pieces.popleft()
            sent = self._send_piece(client, data)
            if self._offset + sent < len(data):
                pieces.appendleft(data)
                self._offset += sent
                self.size -= sent
                return False
            self.size -= len(data) - self._offset
            self._offset = 0
        self.allowed = MAX_UNREAD
        return True

    def clear(self) -> None:
        """Drop all bytes that wait."""
        self._pieces, self.size, self._offset = None, 0, 0
        self.allowed = MAX_UNREAD

    def _keep_rest(self, data: bytes, sent: int) -> None:
        if sent < len(data):
            self.add(data)
            self._offset = sent
            self.size -= sent

    def _send_piece(self, client: Client, data: bytes) -> int:
        """Have the kernel take what it can of a piece; returns how many bytes it took."""
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
        return stand_ins.bytes_taken(sent, len(rest))


def _joined(pieces: deque[bytes]) -> bytes:
    """Take the next piece, with as many small ones after it as go well in one send."""
    first = pieces.popleft()
    if len(first) >= _JOIN:
        return first
    joined, size = [first], len(first)
    while pieces and size < _JOIN:
        joined.append(pieces.popleft())
        size += len(joined[-1])
    return b"".join(joined)
