"""Clients that watch jobs, machines or events, and are told of their changes.

Owns the way of a watch from its command to the next process; the rules are in `_wire.watches`, the
telling is in `_wire.telling`.  Loop thread only.
"""

from __future__ import annotations

from typing import Any

from spalloc_server._checks.values import text, whole_number
from spalloc_server._wire.carrier import body_of
from spalloc_server._wire.clients import Clients
from spalloc_server._wire.peer import Peer
from spalloc_server._wire.watches import Watches, bytes_of, how_many, unwatch, watch


class Watchers(Clients):
    """Clients, as those that watch and are told."""

    def _send_change_notifications(self) -> None:
        """Tell the clients that watch of the changes since the last call, when they are safe."""
        controller = self._controller
        changes = controller.changed_jobs, controller.changed_machines
        self._telling.tell_changes(
            changes, self._client_job_watches, self._client_machine_watches
        )

    def _has_read_all(self, client: Any) -> bool:
        return not self._peer(client).output.size

    def _watch_job(self, client: Any, job_id: int | None, *, on: bool) -> None:
        """Have a client told when a job changes, or any if none is named; or no more."""
        if job_id is not None:
            whole_number("job_id", job_id)
        self._change_watch(self._client_job_watches, client, job_id, on=on)

    def _watch_machine(self, client: Any, name: str | None, *, on: bool) -> None:
        """Have a client told when a machine changes, or any if none is named; or no more."""
        if name is not None:
            text("machine_name", name)
        self._change_watch(self._client_machine_watches, client, name, on=on)

    def _watch_events(self, client: Any, *, on: bool) -> None:
        """Have a client told up to which number events can be asked for; or no more."""
        if client is None:
            return  # a call from within: there is nobody to tell
        if on:
            self._telling.event_watches[client] = 0
        else:
            self._telling.event_watches.pop(client, None)
        self._note_watches(client)

    def _note_events(self, last: int) -> None:
        """Note, in the thread of the events file, up to which number it can be asked."""
        self._telling.events_until = last
        if self._telling.event_watches:
            self.wake()

    def _change_watch(
        self, watches: Watches, client: Any, name: int | str | None, *, on: bool
    ) -> None:
        """Have a client told of changes to one job or machine, or of all (None); or no more."""
        if client is None:
            return  # a call from within: there is nobody to tell
        before = how_many(watches, client)
        if on:
            kind = "jobs" if watches is self._client_job_watches else "machines"
            watch(watches, client, name, kind)
        else:
            unwatch(watches, client, name)
        peer = self._peer(client)
        if name is None:
            peer.watch_bytes = self._watch_bytes(client)
        else:
            peer.watch_bytes += (how_many(watches, client) - before) * bytes_of(name)
        self._note_watches(client)
        self.memory.count(peer)
        self._drop_fullest()

    def _note_watches(self, client: Any) -> None:
        """Have the next process know a client's watches, before this one answers."""
        peer = self._peers.get(client)
        if self._carrier is not None and peer is not None and peer.carried is not None:
            self._carrier.note_body(peer, self._body_of(peer))

    def _body_of(self, peer: Peer) -> dict[str, Any]:
        """Return a client's watches and identity, for the next process."""
        client = peer.client
        tables = {"jobs": self._client_job_watches, "machines": self._client_machine_watches}
        watches = {kind: table[client] for kind, table in tables.items() if client in table}
        if client in self._telling.event_watches:
            watches["events"] = None
        return body_of(
            watches,
            self._doorkeeper.plain_identity(peer.client),
        )

    def _watch_bytes(self, client: Any) -> int:
        tables = self._client_job_watches, self._client_machine_watches
        return sum(bytes_of(name) for table in tables for name in table.get(client) or ())

    def _take_back_watches(self, peer: Peer, watches: dict[str, Any]) -> None:
        """Have a client of the last process watch what it watched; see `_body_of`."""
        client = peer.client
        for kind, table in (
            ("jobs", self._client_job_watches),
            ("machines", self._client_machine_watches),
        ):
            if kind in watches:
                table[client] = None if watches[kind] is None else set(watches[kind])
        if "events" in watches:
            self._telling.event_watches[client] = 0
        peer.watch_bytes = self._watch_bytes(client)
        self.memory.count(peer)
