"""One client, as one object.

Owns all that the loop knows of one client, beside the three tables that other programs may read
and fill (`_client_buffers`, `_client_job_watches`, `_client_machine_watches`).  The *client* is
the accepted socket, the *peer* is this object.  Loop thread only.
"""

from __future__ import annotations

import socket
import sys
import termios
from typing import Any

from spalloc_server import _clock
from spalloc_server._poller import POLLIN
from spalloc_server._wire.carried import Carried
from spalloc_server._wire.kernel_counts import waiting
from spalloc_server._wire.line_buffer import LineBuffer
from spalloc_server._wire.output import PAUSE_ABOVE, Output


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
        Bytes of memory that it was counted with last (see `memory`).
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
