"""Visitors: connections on their way to becoming clients, and the rights that they have then.

Owns the way from an accepted connection through its introduction and the doorkeeper's judgement
to a client that is served.  Clients and their commands are `_wire.clients`'s.  Loop thread only.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Collection, Mapping
from typing import Any

from spalloc_server import _clock
from spalloc_server._access.denials import Denials
from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._access.policy import Policy
from spalloc_server._checks.values import escaped
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._wire.carrier import Returned
from spalloc_server._wire.clients import Clients
from spalloc_server._wire.endpoints import HiddenUserError, Kind, user_id_of
from spalloc_server._wire.introductions import Introduced, LocalUsers, ProxyHeaders, UserNames
from spalloc_server._wire.running import Handler
from spalloc_server.controller import Controller

log = logging.getLogger(__name__)


class Visitors(Clients):
    """Clients, and the connections that have yet to be admitted as such."""

    def __init__(
        self,
        commands: Mapping[str, Handler],
        read_only: Collection[str],
        controller: Controller,
        write_ahead: WriteAhead,
    ) -> None:
        super().__init__(commands, read_only, controller, write_ahead)
        self._proxy_headers = ProxyHeaders()
        # The policy of whose findings the log has told.
        self._told_policy: Policy | None = None
        # Connections that were closed since nobody can be told from their beginning.
        self._unheard = Denials()
        self._local_users = LocalUsers(UserNames(self.wake))

    def _receive_visitor(self, client: socket.socket, kind: Kind) -> bool:
        """Begin with a connection; returns whether it is a client now."""
        if kind is Kind.tcp:
            return self._admit(Introduced(client, self._identity_by_address(client)))
        try:
            if kind is Kind.unix:
                self._local_users.add(client, user_id_of(client), _clock.monotonic())
            else:
                self.register_channel(client)
                surplus = self._proxy_headers.add(client, _clock.monotonic())
                if surplus is not None:
                    self._turn_away(surplus, "too many proxied connections without a header")
        except HiddenUserError as e:
            self._tell_unheard(str(e))
            self._close_visitor(client)
        except OSError as e:
            log.info("a connection was gone before it could be judged: %s", e)
            self._close_visitor(client)
        return False

    @staticmethod
    def _identity_by_address(client: socket.socket) -> Identity | None:
        """Return the identity of a TCP client; None if it has gone already."""
        try:
            return Identity(parse_address(client.getpeername()[0]))
        except OSError:
            return None

    # --- introductions ---

    def _read_header(self, client: Any) -> None:
        """Read the header of a proxied connection as far as it has come."""
        introduced = self._proxy_headers.read(client)
        if introduced is None:
            return
        self.unregister_channel(client)
        if introduced.fault:
            self._tell_unheard(introduced.fault)
        if introduced.identity is None:
            self._close_visitor(client)  # the proxy's own question whether we are well
        else:
            self._introduce(introduced)

    def _introduce_all(self, now: float) -> None:
        """Judge the connections that are known now, and close those that were too slow."""
        for introduced in self._local_users.introduced(now):
            self._introduce(introduced)
        for client in self._proxy_headers.late(now):
            self._turn_away(client, "its header did not come in time")

    def _introduce(self, introduced: Introduced) -> None:
        client = introduced.client
        if self._admit(introduced):
            if introduced.rest:
                self._client_buffers[client] = introduced.rest
            self._guarded(client, self._handle_commands)

    def _seconds_to_introduce(self, now: float) -> float:
        due = (self._proxy_headers.next_due(), self._local_users.next_due())
        return max(0.0, min((time for time in due if time is not None), default=math.inf) - now)

    def _turn_away(self, client: socket.socket, why: str) -> None:
        self._tell_unheard(why)
        self._proxy_headers.forget(client)
        self.unregister_channel(client)
        self._close_visitor(client)

    def _tell_unheard(self, why: str) -> None:
        """Log that a connection was closed without a look at it, at most once a minute."""
        count = self._unheard.note(None, _clock.monotonic())
        if count is not None:
            log.warning(
                "connections closed unheard since this was last told: %d; the last: %s",
                count,
                escaped(why),
            )

    def _turn_away_unknown(self) -> None:
        """Close all connections that were not introduced, as the server ends."""
        for client in self._proxy_headers.drain():
            self.unregister_channel(client)
            self._close_visitor(client)
        for client in self._local_users.drain():
            self._close_visitor(client)

    # --- judgement ---

    def _admit(self, introduced: Introduced) -> bool:
        """Serve a connection from now on, or close it without a word."""
        client, identity = introduced.client, introduced.identity
        if identity is None:  # reset already; its commands can still be read
            if not self._doorkeeper.open:
                self._close_visitor(client)
                return False
        elif not self._doorkeeper.admit(client, identity):
            self._close_visitor(client)
            return False
        if not self._welcome(client):
            return False
        if identity is not None and identity.address is not None:
            self._peer(client).name = str(identity.address)
        return True

    # --- connections of the process before ---

    def _take_back(self, returned: Returned) -> bool:
        """Serve a connection that outlived a restart; returns whether it goes on."""
        client, told = returned.client, returned.body.get("identity")
        if told is None:
            identity = self._identity_by_address(client)
        else:
            identity = Identity(
                parse_address(told.get("address")), certificate=told.get("certificate")
            )
        peer = self._peer(client)
        peer.carried, peer.since = returned.carried, -math.inf
        if not self._admit(Introduced(client, identity)):
            self._forget_peer(peer)
            return False
        self._watchers.take_back(peer, returned.body.get("watches", {}))
        self.memory.count(peer)
        return True

    def _close_visitor(self, client: socket.socket) -> None:
        self._lingering.add(client)

    def _change_policy(self, policy: Policy) -> None:
        """Judge by another policy; clients that it denies are disconnected."""
        if policy != self._told_policy:
            self._told_policy = policy
            for text in policy.findings():
                log.log(logging.INFO if policy.access is None else logging.WARNING, "%s", text)
        if policy == self._doorkeeper.policy:
            return
        self._doorkeeper.policy = policy
        for client in self._doorkeeper.clients_to_close():
            log.warning("%s disconnected: the new policy does not admit it", self._called(client))
            self._disconnect_client(client)

    # --- for commands ---

    def _host(self, client: Any) -> str | None:
        """Return the address for which a client's present command is given."""
        if not self._doorkeeper.open:
            identity = self._doorkeeper.acts_as(client).identity
            if identity.user is not None:
                return None if identity.address is None else str(identity.address)
        return self._name(client)

    def _looking(self, client: Any) -> dict[str, bool]:
        """Return the keyword that has a question renew nothing, if the client may not renew."""
        if self._doorkeeper.open or self._doorkeeper.renews(client):
            return {}
        return {"renew": False}
