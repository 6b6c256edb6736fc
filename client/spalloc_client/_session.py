"""A conversation with a server that outlives its connections.

It makes connections when they are needed, asks each new server's version, and repeats our
subscriptions to notifications. It knows no jobs; its user says which commands to repeat.
"""

import logging
import os
import queue
import re
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from spalloc_client._connection import Connection
from spalloc_client._endpoint import Endpoint
from spalloc_client._extensions import (
    FACILITY_VERSIONS,
    NEWER_SUBSCRIPTIONS,
    NOTHING_NEW,
    Facility,
    read_facility,
)
from spalloc_client.errors import (
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    ServerVersionError,
    SpallocServerException,
)

_log = logging.getLogger(__name__)

#: The versions of servers that speak our protocol: from the first, below the second.
COMPATIBLE_VERSIONS = ((0, 1, 0), (8, 0, 0))

_sessions: "weakref.WeakSet[Session]" = weakref.WeakSet()


def check_version(version: object) -> tuple[int, ...]:
    """Make sure that we can talk to a server of that version.

    An epoch (``1!``) and anything after the numbers (``a1``, ``.dev0``) do not count.

    Returns
    -------
    tuple of int
        The three numbers; after an epoch, zeros.

    Raises
    ------
    ServerVersionError
        If it is too old, too new, or no version.
    """
    first, end = (".".join(map(str, limit)) for limit in COMPATIBLE_VERSIONS)
    text = version if isinstance(version, str) else ""
    match = re.match(r"(?:\d+!)?(\d{1,9}(?:\.\d{1,9})*)(?![\d!])", text)
    if match is None:
        said = repr(version)[:80]
        raise ServerVersionError(f"the server says its version is {said}, which is none at all")
    numbers = (*map(int, match[1].split(".")), 0, 0)[:3]
    if not COMPATIBLE_VERSIONS[0] <= numbers < COMPATIBLE_VERSIONS[1]:
        raise ServerVersionError(
            f"the server's version is {version}; this client needs at least {first}, below {end}"
        )
    return (0, 0, 0) if "!" in text else numbers


class Listener(Protocol):
    """A party that wants to hear that something changed."""

    def tell(self) -> None:
        """Hear it; called in a connection's thread, must not block."""


class Changes:
    """News that one listener has been told and has not looked at yet."""

    def __init__(self) -> None:
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()

    def tell(self) -> None:
        """Say that something changed; from any thread."""
        self._told.put(None)

    def wait(self, timeout: float | None) -> bool:
        """Wait until something changed, or the connection ended; False on timeout."""
        limit = None if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        try:
            self._told.get(timeout=limit)
        except queue.Empty:
            return False
        with suppress(queue.Empty):
            while True:  # several changes are looked at in one go
                self._told.get_nowait()
        return True


class Session:
    """A conversation with a server, from any number of threads.

    Parameters
    ----------
    endpoint
        The server.
    timeout
        Seconds to wait for each answer; None: for ever.
    reconnect_delay
        Seconds between attempts to reach a lost server.
    greet
        Called with each new connection and a timeout before the connection is used. An
        error that it raises ends the connection, and is raised by the call that needed it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float | None,
        reconnect_delay: float,
        greet: Callable[[Connection, float | None], None] = lambda *_: None,
    ) -> None:
        self.server = endpoint.text
        self.timeout = timeout
        self.reconnect_delay = reconnect_delay
        self._endpoint = endpoint
        self._greet = greet
        self._connection: Connection | None = None
        self._connecting = threading.Lock()  # guards _connection, _subscriptions, _subscribed
        self._facility = NOTHING_NEW  # of the present connection
        self._met = False  # has this server ever talked to us?
        self._subscriptions: list[tuple[str, tuple[object, ...]]] = []
        self._subscribed = 0  # how many of them this connection has been told
        self._listeners: list[Listener] = []
        _sessions.add(self)

    def connect(self, timeout: float | None = None) -> Connection:
        """Return the connection, made anew if there is none that works.

        Parameters
        ----------
        timeout
            Seconds for each step (None: as said at construction).

        Raises
        ------
        ProtocolError
            If the server cannot be reached, does not answer, or is of a version that we
            cannot talk to.
        """
        limit = self.timeout if timeout is None else timeout
        with self._connecting:
            if self._connection is None or self._connection.ended is not None:
                connection = self._make_connection(limit)
                self._met = True
                try:
                    self._greet(connection, limit)
                except BaseException:
                    connection.close()
                    raise
                self._connection = connection
                self._subscribed = 0
            connection = self._connection
            for name, args in self._subscriptions[self._subscribed :]:
                if name not in NEWER_SUBSCRIPTIONS or self._facility.offers(name):
                    connection.call(limit, name, *args)
                self._subscribed += 1
            return connection

    def facility(self) -> Facility:
        """Tell the server's offer beyond the commands of 1.0.0; connects if needed.

        Raises
        ------
        ProtocolError
            As `connect` does.
        """
        self._call_patiently(self.connect)
        return self._facility

    def offers(self, *commands: str) -> bool:
        """Whether the server of the present connection, or else of the last, has commands."""
        return self._facility.offers(*commands)

    def try_call(self, timeout: float | None, name: str, *args: object, **kwargs: object) -> Any:
        """Send a command once; connects before if needed. `timeout` as for `connect`."""
        limit = self.timeout if timeout is None else timeout
        try:
            return self.connect(limit).call(limit, name, *args, **kwargs)
        except ProtocolTimeoutError:
            # Silent for so long it may be silent for ever: the next call tries another.
            self.close()
            raise

    def call(self, name: str, *args: object, **kwargs: object) -> Any:
        """Send a command that may be repeated if the connection ends before its answer.

        A server that has answered us before gets `timeout` seconds to come back.

        Raises
        ------
        SpallocServerException, ProtocolError
            As the connection's `call` does.
        """
        return self._call_patiently(lambda: self.try_call(None, name, *args, **kwargs))

    def _call_patiently(self, call: Callable[[], Any]) -> Any:
        patience = self.reconnect_delay if self.timeout is None else self.timeout
        give_up = time.monotonic() + patience
        delay = 0.0  # a restarted server may be there again already
        while True:
            try:
                return call()
            except ServerLostError as exc:
                left = give_up - time.monotonic()
                if not self._met or left <= 0:
                    raise
                _log.info("%s; trying again", exc)
            time.sleep(min(delay, left))
            delay = self.reconnect_delay

    def subscribe(self, name: str, *args: object) -> None:
        """Have a command sent before the next one, and first thing on each new connection.

        Servers that do not have it are not sent it.
        """
        with self._connecting:
            if (name, args) not in self._subscriptions:
                self._subscriptions.append((name, args))

    def nudge(self) -> None:
        """Make sure that commands submitted so far are on their way."""
        connection = self._connection
        if connection is not None:
            connection.wake()

    @contextmanager
    def listen(self, listener: Listener) -> Iterator[None]:
        """Have a listener told of every notification, and of lost connections."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def tell_listeners(self) -> None:
        """Tell the listeners that something changed; from any thread."""
        for listener in list(self._listeners):
            listener.tell()

    def close(self) -> None:
        """Close the connection; the next call would make another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        """Start afresh in a forked child; the connection stays with the parent."""
        self._connecting = threading.Lock()
        self._connection = None

    # --- helpers ---

    def _make_connection(self, timeout: float | None) -> Connection:
        connection, numbers = self._meet(timeout)
        self._facility = NOTHING_NEW
        first, end = FACILITY_VERSIONS
        if not first <= numbers < end:
            return connection
        try:
            answer = connection.call(timeout, "get_facility")
        except SpallocServerException as exc:
            _log.debug("no facility: %s", exc)
            return connection
        except ServerLostError as exc:
            # Of another origin, it does not know the command; or it was lost just now.
            _log.info("%s; going on without newer commands", exc)
            return self._meet(timeout)[0]
        except BaseException:
            connection.close()
            raise
        try:
            self._facility = read_facility(answer)
        except ProtocolError:
            connection.close()
            raise
        return connection

    def _meet(self, timeout: float | None) -> tuple[Connection, tuple[int, ...]]:
        """Connect, and ask the version."""
        connection = Connection(self._endpoint, self._hear, self._met)
        try:
            connection.wait_open(timeout)
            return connection, check_version(connection.call(timeout, "version"))
        except BaseException:
            connection.close()
            raise

    def _hear(self, message: dict[str, Any] | ProtocolError) -> None:  # noqa: ARG002 (any is news)
        self.tell_listeners()


def _forget_all() -> None:
    for session in list(_sessions):
        session.forget()


os.register_at_fork(after_in_child=_forget_all)
