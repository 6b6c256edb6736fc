"""Clients that watch jobs, machines or events, and are told of their changes.

Owns the rules by which watches come and go, the memory that one takes, the changes that are not
told yet, and how far each client was told of events.  The tables {client: set of ids or names, or
None for all} belong to the server, where other programs may read, fill and replace them.  Must not
know what becomes of a line that its client does not take.  Loop thread only, but for
`Watchers.note_events`.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from spalloc_server._checks.values import text, whole_number
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._wire import messages
from spalloc_server._wire.peer import Peer, Tried, send_to_each

#: Ids or names that one client may watch (protocol).
MAX_WATCHED = 10_000
#: Bytes that an element of a set takes beside the object itself, on the average.
_BYTES_IN_SET = 64

Watches = dict[Any, "set[Any] | None"]


@dataclass(slots=True)
class _Untold:
    """Changes that are told together, once a position is safe; None before they are committed."""

    jobs: set[int]
    machines: set[str]
    position: int | None = None


class Watchers:
    """The watches of all clients, and all that those are to be told.

    Parameters
    ----------
    tables : callable
        Returns the server's tables of watches on jobs and on machines.
    peer_of : callable
        Returns the peer of a client.
    write_ahead : WriteAhead
        Nothing is told before it is written.
    send : callable
        ``send(client, line, tried)`` sends a line, or sees to a send that was tried.
    at_once : callable
        Returns whether lines may go straight to all clients, since no output waits.
    on_change : callable
        ``on_change(peer)`` is called when a client's watches have changed.
    wake : callable
        Has the loop turn; called from the thread of the events file.

    Attributes
    ----------
    untold : deque
        Changes that are not told yet, oldest first.
    event_watches : dict
        {client: number of the last event that it was told of}.
    """

    def __init__(
        self,
        *,
        tables: Callable[[], tuple[Watches, Watches]],
        peer_of: Callable[[Any], Peer],
        write_ahead: WriteAhead,
        send: Callable[[Any, bytes, Tried | None], None],
        at_once: Callable[[], bool],
        on_change: Callable[[Peer], None],
        wake: Callable[[], None],
    ) -> None:
        self._tables = tables
        self._peer_of = peer_of
        self._write_ahead = write_ahead
        self._send = send
        self._at_once = at_once
        self._on_change = on_change
        self._wake = wake
        self.untold: deque[_Untold] = deque()
        self.event_watches: dict[Any, int] = {}
        # Number of the last event that can be asked for.
        self._events_until = 0

    # --- watches ---

    def watch_job(self, client: Any, job_id: int | None, *, on: bool) -> None:
        """Have a client told when a job changes, or any if none is named; or no more."""
        if job_id is not None:
            whole_number("job_id", job_id)
        self._change(self._tables()[0], "jobs", client, job_id, on=on)

    def watch_machine(self, client: Any, name: str | None, *, on: bool) -> None:
        """Have a client told when a machine changes, or any if none is named; or no more."""
        if name is not None:
            text("machine_name", name)
        self._change(self._tables()[1], "machines", client, name, on=on)

    def watch_events(self, client: Any, *, on: bool) -> None:
        """Have a client told up to which number events can be asked for; or no more."""
        if client is None:
            return  # a call from within: there is nobody to tell
        if on:
            self.event_watches[client] = 0
        else:
            self.event_watches.pop(client, None)
        self._on_change(self._peer_of(client))

    def _change(
        self, watches: Watches, kind: str, client: Any, name: int | str | None, *, on: bool
    ) -> None:
        if client is None:
            return  # a call from within: there is nobody to tell
        before = how_many(watches, client)
        if on:
            watch(watches, client, name, kind)
        else:
            unwatch(watches, client, name)
        peer = self._peer_of(client)
        if name is None:
            peer.watch_bytes = self._bytes_of_all(client)
        else:
            peer.watch_bytes += (how_many(watches, client) - before) * bytes_of(name)
        self._on_change(peer)

    def _bytes_of_all(self, client: Any) -> int:
        """Return the bytes of memory that all watches of a client take."""
        return sum(bytes_of(name) for table in self._tables() for name in table.get(client) or ())

    def watched_by(self, client: Any) -> dict[str, set[Any] | None]:
        """Return a client's watches: {kind: the ids or names, or None for all}."""
        kinds = zip(("jobs", "machines"), self._tables(), strict=True)
        watched = {kind: table[client] for kind, table in kinds if client in table}
        if client in self.event_watches:
            watched["events"] = None
        return watched

    def take_back(self, peer: Peer, watched: dict[str, Any]) -> None:
        """Have a client of the last process watch what it watched, see `watched_by`."""
        client = peer.client
        for kind, table in zip(("jobs", "machines"), self._tables(), strict=True):
            if kind in watched:
                table[client] = None if watched[kind] is None else set(watched[kind])
        if "events" in watched:
            self.event_watches[client] = 0
        peer.watch_bytes = self._bytes_of_all(client)

    # --- telling ---

    def put_aside(self, jobs: set[int], machines: set[str]) -> None:
        """Keep changes that have come, so that later ones of the same jobs are told separately."""
        last = self.untold[-1] if self.untold else None
        if last is None or last.position is not None or jobs & last.jobs:
            self.untold.append(_Untold(jobs, machines))
        else:
            last.jobs |= jobs
            last.machines |= machines

    def tell_changes(self) -> None:
        """Tell the clients that watch of the changes that were put aside, when they are safe.

        Changes must be put aside before, so that each one that is told is written.
        """
        if not self.untold:
            return
        jobs, machines = self._tables()
        if not jobs and not machines:
            self.untold.clear()
            return
        position = self._write_ahead.commit()
        for each in self.untold:
            if each.position is None:
                each.position = position
        safe = self._write_ahead.safe
        while self.untold and (self.untold[0].position or 0) <= safe:
            changed = self.untold.popleft()
            self._tell_those(jobs, "jobs_changed", changed.jobs)
            self._tell_those(machines, "machines_changed", changed.machines)

    def _tell_those(self, watches: Watches, kind: str, changed: Collection[Any]) -> None:
        """Tell those who watch what has changed of it."""
        everything: list[Any] = []
        some: list[tuple[Any, list[Any]]] = []
        for client, watched in watches.items() if changed else ():
            if watched is None:
                everything.append(client)
            elif not watched.isdisjoint(changed):
                some.append((client, sorted(watched.intersection(changed))))
        if everything:
            self._tell(messages.changed(kind, sorted(changed)), everything)
        for client, names in some:
            self._tell(messages.changed(kind, names), (client,))

    def _tell(self, line: bytes, clients: Iterable[Any]) -> None:
        """Send a line to clients, but not to those that are dropped meanwhile."""
        rest = iter(clients)
        if self._at_once():
            tried = send_to_each(rest, line)
            if tried is not None:
                self._send(tried.client, line, tried)
        for client in rest:
            if client in self.event_watches or any(client in table for table in self._tables()):
                self._send(client, line, None)

    def tell_events(self) -> None:
        """Tell the clients that want it up to which number events can be asked for.

        One such line at most waits for a client that does not read: a later number makes an
        earlier one needless.
        """
        until = self._events_until
        line = messages.message({"events_until": until})
        for client, told in list(self.event_watches.items()):
            if told < until and not self._peer_of(client).output.size:
                self.event_watches[client] = until
                self._tell(line, (client,))

    # --- the thread of the events file ---

    def note_events(self, last: int) -> None:
        """Note up to which number events can be asked for."""
        self._events_until = last
        if self.event_watches:
            self._wake()


def watch(watches: Watches, client: Any, name: int | str | None, kind: str) -> None:
    """Have a client told of changes to one job or machine, or to all (None).

    Raises
    ------
    ValueError
        If it watches too many already.
    """
    if name is None:
        watches[client] = None
        return
    watched = watches.setdefault(client, set())
    if watched is None or name in watched:
        return
    if len(watched) >= MAX_WATCHED:
        raise ValueError(
            f"{len(watched)} {kind} are watched already, {MAX_WATCHED} are allowed; "
            "null watches all"
        )
    watched.add(name)


def unwatch(watches: Watches, client: Any, name: int | str | None) -> None:
    """Have a client told no more of one job or machine, or of any (None)."""
    if name is None:
        watches.pop(client, None)
        return
    watched = watches.get(client)
    if watched is not None:
        watched.discard(name)
        if not watched:
            del watches[client]


def how_many(watches: Watches, client: Any) -> int:
    """Return how many ids or names a client watches; watching all counts as none."""
    return len(watches.get(client) or ())


def bytes_of(name: int | str | None) -> int:
    """Return the bytes of memory that watching one id or name takes."""
    # The allocator needs a quarter more than the object.
    return sys.getsizeof(name) * 5 // 4 + _BYTES_IN_SET
