"""A small HTTP server that no client can hold up.

Owns the threads that answer, how many there are at a time, and the time that a whole
question may take.  Knows nothing of the pages.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
from socketserver import TCPServer
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from spalloc_server import _clock

log = logging.getLogger(__name__)

#: Seconds for a whole question and its answer.
PATIENCE = 10.0
#: Questions answered at a time; others are turned away. # arbitrary
MOST_AT_A_TIME = 16
#: Between two looks at the deadlines.
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_WITHOUT_DESCRIPTORS = 0.5


class HTTPServer(WSGIServer):
    """Listens from its construction on; a thread answers each question.

    Parameters
    ----------
    host : str
        Name or address.
    port : int
        TCP; 0 lets the kernel choose.

    Raises
    ------
    OSError
        If it cannot listen there.
    """

    def __init__(self, host: str, port: int) -> None:
        self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        self._closing = threading.Event()
        # Connections being answered, with their threads and deadlines; the thread removes its own.
        self._asking: dict[socket.socket, tuple[threading.Thread, float]] = {}
        super().__init__((host, port), _Handler)

    def answer_all(self) -> None:
        """Answer until `hang_up`."""
        while not self._closing.is_set():
            self.timeout = _SECONDS_BETWEEN_LOOKS if self._asking else None
            self.handle_request()
            now = _clock.monotonic()
            for connection, (_, deadline) in list(self._asking.items()):
                if deadline <= now:
                    _cut(connection)

    def hang_up(self) -> None:
        """End `answer_all` and all connections; any thread."""
        if self._closing.is_set():
            return
        self._closing.set()
        for connection in (self.socket, *list(self._asking)):
            # Wakes the thread that waits for it; closing it here would take it from that thread.
            _cut(connection)

    def server_close(self) -> None:
        """Close the listening socket, after `hang_up`, and wait for the threads."""
        super().server_close()
        for thread, _ in list(self._asking.values()):
            thread.join()

    def server_bind(self) -> None:
        """Bind, without asking the domain name system for our own name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def get_request(self) -> Any:
        """Take the next connection."""
        try:
            return super().get_request()
        except OSError:
            # Out of descriptors, most likely: the question waits.
            self._closing.wait(_SECONDS_WITHOUT_DESCRIPTORS)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have a thread answer, unless too many do already or there can be none."""
        if len(self._asking) >= MOST_AT_A_TIME:
            self.shutdown_request(request)
            return
        thread = threading.Thread(
            target=self._answer, args=(request, client_address), name="metrics-answer"
        )
        self._asking[request] = thread, _clock.monotonic() + PATIENCE
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            # No more threads on this computer: it is answered by nobody, and its place is free.
            del self._asking[request]
            raise

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - fixed
        """Let a question that cannot be answered be its asker's trouble."""
        log.debug("a question from %s was not answered", client_address, exc_info=True)

    def _answer(self, request: Any, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except Exception:  # noqa: BLE001 - one question's; it is logged
            self.handle_error(request, client_address)
        finally:
            self.shutdown_request(request)
            self._asking.pop(request, None)


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
