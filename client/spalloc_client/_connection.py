"""One TCP connection to a server, and the thread that reads and writes it.

A connection is used once: when it has ended it stays ended, and to go on its user makes
another. It knows nothing of jobs, and does not reconnect.

The connection belongs to a thread of its own so that an exception thrown into the caller
by a signal (Ctrl-C) can never lose half a line or an answer. For the same reason callers
and thread meet only in things that cannot be left half-done: deques and plain locks.
"""

import logging
import os
import select
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from spalloc_client._endpoint import Endpoint, receive, send, words
from spalloc_client._framing import LineBuffer, encode_call
from spalloc_client.errors import (
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    SpallocServerException,
)

_log = logging.getLogger(__name__)

#: Commands with a secret among their arguments or in their answers, which no log shows.
_SECRET = frozenset({"get_takeover_code", "take_over_job"})

#: Connections of this process, so that a forked child can let go of them.
_open_connections: "weakref.WeakSet[Connection]" = weakref.WeakSet()


class Outcome:
    """Something that a connection's thread will find out, once: a value or an error.

    One thread waits. A signal may throw an exception into it at any point, also with the
    lock in hand, and it may wait again: a flag tells that the value is known, and the lock,
    taken at birth and released by the connection's thread, is only there to sleep on.
    """

    def __init__(self) -> None:
        self._pending = threading.Lock()
        self._pending.acquire()
        self._known = False
        self._value: Any = None
        self._error: Exception | None = None
        self.submitted = False  # might the server have heard of it?
        self.secret = False  # must it stay out of logs?

    @property
    def known(self) -> bool:
        """Whether `result` would return or raise without waiting."""
        return self._known

    def wait(self, timeout: float | None) -> bool:
        """Wait until known; False if `timeout` seconds (None: for ever) did not do."""
        limit = -1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)
        if self._known:
            return True
        if not self._pending.acquire(timeout=limit):
            return False
        self._pending.release()
        return True

    def result(self) -> Any:
        """Return the value or raise the error; only when known."""
        if self._error is not None:
            raise self._error
        return self._value

    def settle(self, value: Any = None, error: Exception | None = None) -> None:
        """Make it known; the connection's thread calls this once."""
        self._value = value
        self._error = error
        self._known = True
        self._pending.release()


class Connection:
    """A connection to a server, opened in the background.

    Parameters
    ----------
    endpoint
        The server.
    on_message
        Called in the connection's thread with each notification (a dict) and, when the
        connection has ended, once with the error that ended it. Must not block.
    has_answered
        Whether this server has answered us before: it then is not suspected of hanging up.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        on_message: Callable[[dict[str, Any] | ProtocolError], None],
        has_answered: bool = False,
    ) -> None:
        self.server = endpoint.text
        self._endpoint = endpoint
        self._on_message = on_message
        self._outbox: deque[tuple[bytes, Outcome]] = deque()
        self._unanswered: deque[Outcome] = deque()
        self._opened = Outcome()
        self._closing = False
        self.ended: ProtocolError | None = None
        self._socket: socket.socket | None = None
        self._unsent = b""
        self._has_answered = has_answered
        self._wake_lock = threading.Lock()  # guards _wake_in, which others use as it closes
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(
            target=self._run, name=f"spalloc-{self.server}", daemon=True
        )
        _open_connections.add(self)
        self._thread.start()

    # --- any thread ---

    def wait_open(self, timeout: float | None) -> None:
        """Wait until the server has been reached.

        Raises
        ------
        ServerLostError
            If it cannot be.
        ProtocolTimeoutError
            If that took more than `timeout` seconds (None: no limit).
        """
        if not self._opened.wait(timeout):
            raise ProtocolTimeoutError(f"could not reach {self.server} within {timeout:g} s")
        self._opened.result()

    def submit(self, outcome: Outcome, name: str, *args: object, **kwargs: object) -> None:
        """Send a command; its answer goes to `outcome`. Never waits.

        The caller makes `outcome` beforehand so that it still has it if a signal throws
        an exception into this very call.
        """
        line = encode_call(name, args, kwargs)
        outcome.secret = name in _SECRET
        outcome.submitted = True
        self._outbox.append((line, outcome))
        self.wake()
        if self.ended is not None:
            self._fail_outbox(self.ended)

    def call(self, timeout: float | None, name: str, *args: object, **kwargs: object) -> Any:
        """Send a command and wait for its answer.

        Raises
        ------
        SpallocServerException
            If the server answered an exception.
        ProtocolTimeoutError
            After `timeout` seconds. The answer is thrown away if it comes later.
        ProtocolError
            If the connection ended.
        """
        outcome = Outcome()
        self.submit(outcome, name, *args, **kwargs)
        if not outcome.wait(timeout):
            raise ProtocolTimeoutError(
                f"{self.server} did not answer {name} within {timeout:g} s"
            )
        return outcome.result()

    def close(self) -> None:
        """End the connection; harmless when ended already."""
        self._closing = True
        self.wake()
        # A thread that is still looking up the host's name ends when it has it.
        if self._opened.known and self._thread is not threading.current_thread():
            self._thread.join()

    def forget(self) -> None:
        """Let go of the descriptors, in a forked child where there is no thread."""
        self.ended = ServerLostError(f"the connection to {self.server} stayed with the parent")
        self._wake_lock = threading.Lock()  # a thread that is not here may have held it
        for end in (self._socket, self._wake_in, self._wake_out):
            if end is not None:
                end.close()
        self._outbox.clear()
        self._unanswered.clear()

    def wake(self) -> None:
        """Have the thread look for work; one time too many is harmless."""
        with self._wake_lock:
            try:
                self._wake_in.send(b"\0")
            except OSError:
                # Full: it is awake already. Closed: it has ended, which `ended` tells.
                return

    # --- connection thread only ---

    def _run(self) -> None:
        try:
            self._open()
            self._converse()
        except ProtocolError as exc:
            self._end(exc)
        except OSError as exc:
            text = f"lost the connection to {self.server}: {words(exc)}"
            self._end(ServerLostError(text + self._suspicion()))
        except Exception as exc:  # noqa: BLE001 (top of a thread: the callers must hear of it)
            _log.exception("the connection to %s failed", self.server)
            self._end(ProtocolError(f"the connection to {self.server} failed: {exc!r}"))

    def _open(self) -> None:
        try:
            self._socket = self._endpoint.connect()
        except (OSError, UnicodeError, OverflowError) as exc:
            raise ServerLostError(f"cannot reach {self.server}: {words(exc)}") from exc
        _log.debug("connected to %s", self.server)
        self._opened.settle()

    def _converse(self) -> None:
        assert self._socket is not None
        lines = LineBuffer()
        poll = select.poll()  # unlike select, good for programs with thousands of files
        poll.register(self._wake_out, select.POLLIN)
        while not self._closing:
            self._take_outbox()
            poll.register(self._socket, select.POLLIN | (select.POLLOUT if self._unsent else 0))
            events = dict(poll.poll())
            if self._wake_out.fileno() in events:
                self._drain_wakes()
            on_socket = events.get(self._socket.fileno(), 0)
            if on_socket & select.POLLOUT:
                self._unsent = self._unsent[send(self._socket, self._unsent) :]
            if on_socket & ~select.POLLOUT:
                data = receive(self._socket)
                if data == b"":
                    text = f"{self.server} closed the connection"
                    raise ServerLostError(text + self._suspicion())
                for message in lines.feed(data or b""):
                    self._handle(message)
        raise ServerLostError(f"the connection to {self.server} is closed")

    def _take_outbox(self) -> None:
        while self._outbox:
            line, outcome = self._outbox.popleft()
            _log.debug("-> %s", "(a command with a secret)" if outcome.secret else line)
            self._unanswered.append(outcome)
            self._unsent += line

    def _drain_wakes(self) -> None:
        try:
            # Its other end is open as long as this thread runs.
            while self._wake_out.recv(4096):  # pragma: no branch - has no end of file
                pass
        except BlockingIOError:
            return

    def _handle(self, message: dict[str, Any]) -> None:
        is_answer = "return" in message or "exception" in message
        secret = is_answer and bool(self._unanswered) and self._unanswered[0].secret
        _log.debug("<- %s", "(an answer with a secret)" if secret else message)
        self._has_answered = True
        if not is_answer:
            self._on_message(message)
            return
        if not self._unanswered:
            raise ProtocolError(f"{self.server} answered a question that nobody asked")
        outcome = self._unanswered.popleft()
        if "exception" in message:
            outcome.settle(error=SpallocServerException(str(message["exception"])))
        else:
            outcome.settle(message["return"])

    def _end(self, error: ProtocolError) -> None:
        _log.debug("%s", error)
        self.ended = error
        if self._socket is not None:
            self._socket.close()
        while self._unanswered:
            self._unanswered.popleft().settle(error=error)
        self._fail_outbox(error)
        if not self._opened.known:
            self._opened.settle(error=error)
        self._on_message(error)
        with self._wake_lock:
            self._wake_in.close()
        self._wake_out.close()

    # --- helpers ---

    def _suspicion(self) -> str:
        """Say why a server may hang up at once."""
        if self._has_answered:
            return ""
        maybe = ", or it may want TLS" * self._endpoint.is_plain
        return f" before it answered anything; your address may not be admitted{maybe}"

    def _fail_outbox(self, error: ProtocolError) -> None:
        # The caller that finds the connection ended and the thread that ends it may both
        # be here; popleft gives each command to only one of them.
        while True:
            try:
                _, outcome = self._outbox.popleft()
            except IndexError:
                return
            outcome.settle(error=error)


def _forget_all() -> None:
    for connection in list(_open_connections):
        connection.forget()


os.register_at_fork(after_in_child=_forget_all)
