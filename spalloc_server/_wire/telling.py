"""The telling of changes and events to the clients that watch.

Owns the changes that are not told yet, and how far each client was told of events.  The watches
themselves are the server's, where other programs may read and fill them.  Loop thread only.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._wire import messages
from spalloc_server._wire.watches import Watches

#: Jobs and machines that changed.
Changes = tuple[set[int], set[str]]


class Telling:
    """Changes and events on their way to the clients that watch.

    Parameters
    ----------
    write_ahead : WriteAhead
        Nothing is told before it is written.
    tell : callable
        ``tell(client, line)`` sends a line to one client.

    Attributes
    ----------
    event_watches : dict
        {client: number of the last event that it was told of}.
    events_until : int
        Number of the last event that can be asked for.
    """

    def __init__(self, write_ahead: WriteAhead, tell: Callable[[Any, bytes], None]) -> None:
        self._write_ahead = write_ahead
        self._tell = tell
        # Changes that were taken before later ones could mix with them.
        self._taken: list[Changes] = []
        # Changes that are told when a position is safe, oldest first.
        self._untold: deque[tuple[int, list[Changes]]] = deque()
        self.event_watches: dict[Any, int] = {}
        self.events_until = 0

    def put_aside(self, changes: Changes) -> None:
        """Keep changes, so that later ones of the same jobs are told separately."""
        if self._taken and not changes[0] & self._taken[-1][0]:
            self._taken[-1][0].update(changes[0])
            self._taken[-1][1].update(changes[1])
        else:
            self._taken.append(changes)

    def tell_changes(
        self, changes: tuple[Collection[int], Collection[str]], jobs: Watches, machines: Watches
    ) -> None:
        """Tell the clients that watch of changes, and of those put aside, when they are safe.

        Parameters
        ----------
        changes : (job ids, machine names)
            The latest, already taken, so that every change that is told is written.
        jobs, machines : mapping
            Watches on each.
        """
        if not changes[0] and not changes[1] and not self._taken and not self._untold:
            return
        taken, self._taken = [*self._taken, (set(changes[0]), set(changes[1]))], []
        if not jobs and not machines:
            self._untold.clear()
            return
        self._untold.append((self._write_ahead.commit(), taken))
        while self._untold and self._untold[0][0] <= self._write_ahead.safe:
            for changed_jobs, changed_machines in self._untold.popleft()[1]:
                self._tell_watchers(jobs, "jobs_changed", changed_jobs)
                self._tell_watchers(machines, "machines_changed", changed_machines)

    def _tell_watchers(self, watches: Watches, kind: str, changed: Collection[Any]) -> None:
        if not changed or not watches:
            return
        everything = messages.changed(kind, sorted(changed))
        for client, watched in list(watches.items()):
            if client not in watches:
                continue  # dropped meanwhile
            if watched is None:
                self._tell(client, everything)
            elif not watched.isdisjoint(changed):
                line = messages.changed(kind, sorted(watched.intersection(changed)))
                self._tell(client, line)

    def tell_events(self, reads: Callable[[Any], bool]) -> None:
        """Tell the clients that want it up to which number events can be asked for.

        Parameters
        ----------
        reads : callable
            Whether a client has read all its output: one such line may wait for it, as a
            later number makes an earlier one needless.
        """
        until = self.events_until
        for client, told in list(self.event_watches.items()):
            if told < until and reads(client):
                self.event_watches[client] = until
                self._tell(client, messages.message({"events_until": until}))
