"""Visitors: connections that have yet to be admitted as clients.

Owns the way from an accepted connection through its introduction to the doorkeeper's judgement.
Must not know commands, nor the loop's side of a client, which is `_wire.clients`'s.  Loop thread
only.
"""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable

from spalloc_server import _clock
from spalloc_server._access.denials import Denials
from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._checks.values import escaped
from spalloc_server._wire.doorkeeper import Doorkeeper
from spalloc_server._wire.endpoints import HiddenUserError, Kind, user_id_of
from spalloc_server._wire.introductions import Introduced, LocalUsers, ProxyHeaders, UserNames
from spalloc_server.polling_server_core import PollingServerCore

log = logging.getLogger(__name__)


class Visitors:
    """Connections that have yet to be admitted as clients.

    Parameters
    ----------
    loop : PollingServerCore
        Waits for the headers of proxied connections, and is woken when a user's name is known.
    doorkeeper : Doorkeeper
    welcome : callable
        ``welcome(client, name)`` begins to serve a connection by its IP address in words, None
        if a proxy or the socket tells none; returns False if it has gone already.
    serve : callable
        ``serve(client, received)`` has a new client's commands run, of which these bytes have
        come.
    close : callable
        ``close(client)`` closes a connection so that its other end sees a clean end.

    Attributes
    ----------
    proxied : ProxyHeaders
    local : LocalUsers
        Connections that wait to be introduced; `introduce_all` sees to them.
    """

    def __init__(
        self,
        loop: PollingServerCore,
        doorkeeper: Doorkeeper,
        *,
        welcome: Callable[[socket.socket, str | None], bool],
        serve: Callable[[socket.socket, bytes], None],
        close: Callable[[socket.socket], None],
    ) -> None:
        self._loop = loop
        self._doorkeeper = doorkeeper
        self._welcome = welcome
        self._serve = serve
        self._close = close
        self.proxied = ProxyHeaders()
        self.local = LocalUsers(UserNames(loop.wake))
        # Connections that were closed since nobody can be told from their beginning.
        self._unheard = Denials()

    def receive(self, client: socket.socket, kind: Kind) -> bool:
        """Begin with a connection; returns whether it is a client now."""
        if kind is Kind.tcp:
            return self.admit(client, identity_by_address(client))
        try:
            if kind is Kind.unix:
                self.local.add(client, user_id_of(client), _clock.monotonic())
            else:
                self._loop.register_channel(client)
                surplus = self.proxied.add(client, _clock.monotonic())
                if surplus is not None:
                    self._turn_away(surplus, "too many proxied connections without a header")
        except HiddenUserError as e:
            self._tell_unheard(str(e))
            self._close(client)
        except OSError as e:
            log.info("a connection was gone before it could be judged: %s", e)
            self._close(client)
        return False

    # --- introductions ---

    def read_header(self, client: socket.socket) -> None:
        """Read the header of a proxied connection as far as it has come."""
        introduced = self.proxied.read(client)
        if introduced is None:
            return
        self._loop.unregister_channel(client)
        if introduced.fault:
            self._tell_unheard(introduced.fault)
        if introduced.identity is None:
            self._close(client)  # the proxy's own question whether we are well
        else:
            self._introduce(introduced)

    def introduce_all(self, now: float) -> None:
        """Judge the connections that are known now, and close those that were too slow."""
        for introduced in self.local.introduced(now):
            self._introduce(introduced)
        for client in self.proxied.late(now):
            self._turn_away(client, "its header did not come in time")

    def _introduce(self, introduced: Introduced) -> None:
        if self.admit(introduced.client, introduced.identity):
            self._serve(introduced.client, introduced.rest)

    def seconds_left(self, now: float) -> float:
        """Return in how many seconds one of them is too slow; infinite if none waits."""
        due = (self.proxied.next_due(), self.local.next_due())
        return max(0.0, min((time for time in due if time is not None), default=math.inf) - now)

    def _turn_away(self, client: socket.socket, why: str) -> None:
        self._tell_unheard(why)
        self.proxied.forget(client)
        self._loop.unregister_channel(client)
        self._close(client)

    def _tell_unheard(self, why: str) -> None:
        """Log that a connection was closed without a look at it, at most once a minute."""
        count = self._unheard.note(None, _clock.monotonic())
        if count is not None:
            log.warning(
                "connections closed unheard since this was last told: %d; the last: %s",
                count,
                escaped(why),
            )

    def turn_away_all(self) -> None:
        """Close all connections that were not introduced, as the server ends."""
        for client in self.proxied.drain():
            self._loop.unregister_channel(client)
            self._close(client)
        for client in self.local.drain():
            self._close(client)

    # --- judgement ---

    def admit(self, client: socket.socket, identity: Identity | None) -> bool:
        """Serve a connection from now on, or close it without a word; returns which."""
        if identity is None:  # reset already; its commands can still be read
            admitted = self._doorkeeper.open
        else:
            admitted = self._doorkeeper.admit(client, identity)
        if not admitted:
            self._close(client)
            return False
        address = None if identity is None else identity.address
        return self._welcome(client, None if address is None else str(address))


def identity_by_address(client: socket.socket) -> Identity | None:
    """Return the identity of a TCP client; None if it has gone already."""
    try:
        return Identity(parse_address(client.getpeername()[0]))
    except OSError:
        return None
