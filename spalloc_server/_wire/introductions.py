"""Connections without an identity yet: a proxy's header or a user's name is to come.

Owns these connections until they are introduced, refused or too slow.  Must not know the policy,
nor how clients are served.  Loop thread only, but for the thread that looks names up.
"""

from __future__ import annotations

import contextlib
import pwd
import socket
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

from spalloc_server._access.identity import Identity
from spalloc_server._access.proxy_header import (
    MAX_HEADER,
    SECONDS_FOR_HEADER,
    HeaderError,
    read_header,
)

#: Proxied connections that may be waiting for their header at a time; the oldest goes first.
MAX_WAITING = 1024
#: Seconds for which a user's name is remembered.
_SECONDS_A_NAME_LASTS = 300.0


class Introduced(NamedTuple):
    """A connection that can be judged.

    Attributes
    ----------
    client : socket
    identity : Identity or None
        None for a connection of the proxy's own, and for one that cannot be trusted.
    rest : bytes
        The client's own bytes that came behind the header.
    fault : str
        The reason in words, if it cannot be trusted.
    """

    client: socket.socket
    identity: Identity | None
    rest: bytes = b""
    fault: str = ""


class ProxyHeaders:
    """Connections of a proxy that have yet to send their whole header.

    Attributes
    ----------
    waiting : dict
        {client: (bytes so far, deadline)}; the oldest first.
    """

    def __init__(self) -> None:
        self.waiting: dict[socket.socket, tuple[bytearray, float]] = {}

    def __contains__(self, client: object) -> bool:
        return client in self.waiting

    def add(self, client: socket.socket, now: float) -> socket.socket | None:
        """Wait for the header of a connection; returns one that must go to make room."""
        self.waiting[client] = bytearray(), now + SECONDS_FOR_HEADER
        return next(iter(self.waiting)) if len(self.waiting) > MAX_WAITING else None

    def read(self, client: socket.socket) -> Introduced | None:
        """Read as much of a header as has come; None if more is to come."""
        held, _ = self.waiting[client]
        try:
            piece = client.recv(MAX_HEADER)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            piece = b""
        if not piece:
            del self.waiting[client]
            return Introduced(client, None)
        held += piece
        try:
            header = read_header(held)
        except HeaderError as e:
            del self.waiting[client]
            return Introduced(client, None, fault=str(e))
        if header is None:
            return None
        del self.waiting[client]
        return Introduced(client, header.identity, bytes(held[header.length :]))

    def forget(self, client: socket.socket) -> None:
        """Wait for a connection no more."""
        self.waiting.pop(client, None)

    def late(self, now: float) -> list[socket.socket]:
        """Return the connections that are too slow."""
        return [client for client, (_, deadline) in self.waiting.items() if deadline <= now]

    def next_due(self) -> float | None:
        """Return the monotonic time at which the next one's time is over."""
        return min((deadline for _, deadline in self.waiting.values()), default=None)

    def drain(self) -> Iterator[socket.socket]:
        """Hand out all that wait, and wait for them no more."""
        while self.waiting:
            yield self.waiting.popitem()[0]


class UserNames:
    """Names of this computer's users, looked up in a thread since a directory may be slow.

    Parameters
    ----------
    wake : callable
        Called without arguments, from the thread, when a name has been found or is
        known to be missing.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()  # guards the names
        # {user id: (name or None, monotonic time at which it was found)}
        self._names: dict[int, tuple[str | None, float]] = {}
        self._asking: set[int] = set()

    def ask(self, uid: int, now: float) -> tuple[bool, str | None]:
        """Return whether a user's name is known, and the name; else have it looked up.

        A user without a name is known to have none.
        """
        with self._lock:
            found = self._names.get(uid)
            if found is not None and now - found[1] < _SECONDS_A_NAME_LASTS:
                return True, found[0]
            if uid not in self._asking:
                self._asking.add(uid)
                # Nobody waits for it at a stop: a directory may take minutes.
                threading.Thread(
                    target=self._look_up, args=(uid, now), name="user-names", daemon=True
                ).start()
        return False, None

    def _look_up(self, uid: int, now: float) -> None:
        name = None
        with contextlib.suppress(KeyError):
            name = pwd.getpwuid(uid).pw_name
        with self._lock:
            self._names[uid] = name, now
            self._asking.discard(uid)
        self._wake()


class LocalUsers:
    """Connections of this computer's users while their names are being looked up.

    Attributes
    ----------
    waiting : dict
        {client: (user id, deadline)}; the oldest first.
    """

    def __init__(self, names: UserNames) -> None:
        self._names = names
        self.waiting: dict[socket.socket, tuple[int, float]] = {}

    def add(self, client: socket.socket, uid: int, now: float) -> None:
        """Wait for the name of the user of a connection."""
        self.waiting[client] = uid, now + SECONDS_FOR_HEADER

    def introduced(self, now: float) -> list[Introduced]:
        """Hand out those with a known name, and those that are late, with the number alone."""
        found = []
        for client, (uid, deadline) in list(self.waiting.items()):
            known, name = self._names.ask(uid, now)
            if known or deadline <= now:
                del self.waiting[client]
                found.append(Introduced(client, Identity(uid=uid, unix_user=name)))
        return found

    def next_due(self) -> float | None:
        """Return the monotonic time at which the next one is judged without its name."""
        return min((deadline for _, deadline in self.waiting.values()), default=None)

    def drain(self) -> Iterator[socket.socket]:
        """Hand out all that wait, and wait for them no more."""
        while self.waiting:
            yield self.waiting.popitem()[0]
