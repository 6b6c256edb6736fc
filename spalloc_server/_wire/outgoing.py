"""What waits to be sent, client by client.

Owns the bytes that the kernel has not yet taken and how many there are; knows
nothing of what they say, nor of polling.  A client is any object with
``send(data)``.  Loop thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

#: A client whose waiting output passes this never reads: it is dropped.
MAX_PER_CLIENT = 16 << 20
#: All clients' waiting output together; beyond it the fullest is dropped.
MAX_TOTAL = 256 << 20
#: No further command of a client is taken while more than this waits for it.
PAUSE_ABOVE = 1 << 20
#: Pieces are joined up to about this size, so that many replies are one send.
_JOIN = 1 << 16


class Client(Protocol):
    """Whatever output can be sent to."""

    def send(self, data: bytes, /) -> int:
        """Send some of the data, return how many bytes were taken."""


class _Waiting:
    """Several pieces, in order."""

    __slots__ = ("pieces", "size")

    def __init__(self, data: bytes) -> None:
        self.pieces = deque((data,))
        self.size = len(data)


class Outgoing:
    """Waiting output of all clients.

    Attributes
    ----------
    waiting : dict
        Has those clients as keys for whom something waits; for others only to be looked at.
    """

    def __init__(self) -> None:
        # Most replies come one at a time and go at once: a single piece is kept as it is.
        self.waiting: dict[Client, bytes | _Waiting] = {}
        self._total = 0

    def __bool__(self) -> bool:
        """Whether anything waits for anybody."""
        return bool(self.waiting)

    def __contains__(self, client: Client) -> bool:
        return client in self.waiting

    def __iter__(self) -> Iterator[Client]:
        return iter(list(self.waiting))

    def paused(self, client: Client) -> bool:
        """Return whether so much waits for a client that it must read before it may go on."""
        return client in self.waiting and self.size(client) > PAUSE_ABOVE

    def size(self, client: Client) -> int:
        """Return how many bytes wait for a client."""
        waiting = self.waiting.get(client, b"")
        return len(waiting) if isinstance(waiting, bytes) else waiting.size

    def add(self, client: Client, data: bytes) -> int:
        """Put data behind what already waits; returns how many bytes wait now."""
        self._total += len(data)
        waiting = self.waiting.get(client)
        if waiting is None:
            self.waiting[client] = data
            return len(data)
        if isinstance(waiting, bytes):
            waiting = self.waiting[client] = _Waiting(waiting)
        waiting.pieces.append(data)
        waiting.size += len(data)
        return waiting.size

    def send_new(self, client: Client, data: bytes) -> bool:
        """Send data that is new, behind what already waits.

        Returns
        -------
        bool
            Whether nothing is left.

        Raises
        ------
        OSError
            If the client is gone.
        """
        if client not in self.waiting:
            try:  # as `_take`, without the call: most that is ever sent goes this way
                sent = client.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            if sent == len(data) or not isinstance(sent, int):
                return True  # a stand-in need not say how much it took
            self.add(client, data[sent:])
            return False
        self.add(client, data)
        return self.send(client)

    def forget(self, client: Client) -> None:
        """Drop what waits for a client."""
        self._total -= self.size(client)
        self.waiting.pop(client, None)

    def send(self, client: Client) -> bool:
        """Send what the kernel takes now.

        Returns
        -------
        bool
            Whether nothing is left.

        Raises
        ------
        OSError
            If the client is gone.
        """
        waiting = self.waiting.get(client)
        if waiting is None:
            return True
        if isinstance(waiting, bytes):
            del self.waiting[client]
            self._total -= len(waiting)
            return self.send_new(client, waiting)
        pieces = waiting.pieces
        while pieces:
            data = pieces.popleft() if len(pieces) == 1 else _joined(pieces)
            sent = _take(client, data)
            waiting.size -= sent
            self._total -= sent
            if sent < len(data):
                pieces.appendleft(data[sent:])
                return False
        del self.waiting[client]
        return True

    def fullest_beyond_total(self) -> Client | None:
        """Return whom to drop so that all together hold no more than they may."""
        if self._total <= MAX_TOTAL:
            return None
        return max(self.waiting, key=self.size)


def _take(client: Client, data: bytes) -> int:
    """Have the kernel take what it can; returns how many bytes that were."""
    try:
        sent = client.send(data)
    except (BlockingIOError, InterruptedError):
        return 0
    # A stand-in need not say.
    return sent if isinstance(sent, int) else len(data)


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
