"""Connections that are being closed politely.

A socket that is closed while unread input is still coming in sends a reset,
which can destroy output that its peer has yet to read.  So each is shut
for sending, read until its peer is done or its time is over, and then closed.
Loop thread only.
"""

from __future__ import annotations

import logging
import socket

from spalloc_server import _clock

log = logging.getLogger(__name__)

#: How long a peer has to read our end of file and close its side. # arbitrary
_SECONDS = 2.0
#: At most this many at a time; the oldest goes first. # arbitrary
_MOST = 256
#: Most bytes that are thrown away of one connection in one go.
_READ, _READS = 65_536, 8


class Lingering:
    """Sockets of disconnected clients, until they can be closed.

    Attributes
    ----------
    sockets : dict
        Those that are not closed yet, with their deadlines.
    tick : float
        Seconds after which to call `tend` again while there are any.
    """

    tick = 0.05

    def __init__(self) -> None:
        self.sockets: dict[socket.socket, float] = {}

    def add(self, client: socket.socket) -> None:
        """Shut a socket for sending, and close it now or later."""
        try:
            client.shutdown(socket.SHUT_WR)
        except OSError:
            client.close()  # the peer has gone already
            return
        if _drained(client):
            client.close()
            return
        if len(self.sockets) >= _MOST:
            oldest = next(iter(self.sockets))
            _drained(oldest)
            self._close(oldest)
        self.sockets[client] = _clock.monotonic() + _SECONDS

    def tend(self) -> None:
        """Close those that are done or out of time."""
        now = _clock.monotonic()
        for client, deadline in list(self.sockets.items()):
            if _drained(client) or deadline <= now:
                self._close(client)

    def close(self) -> None:
        """Close all at once."""
        for client in list(self.sockets):
            _drained(client)
            self._close(client)

    def _close(self, client: socket.socket) -> None:
        del self.sockets[client]
        client.close()


def _drained(client: socket.socket) -> bool:
    """Throw away the input; returns whether the peer has ended its side."""
    try:
        client.setblocking(False)
        for _ in range(_READS):
            if not client.recv(_READ):
                return True
    except BlockingIOError:
        return False
    except OSError as e:
        log.debug("a closing connection was lost: %s", e)
        return True
    return False
