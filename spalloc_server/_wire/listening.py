"""The sockets on which the server listens, and their change at a reload.

Owns the listening sockets, each with its endpoint, and the endpoints that were lost and are tried
again.  Must not know the clients.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable, Iterable, Mapping

from spalloc_server._wire.carrier import Carrier
from spalloc_server._wire.endpoints import Endpoint, Kind, close_unix, open_unix
from spalloc_server._wire.port_holder import holder_of
from spalloc_server.polling_server_core import BACKLOG

log = logging.getLogger(__name__)


class ListenError(OSError):
    """An endpoint cannot be listened on; its text says so, with the holder of the port if known.

    Parameters
    ----------
    endpoint : Endpoint
    port : int
        TCP, of an endpoint without a port of its own.
    error : OSError
        That it was refused with.

    Attributes
    ----------
    endpoint : Endpoint
        With its port.
    """

    def __init__(self, endpoint: Endpoint, port: int, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self._holder = None
        if not endpoint.is_unix:
            port = port if endpoint.port is None else endpoint.port
            endpoint = endpoint._replace(port=port)
            if error.errno == errno.EADDRINUSE:
                self._holder = holder_of(port)
        self.endpoint = endpoint

    def __str__(self) -> str:
        text = f"cannot listen on {self.endpoint}: {self.strerror}"
        return text if self._holder is None else f"{text} by {self._holder}"


class Listening:
    """All sockets on which a server listens.

    Parameters
    ----------
    open_tcp : callable
        ``open_tcp(address, port)`` returns a listening socket that the loop waits for.
    register : callable
        Has the loop wait for a socket.
    stop_taking : callable
        Takes in the connections to a socket that closing it would reset, and has the loop wait
        for it no longer.
    port : int
        TCP, of all endpoints without a port of their own; 0 lets the kernel choose.
    inherited : mapping
        {endpoint: socket that listens there already}, used instead of opening it.
    receive_buffer : int
        Bytes for `SO_RCVBUF` of TCP sockets.
    carrier : Carrier or None
        Has sockets that listened before this process began, and keeps them for the next.

    Attributes
    ----------
    port : int
        The one that the kernel chose, as soon as it has.
    sockets : dict
        {socket: its endpoint}.
    lost : set of Endpoint
        Could not be had again after a failed change; `listen_again` tries.
    """

    def __init__(
        self,
        open_tcp: Callable[[str, int], socket.socket],
        register: Callable[[socket.socket], None],
        stop_taking: Callable[[socket.socket], None],
        port: int,
        *,
        inherited: Mapping[Endpoint, socket.socket] | None = None,
        receive_buffer: int,
        carrier: Carrier | None = None,
    ) -> None:
        self._carrier = carrier
        self._open_tcp = open_tcp
        self._register = register
        self._stop_taking = stop_taking
        self._inherited = dict(inherited or {})
        self._receive_buffer = receive_buffer
        self.port = port
        self.sockets: dict[socket.socket, Endpoint] = {}
        self.lost: set[Endpoint] = set()

    def change(self, wanted: Iterable[Endpoint]) -> None:
        """Listen on other endpoints: all of them or, raising, as before.

        A new endpoint is opened before an old one is closed where the kernel allows it.

        Raises
        ------
        ListenError
            If one cannot be had.
        """
        wanted = list(dict.fromkeys(wanted))
        before = list(self.sockets.values())
        unwanted = [each for each in before if each not in wanted]
        opened: list[socket.socket] = []
        try:
            for endpoint in wanted:
                if endpoint not in before:
                    opened.append(self._open_in_the_place_of(endpoint, unwanted))
        except ListenError:
            for listening in opened:
                self._close(listening)
            for endpoint in before:
                if endpoint not in self.sockets.values():
                    self._open_again(endpoint)
            raise
        for endpoint in unwanted:
            self._close_endpoint(endpoint)
        self.lost &= set(wanted)

    def _open_in_the_place_of(
        self, endpoint: Endpoint, unwanted: Iterable[Endpoint]
    ) -> socket.socket:
        try:
            return self._open(endpoint)
        except OSError as e:
            in_the_way = [each for each in unwanted if each.is_unix == endpoint.is_unix]
            if e.errno != errno.EADDRINUSE or not in_the_way:
                raise ListenError(endpoint, self.port, e) from e
        for each in in_the_way:
            self._close_endpoint(each)
        try:
            return self._open(endpoint)
        except OSError as e:
            raise ListenError(endpoint, self.port, e) from e

    def _open(self, endpoint: Endpoint) -> socket.socket:
        port = self.port if endpoint.port is None else endpoint.port
        listening = inherited = self._inherited.pop(endpoint, None)
        if listening is None and self._carrier is not None:
            listening = self._carrier.take_listening(endpoint, port)
        if listening is not None:
            self._register(listening)
        elif endpoint.is_unix:
            listening = open_unix(endpoint, BACKLOG)
            self._register(listening)
        else:
            listening = self._open_tcp(endpoint.address, port)
        if not endpoint.is_unix:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
            if endpoint.port is None:
                self.port = listening.getsockname()[1]
        # A socket that the service manager opened is in its hands already.
        if self._carrier is not None and inherited is None:
            port = 0 if endpoint.is_unix else listening.getsockname()[1]
            self._carrier.keep_listening(endpoint, port, listening)
        self.sockets[listening] = endpoint
        self.lost.discard(endpoint)
        return listening

    def listen_again(self) -> None:
        """Try the endpoints that were lost once more."""
        for endpoint in list(self.lost):
            self._open_again(endpoint)

    def _open_again(self, endpoint: Endpoint) -> None:
        try:
            self._open(endpoint)
        except OSError as e:
            if endpoint not in self.lost:
                log.error("no new clients until %s can be had again: %s", endpoint, e)
            self.lost.add(endpoint)

    def _close_endpoint(self, endpoint: Endpoint) -> None:
        for listening in [each for each, held in self.sockets.items() if held == endpoint]:
            self._close(listening)

    def _close(self, listening: socket.socket) -> None:
        endpoint = self.sockets.pop(listening)
        self._stop_taking(listening)
        if self._carrier is not None:
            self._carrier.end_listening(listening)
        if endpoint.is_unix:
            close_unix(listening)
        else:
            listening.close()

    def close(self) -> None:
        """Listen no more."""
        self.lost.clear()
        for listening in list(self.sockets):
            self._close(listening)
        for listening in self._inherited.values():
            listening.close()

    def leave(self) -> list[socket.socket]:
        """Leave all sockets to the next process, which listens on; returns them."""
        left, self.sockets = list(self.sockets), {}
        self.lost.clear()
        return left

    def kind_of(self, listening: socket.socket) -> Kind:
        """Return the kind of clients of a socket; TCP if it is not one of ours."""
        endpoint = self.sockets.get(listening)
        return Kind.tcp if endpoint is None else endpoint.kind
