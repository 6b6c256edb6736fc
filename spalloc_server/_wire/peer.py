"""One client, as one object: its socket, made ready and read, and all memory that it costs.

Owns all that the loop knows of one client, beside the three tables that other programs may read
and fill (`_client_buffers`, `_client_job_watches`, `_client_machine_watches`); and the sum over
all clients of unfinished input, unread output and watches.  The *client* is the accepted socket,
the *peer* is this object.  Must not know the meaning of the bytes.  Loop thread only.
"""

from __future__ import annotations

import socket
import sys
import termios
from collections.abc import Collection
from typing import Any

from spalloc_server import _clock
from spalloc_server._wire.carried import Carried
from spalloc_server._wire.kernel_counts import waiting
from spalloc_server._wire.line_buffer import LineBuffer
from spalloc_server._wire.output import PAUSE_ABOVE, Output
from spalloc_server.polling_server_core import POLLIN

#: Most bytes taken from one client in one turn; the sockets' buffers hold no more.
MAX_READ = 256 << 10
_READ = 64 << 10
#: Idle seconds before TCP asks whether a peer is still there, between questions, and how many.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
#: Bytes that all clients together may make the server hold.
MAX_TOTAL = 256 << 20


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
    """

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def count(self, peer: Peer) -> None:
        """Count a peer anew, since its input, output or watches changed."""
        weight = peer.weigh()
        self.total += weight - peer.weight
        peer.weight = weight

    def release(self, peer: Peer) -> None:
        """Count a peer no longer."""
        self.total -= peer.weight
        peer.weight = 0

    def fullest(self, peers: Collection[Peer]) -> Peer | None:
        """Return the peer to drop next; None while all hold no more than they may."""
        if self.total <= MAX_TOTAL:
            return None
        return max(peers, key=lambda peer: peer.weight, default=None)
