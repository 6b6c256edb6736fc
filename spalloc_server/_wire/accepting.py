"""Connections that are taken in, as far as there are descriptors.

Owns the descriptors that are kept for the rest of the server, and the pause when clients have all
others.  Must not know the fate of a connection that was taken.  Loop thread only.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import resource
import socket
from collections.abc import Callable

_log = logging.getLogger(__name__)

#: Between two tries to accept while there is no descriptor left. # arbitrary
_SECONDS_WITHOUT_ACCEPTING = 0.5
#: Descriptors that no client gets, beside one for each frame: state, control, metrics. # arbitrary
_DESCRIPTORS_IN_RESERVE = 64
#: So many are at most in use before the first client comes; frames need theirs later. # arbitrary
_OWN = 32
#: No more descriptors or memory for another socket; trying at once again is no use.
_OUT_OF_SOCKETS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Takes connections from listening sockets.

    Parameters
    ----------
    pause : callable
        ``pause(listening, seconds)`` has the loop leave a listening socket alone for a while.
    """

    def __init__(self, pause: Callable[[socket.socket, float], None]) -> None:
        self._pause = pause
        self._accepting = True
        # The number from which on descriptors are not for clients.
        self._first_reserved = math.inf
        self.reserve(0)

    def reserve(self, frames: int) -> None:
        """Keep clients from taking the descriptors that the rest of the server needs.

        Parameters
        ----------
        frames : int
            Frames, which take one each.
        """
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit == resource.RLIM_INFINITY:
            self._first_reserved = math.inf
        else:
            # However few there are, clients get a part of them, beyond the server's own.
            self._first_reserved = max(
                limit - frames - _DESCRIPTORS_IN_RESERVE, limit // 4, min(limit // 2, _OWN)
            )

    def accept(self, server_socket: socket.socket) -> socket.socket | None:
        """Take the next connection, if there is one that can be taken.

        Without descriptors to spare the listening socket is paused, so that the loop serves its
        clients and does not spin; the others are accepted later.

        Returns
        -------
        socket.socket or None
            Non-blocking, not registered.
        """
        if not self._accepting and self._only_reserve_is_left(server_socket):
            self._pause(server_socket, _SECONDS_WITHOUT_ACCEPTING)
            return None
        try:
            client, _ = server_socket.accept()
        except OSError as exc:
            if exc.errno in _OUT_OF_SOCKETS:
                self._accept_no_more(server_socket, str(exc))
            elif not isinstance(exc, BlockingIOError):
                # The client has gone already, or its network has.
                _log.info("A connection was lost before it was accepted: %s", exc)
            return None
        if not self._accepting:
            self._accepting = True
            _log.info("New clients are accepted again.")
        if client.fileno() >= self._first_reserved:
            self._accept_no_more(server_socket, "the other descriptors are kept in reserve")
        client.setblocking(False)
        return client

    def _accept_no_more(self, server_socket: socket.socket, reason: str) -> None:
        """Leave new clients waiting for a moment."""
        self._pause(server_socket, _SECONDS_WITHOUT_ACCEPTING)
        if self._accepting:
            self._accepting = False
            _log.error("No new clients until a connection closes: %s", reason)

    def _only_reserve_is_left(self, server_socket: socket.socket) -> bool:
        """Find out whether the next descriptor is not for clients."""
        try:
            number = os.dup(server_socket.fileno())
        except OSError:
            return True
        os.close(number)
        return number >= self._first_reserved
