"""One client, as one object.

Owns all that the loop knows of one client, beside the three tables that other programs may read
and fill (`_client_buffers`, `_client_job_watches`, `_client_machine_watches`).  The *client* is
the accepted socket, the *peer* is this object.  Loop thread only.
"""

from __future__ import annotations

import array
import fcntl
import socket
import sys
import termios
from typing import Any

from spalloc_server._poller import POLLIN
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
    watch_bytes : int
        Memory that its watches take.
    weight : int
        Bytes of memory that it was counted with last (see `memory`).
    """

    __slots__ = (
        "awaits",
        "client",
        "closed",
        "ending",
        "gone",
        "interest",
        "lines",
        "name",
        "output",
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
        self.watch_bytes = self.weight = 0

    @property
    def paused(self) -> bool:
        """Whether it must get or read its answers before more of its commands are taken."""
        return (self.awaits or self.output.size > PAUSE_ABOVE) and not self.gone

    @property
    def has_work(self) -> bool:
        """Whether a command of it can be run now."""
        return not self.paused and self.lines.has_line()

    def bytes_served(self) -> int:
        """Return how many bytes of commands were taken so far."""
        return self.lines.taken

    def bytes_come(self) -> int:
        """Return how many bytes have come in, those that are not read yet included."""
        come = self.lines.taken + len(self.lines)
        return come + (unread(self.client) if isinstance(self.client, socket.socket) else 0)

    def weigh(self) -> int:
        """Return the bytes of memory that it makes the server hold: input, output, watches."""
        held = self.lines.held
        # Buffers that grow leave holes that the allocator cannot use for others: a quarter more.
        unfinished = sys.getsizeof(held) * 5 // 4 if held else 0
        return unfinished + self.output.size + self.watch_bytes


def unread(client: socket.socket) -> int:
    """Return how many bytes wait in a socket to be read."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(client.fileno(), termios.FIONREAD, count)
    except (OSError, ValueError):
        return 0  # closed
    return count[0]
