"""Connections and listening sockets that outlive the process.

Owns which of them are in the service manager's store, under which names, and the judgement of
those that the process was started with.  Serving them is the server's business.  Loop thread only,
but for the beginning and the end.

A connection is kept once it has lived for a second and has spoken for a job or watches something.
At the next start the kernel's counts are compared with its record: any difference is a command
that was read and not answered, or a line that was sent in part, and then the connection is closed
rather than left to answer the wrong question.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from spalloc_server import _clock
from spalloc_server._wire.carried import Carried
from spalloc_server._wire.endpoints import Endpoint
from spalloc_server._wire.fd_store import FdStore, Inherited
from spalloc_server._wire.kernel_counts import Counts, counts
from spalloc_server._wire.peer import Peer
from spalloc_server._wire.record import Record, read_record

log = logging.getLogger(__name__)

#: Seconds that a connection must have lived.
_SECONDS_OF_LIFE = 1.0
#: Seconds that a stop waits for hardware if connections are kept: published clients wait 5 s for
#: an answer, and the next process has to start in that time, too.
SECONDS_BEFORE_A_RESTART = 0.5
#: Connections kept at a time; each takes two places of the store, which has 4,096.
MOST_KEPT = 2000
#: Seconds between two looks at the connections that may be kept. # arbitrary
_SECONDS_BETWEEN_LOOKS = 0.25
#: Commands after which a connection is worth keeping.
_WORTH = frozenset(
    {
        "create_job",
        "job_keepalive",
        "get_job_state",
        "get_job_machine_info",
        "power_on_job_boards",
        "power_off_job_boards",
        "notify_job",
        "notify_machine",
        "notify_events",
    }
)
_CONNECTION, _LISTENING = "c", "l"
#: Our names are longer; shorter ones belong to others. # arbitrary
_SHORTEST = 5


class Returned(NamedTuple):
    """A connection that goes on, with its record."""

    client: socket.socket
    carried: Carried
    body: dict[str, Any]


class Carrier:
    """Keeps connections over a restart.

    Parameters
    ----------
    store : FdStore
    inherited : iterable of Inherited
        Descriptors that the process was started with.

    Attributes
    ----------
    strangers : list of Inherited
        Descriptors with names that are not ours.
    kept : int
        Connections in the store.
    """

    def __init__(self, store: FdStore, inherited: Iterable[Inherited] = ()) -> None:
        self._store = store
        self._connections: dict[str, list[int]] = defaultdict(list)
        self._listening: dict[str, int] = {}
        self.strangers: list[Inherited] = []
        for each in inherited:
            if each.name.startswith(_CONNECTION) and _is_ours(each.name):
                self._connections[each.name].append(each.descriptor)
            elif each.name.startswith(_LISTENING) and _is_ours(each.name):
                self._listening[each.name] = each.descriptor
            else:
                self.strangers.append(each)
        self._names: dict[socket.socket, str] = {}
        self._candidates: dict[Peer, None] = {}
        self._looked = -math.inf
        # Each name is used once, also over restarts: the clock never gives two the same.
        self._next = int(_clock.wall() * 1e6)
        self.kept = 0

    # --- listening sockets ---

    def take_listening(self, endpoint: Endpoint, port: int) -> socket.socket | None:
        """Return the socket that listens at an endpoint already; None if none does."""
        name = _name_of(endpoint, port)
        descriptor = self._listening.pop(name, None)
        if descriptor is None:
            return None
        listening = socket.socket(fileno=descriptor)
        listening.setblocking(False)
        self._names[listening] = name
        return listening

    def keep_listening(self, endpoint: Endpoint, port: int, listening: socket.socket) -> None:
        """Have a listening socket outlive the process."""
        if listening not in self._names:
            name = self._names[listening] = _name_of(endpoint, port)
            self._store.keep(name, [listening.fileno()])

    def end_listening(self, listening: socket.socket) -> None:
        """Have nobody listen any more, the keeper of the other descriptor included."""
        name = self._names.pop(listening, None)
        if name is not None:
            _shut(listening)
            self._store.remove(name)

    def end_unclaimed(self) -> None:
        """Close listening sockets that no endpoint wanted."""
        for name, descriptor in self._listening.items():
            with socket.socket(fileno=descriptor) as listening:
                _shut(listening)
            self._store.remove(name)
        self._listening.clear()

    # --- connections ---

    def note_command(self, peer: Peer, name: str) -> None:
        """Note a client's command: the connection may be worth keeping from now on."""
        if name in _WORTH and peer.carried is None and isinstance(peer.client, socket.socket):
            self._candidates[peer] = None

    def tend(self, body_of: Callable[[Peer], dict[str, Any]]) -> None:
        """Keep the connections that are old enough, and tell the store."""
        now = _clock.monotonic()
        if self._candidates and now - self._looked >= _SECONDS_BETWEEN_LOOKS:
            self._looked = now
            for peer in list(self._candidates):
                if peer.closed:
                    del self._candidates[peer]
                elif peer.since + _SECONDS_OF_LIFE <= now and self.kept < MOST_KEPT:
                    self._keep(peer, body_of(peer))
        if self._store:
            self._store.flush()

    def seconds_to_look(self) -> float:
        """Return how soon to `tend` again."""
        return _SECONDS_BETWEEN_LOOKS if self._candidates or self._store else math.inf

    def _keep(self, peer: Peer, body: dict[str, Any]) -> None:
        """Put a connection into the store, if all of its commands are answered now."""
        client, output = peer.client, peer.output
        if output.size or not peer.all_answered:
            return  # later
        del self._candidates[peer]
        try:
            now = counts(client)
            record = Record.new()
        except OSError as e:
            log.debug("a connection is not kept over a restart: %s", e)
            return
        self._next += 1
        carried = Carried(f"{_CONNECTION}{self._next:x}", record, now, output.handed)
        if not carried.note_body(body):
            carried.end()
            return
        peer.carried = carried
        self._store.keep(carried.name, [client.fileno(), record.descriptor])
        self.kept += 1

    def note_body(self, peer: Peer, body: dict[str, Any]) -> None:
        """Note that a client's watches changed, before it is answered."""
        if peer.carried is not None and not peer.carried.note_body(body):
            self.end(peer)

    def end(self, peer: Peer) -> None:
        """Keep a connection no longer."""
        self._candidates.pop(peer, None)
        carried, peer.carried = peer.carried, None
        if carried is not None:
            self._store.remove(carried.name)
            carried.end()
            self.kept -= 1

    # --- the beginning ---

    def returned(self) -> list[Returned]:
        """Return the connections that go on as if nothing had happened; the others are closed."""
        found = []
        for name, descriptors in self._connections.items():
            back = _back(name, descriptors)
            if back is None:
                self._store.remove(name)
            else:
                found.append(back)
        self.kept = len(found)
        lost = len(self._connections) - len(found)
        if self._connections:
            log.info("connections that go on: %d; closed in the middle: %d", len(found), lost)
        self._connections.clear()
        return found

    # --- the end ---

    def leave(self, peer: Peer) -> bool:
        """Whether a connection can be left to the next process as it is."""
        return peer.carried is not None and not peer.output.size and peer.all_answered

    def close(self, seconds: float) -> None:
        """Tell the store the last, and close all that it keeps in this process."""
        if not self._store.flush_for(seconds):
            log.warning("the service manager does not take all connections")
        self._store.close()


def _back(name: str, descriptors: list[int]) -> Returned | None:
    """Judge a connection; None, and closed, if it cannot go on."""
    sockets = [each for each in descriptors if stat.S_ISSOCK(os.fstat(each).st_mode)]
    records = [each for each in descriptors if each not in sockets]
    if len(sockets) == len(records) == 1:
        client = socket.socket(fileno=sockets[0])
        try:
            told = read_record(records[0])
            now = counts(client)
            if told is not None and now in told.counts:
                client.setblocking(False)
                carried = Carried(name, Record(records[0]), Counts(*now), 0)
                return Returned(client, carried, told.body)
            log.info("a connection is closed, as the restart came in the middle of a command")
        except OSError as e:
            log.info("a connection did not outlive the restart: %s", e)
        _shut(client)
        client.close()
        sockets = []
    for descriptor in sockets:
        with socket.socket(fileno=descriptor) as client:
            _shut(client)
    for descriptor in records:
        os.close(descriptor)
    return None


def _shut(connection: socket.socket) -> None:
    """End a connection although another process holds it too: closing alone would not."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError as e:
        log.debug("a socket of the store was ended already: %s", e)


def _name_of(endpoint: Endpoint, port: int) -> str:
    where = endpoint.address if endpoint.is_unix else f"{endpoint.address}|{port}"
    return _LISTENING + where.encode().hex()


def _is_ours(name: str) -> bool:
    """Whether a name is one that a carrier gave: a letter and many hexadecimal digits."""
    return len(name) > _SHORTEST and set(name[1:]) <= set("0123456789abcdef")


def body_of(
    watches: Mapping[str, Any], identity: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the body of a record: all but the counts.

    Parameters
    ----------
    watches : mapping
        {kind: None for all, or the ids or names}; kinds that are not watched are left out.
    identity : mapping or None
        The client's address and certificate, None if the socket's address says all.
    """
    plain = {
        kind: None if watched is None else sorted(watched) for kind, watched in watches.items()
    }
    return {"watches": plain, "identity": identity}
