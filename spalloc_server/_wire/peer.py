"""One client, as one object: its socket, its input and output, and all memory that it costs.

Owns all that the loop knows of one client, beside the three tables that other programs may read
and fill (`_client_buffers`, `_client_job_watches`, `_client_machine_watches`); and the sum over
all clients of unfinished input, unread output and watches.  The *client* is the accepted socket,
the *peer* is this object.  Must not know the meaning of the bytes, nor of polling.  Loop thread
only.
"""

from __future__ import annotations

import socket
import sys
import termios
from collections import deque
from collections.abc import Collection, Iterator
from typing import Any, Protocol

from spalloc_server import _clock
from spalloc_server._wire import stand_ins
from spalloc_server._wire.carried import Carried
from spalloc_server._wire.kernel_counts import waiting
from spalloc_server._wire.line_buffer import LineBuffer
from spalloc_server.polling_server_core import POLLIN

#: Most bytes taken from one client in one turn; the sockets' buffers hold no more.
MAX_READ = 256 << 10
_READ = 65_536
#: Idle seconds before TCP asks whether a peer is still there, between questions, and how many.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
#: Bytes that all clients together may make the server hold.
MAX_TOTAL = 256 << 20
#: A client that leaves more bytes of notifications than this unread is dropped.
MAX_UNREAD = 16 << 20
#: No further command of a client is taken while more than this waits for it.
PAUSE_ABOVE = 1 << 20
#: Pieces are joined up to about this size, so that many replies are one send.
_JOIN = 65_536


class Client(Protocol):
    """An object that output can be sent to."""

    def send(self, data: bytes, /) -> int:
        """Send some of the data, return how many bytes were taken."""


class Tried:
    """A client that a send was tried for already: gives the outcome of that.

    Parameters
    ----------
    client : socket
        The client itself.
    outcome : int or Exception
        What its ``send`` returned or raised.
    """

    __slots__ = ("client", "outcome")

    def __init__(self, client: Any, outcome: Any) -> None:
        self.client = client
        self.outcome = outcome

    def send(self, _data: bytes, /) -> int:
        """Give the outcome."""
        if isinstance(self.outcome, Exception):
            raise self.outcome
        taken: int = self.outcome
        return taken


def send_to_each(clients: Iterator[Any], data: bytes) -> Tried | None:
    """Send the same data to one client after the other, none of which has output that waits.

    This is where most of the time goes if many are told, so that it does nothing else.

    Returns
    -------
    Tried or None
        The first that did not take all of the data; the clients after it are left in `clients`.
    """
    size = len(data)
    for client in clients:
        try:
            taken = client.send(data)
        except Exception as e:  # noqa: BLE001 - for the caller, who tries this client alone
            return Tried(client, e)
        if taken != size:
            return Tried(client, taken)
    return None


class Output:
    """Waiting output of one client.

    Attributes
    ----------
    size : int
        Bytes that wait.
    handed : int
        Bytes that the kernel has taken so far; not those of `send_to_each`, which no carried
        connection is told by.
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


class Peer:
    """The loop's side of one client.

    Attributes
    ----------
    client : socket
        The accepted socket, or a stand-in for one.
    name : str or None
        IP address; None until somebody asks, and if there is none.
    lines : LineBuffer
        Input that is not taken yet.
    output : Output
        Output that the kernel has not taken yet.
    interest : int
        Events that are waited for (`POLLIN`, `POLLOUT`).
    ending : bool
        It has sent an end of file and gets its last answers.
    gone : bool
        It cannot be answered any more; its last commands are carried out.
    closed : bool
        It has been disconnected.
    awaits : bool
        Another thread works out the answer to its last command.
    since : float
        Monotonic time of its beginning.
    carried : Carried or None
        Its way over a restart, if it has one.
    watch_bytes : int
        Memory that its watches take.
    weight : int
        Bytes of memory that it was counted with last (see `Memory`).
    """

    __slots__ = (
        "awaits",
        "carried",
        "client",
        "closed",
        "ending",
        "gone",
        "interest",
        "lines",
        "name",
        "output",
        "since",
        "watch_bytes",
        "weight",
    )

    def __init__(self, client: Any) -> None:
        self.client = client
        self.name: str | None = None
        self.lines = LineBuffer()
        self.output = Output()
        self.interest = POLLIN
        self.ending = self.gone = self.closed = self.awaits = False
        self.since = _clock.monotonic()
        self.carried: Carried | None = None
        self.watch_bytes = self.weight = 0

    @property
    def paused(self) -> bool:
        """Whether it must get or read its answers before more of its commands are taken."""
        return (self.awaits or self.output.size > PAUSE_ABOVE) and not self.gone

    @property
    def all_answered(self) -> bool:
        """Whether all of its input was taken, and it may send more."""
        return not (len(self.lines) or self.awaits or self.ending or self.gone or self.closed)

    @property
    def has_work(self) -> bool:
        """Whether a command of it can be run now."""
        return bool(self.lines.held) and not self.paused and self.lines.has_line()

    def foretell(self, size: int) -> None:
        """Note that it has all its answers once so much more output is with the kernel.

        Said before the output goes, so that it is true at every moment.
        """
        if self.carried is not None and self.all_answered and not self.output.held:
            self.carried.note_output(self.output.handed + size)

    def bytes_served(self) -> int:
        """Return how many bytes of commands were taken so far."""
        return self.lines.taken

    def bytes_come(self) -> int:
        """Return how many bytes have come in, those that are not read yet included."""
        come = self.lines.taken + len(self.lines)
        if not isinstance(self.client, socket.socket):
            return come
        try:
            return come + waiting(self.client, termios.FIONREAD)
        except (OSError, ValueError):
            return come  # closed

    def weigh(self) -> int:
        """Return the bytes of memory that it makes the server hold: input, output, watches."""
        held = self.lines.held
        # Buffers that grow leave holes that the allocator cannot use for others: a quarter more.
        unfinished = sys.getsizeof(held) * 5 // 4 if held else 0
        return unfinished + self.output.size + self.watch_bytes


def prepare(client: socket.socket) -> None:
    """Have small replies go out at once, and dead peers be noticed.

    Raises
    ------
    OSError
        If the client has gone already.
    """
    if client.family != socket.AF_UNIX:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            client.setsockopt(socket.IPPROTO_TCP, option, value)


def receive(client: Any) -> tuple[bytes, OSError | EOFError | None]:
    """Read the bytes that have arrived, and how the client went away if it did."""
    received = b""
    try:
        while piece := client.recv(_READ):
            received += piece
            if len(piece) != _READ or len(received) >= MAX_READ:
                # That was all, or enough; a stand-in may give more than it was asked for.
                return received, None
    except (BlockingIOError, InterruptedError):
        return received, None
    except OSError as e:
        return received, e
    return received, EOFError("end of file")


class Memory:
    """Bytes that clients make the server hold.

    Attributes
    ----------
    total : int
        Of all clients that were counted.
    unread : set of Peer
        Those with output that waited when they were counted last.
    """

    __slots__ = ("total", "unread")

    def __init__(self) -> None:
        self.total = 0
        self.unread: set[Peer] = set()

    def count(self, peer: Peer) -> None:
        """Count a peer anew, since its input, output or watches changed."""
        weight = peer.weigh()
        self.total += weight - peer.weight
        peer.weight = weight
        if peer.output.size:
            self.unread.add(peer)
        else:
            self.unread.discard(peer)

    def release(self, peer: Peer) -> None:
        """Count a peer no longer."""
        self.total -= peer.weight
        peer.weight = 0
        self.unread.discard(peer)

    def fullest(self, peers: Collection[Peer]) -> Peer | None:
        """Return the peer to drop next; None while all hold no more than they may."""
        if self.total <= MAX_TOTAL:
            return None
        return max(peers, key=lambda peer: peer.weight, default=None)


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
