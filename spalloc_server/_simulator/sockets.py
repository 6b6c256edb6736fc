"""The thread that owns the simulator's sockets.

These are one UDP socket per frame, a listening Unix socket and its connections. Owns readiness,
sending, and the replies that are not due yet. The meaning of packets is not its own:
it asks the frame, holding the lock that guards all frames, or the `answer` it was given.
"""

import contextlib
import heapq
import logging
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from spalloc_server import _clock
from spalloc_server._simulator.control import Connection
from spalloc_server._simulator.frame import Frame, Reply
from spalloc_server._simulator.packets import MAX_PACKET

_log = logging.getLogger(__name__)

_MAX_CONNECTIONS = 32  # of the control socket; arbitrary


class _Late(NamedTuple):
    """A reply that waits for its time."""

    due: float
    order: int
    socket: socket.socket
    frame: Frame
    reply: Reply
    peer: Any


class SocketThread:
    """Serves sockets from one thread.

    Parameters
    ----------
    lock : lock
        Guards all frames; held whenever a frame is touched.
    answer : callable
        (line) -> answer's line, for the control socket. Called without the lock.
    """

    def __init__(self, lock: threading.Lock, answer: Callable[[str], str]) -> None:
        self._frames_lock = lock
        self._answer = answer
        self._selector = selectors.DefaultSelector()
        self._late: list[_Late] = []
        self._order = 0
        self._connections: set[Connection] = set()
        # Guards _new, _sockets and _stop, and _waker against being closed.
        self._lock = threading.Lock()
        self._new: list[tuple[socket.socket, Callable[[], None]]] = []
        self._stop = False
        self._sockets: list[socket.socket] = []
        self._awake, self._waker = socket.socketpair()
        self._awake.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="simulator", daemon=True)

    # --- any thread ---

    def serve(self, bound: socket.socket, frame: Frame) -> None:
        """Let a frame speak through a bound UDP socket, which is closed at the end."""
        self._add(bound, lambda: self._receive(bound, frame))

    def listen(self, listening: socket.socket) -> None:
        """Accept control connections from a listening socket, which is closed at the end."""
        self._add(listening, lambda: self._accept(listening))

    def start(self) -> None:
        """Start the thread; RuntimeError if it was started or stopped before."""
        with self._lock:
            self._check_not_stopped()
            self._thread.start()

    def stop(self) -> None:
        """End the thread and close every socket; twice, or before `start`, is fine."""
        with self._lock:
            stopped_before, self._stop = self._stop, True
            if not stopped_before:
                self._wake_locked()
        if self._thread.ident is not None:
            self._thread.join()
        if not stopped_before:
            self._close()

    def _add(self, new: socket.socket, on_readable: Callable[[], None]) -> None:
        with self._lock:
            try:
                self._check_not_stopped()
            except RuntimeError:
                new.close()
                raise
            self._sockets.append(new)
            self._new.append((new, on_readable))
            self._wake_locked()

    def _check_not_stopped(self) -> None:
        if self._stop:
            raise RuntimeError("the simulation has been stopped")

    def _wake_locked(self) -> None:
        # A full wake-up socket means that it is awake already.
        with contextlib.suppress(BlockingIOError):
            self._waker.send(b"!")

    # --- own thread only ---

    def _run(self) -> None:
        self._selector.register(self._awake, selectors.EVENT_READ, self._on_wake)
        while not self._stop:
            for key, _ in self._selector.select(self._timeout()):
                self._guard(key.data)
            if self._late:
                self._guard(self._send_late)

    @staticmethod
    def _guard(handler: Callable[[], None]) -> None:
        try:
            handler()
        except Exception:  # noqa: BLE001 - one datagram or text must not end the others
            _log.exception("The simulator failed at a packet or command; it goes on")

    def _on_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._awake.recv(4096):
                pass
        with self._lock:
            new, self._new = self._new, []
        for added, on_readable in new:
            self._selector.register(added, selectors.EVENT_READ, on_readable)

    def _timeout(self) -> float | None:
        return max(0.0, self._late[0].due - _clock.monotonic()) if self._late else None

    def _receive(self, bound: socket.socket, frame: Frame) -> None:
        # One datagram a turn: the sender waits for the reply, so there is rarely a second one.
        try:
            packet, peer = bound.recvfrom(MAX_PACKET)
        except OSError:
            return  # gone again, e.g. a wrong checksum
        now = _clock.monotonic()
        with self._frames_lock:
            reply = frame.receive(packet, peer, now)
        if reply is None:
            return
        if reply.due <= now:
            self._send(bound, reply, peer)
        else:
            self._order += 1
            heapq.heappush(self._late, _Late(reply.due, self._order, bound, frame, reply, peer))

    def _send_late(self) -> None:
        now = _clock.monotonic()
        while self._late and self._late[0].due <= now:
            late = heapq.heappop(self._late)
            with self._frames_lock:
                late.frame.advance(now)
                silent = late.frame.is_silent(late.reply.board)
            if not silent:
                self._send(late.socket, late.reply, late.peer)

    @staticmethod
    def _send(bound: socket.socket, reply: Reply, peer: Any) -> None:
        try:
            bound.sendto(reply.data, peer)
        except OSError as error:  # nobody can be told; to the peer it is a lost packet
            _log.debug("Reply to %s lost: %s", peer, error)

    # --- control connections, own thread only ---

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return  # gone again
        if len(self._connections) >= _MAX_CONNECTIONS:
            accepted.close()
            return
        connection = Connection(accepted, self._answer)
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, lambda: self._go_on(connection))

    def _go_on(self, connection: Connection) -> None:
        if not connection.go_on():
            self._selector.unregister(connection.socket)
            self._connections.remove(connection)
            connection.close()
            return
        events = selectors.EVENT_WRITE if connection.waiting else selectors.EVENT_READ
        self._selector.modify(connection.socket, events, lambda: self._go_on(connection))

    # --- the end ---

    def _close(self) -> None:
        for connection in self._connections:
            connection.close()
        for served in self._sockets:
            served.close()
        self._selector.close()
        self._awake.close()
        self._waker.close()
