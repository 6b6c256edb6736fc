"""An accepted socket: made ready, and read.

Knows the options that a client's socket wants and the ways in which reading ends.  Must not know
the meaning of the bytes.
"""

from __future__ import annotations

import socket
from typing import Any

#: Most bytes taken from one client in one turn; the sockets' buffers hold no more.
MAX_READ = 256 << 10
_READ = 64 << 10
#: Idle seconds before TCP asks whether a peer is still there, between questions, and how many.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


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
