"""The server's control socket, and how its orders get into the loop.

A thread of its own talks to operators; the loop carries out their orders when it
comes by, and they are answered when the outcome is on disk::

    operator --line--> this thread --order--> loop: carry_out, commit, settle
             <--line--             <--answer--

Must not know the meaning of orders.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from spalloc_server import _clock
from spalloc_server._wire.control_socket import Connection, Listener
from spalloc_server._wire.endpoints import user_id_of

log = logging.getLogger(__name__)

#: Bytes of an order; thousands of boards.
_MAX_LINE = 65_536
#: Operators served at a time; one more takes the place of the one idle for longest. # arbitrary
_MAX_CONNECTIONS = 8
#: Seconds without a word after which a connection is closed. # arbitrary
_SECONDS_IDLE = 60.0


def control_path(directory: Path, config_name: str, label: str = "") -> Path:
    """Return where a server's control socket is.

    A simulation has one of its own beside it, for faults, see `_simulator`.
    """
    if label:
        return directory / f".{config_name}.{label}.server-control"
    return directory / f".{config_name}.control"


class _Order:
    """One line, until it is answered; `uid` is the user id of the operator."""

    def __init__(self, line: str, uid: int) -> None:
        self.line = line
        self.uid = uid
        self.answer = json.dumps({"ok": False, "text": "the server is stopping"})
        self.done = threading.Event()


class Control:
    """Takes orders at a Unix socket, from its construction on.

    Parameters
    ----------
    path : Path
        Its file; mode 0600, removed at the end.
    wake : callable
        Called from this thread when there is something for `carry_out`.

    Raises
    ------
    ControlFailed, OSError, RuntimeError
        If the socket cannot be made, or there is no descriptor or thread to be
        had; nothing is left behind.
    """

    def __init__(self, path: Path, wake: Callable[[], object]) -> None:
        self._wake = wake
        # Guards _waiting and _stopped.
        self._lock = threading.Lock()
        self._waiting: list[_Order] = []
        self._stopped = False
        self._carried_out: list[_Order] = []
        self._connections: dict[int, Connection] = {}
        # When each connection was last heard of (monotonic); the one idle for longest is first.
        self._heard: dict[int, float] = {}
        with contextlib.ExitStack() as undo:
            self._listener = Listener(path)
            undo.callback(self._listener.close)
            self._stop_read, self._stop_write = os.pipe()
            undo.callback(os.close, self._stop_read)
            undo.callback(os.close, self._stop_write)
            self._thread = threading.Thread(target=self._run, name="Control Thread", daemon=True)
            self._thread.start()
            undo.pop_all()

    # --- loop thread ---

    def carry_out(self, do: Callable[[str, int], str]) -> bool:
        """Carry out the orders that came meanwhile; operators hear of it at `settle`.

        Returns
        -------
        bool
            Whether there was anything.
        """
        if not self._waiting:
            return False
        with self._lock:
            orders, self._waiting = self._waiting, []
        for order in orders:
            order.answer = do(order.line, order.uid)
        self._carried_out += orders
        return True

    def settle(self) -> None:
        """Answer the orders that were carried out, now that the outcome is on disk."""
        orders, self._carried_out = self._carried_out, []
        for order in orders:
            order.done.set()

    # --- the thread that stops the server, when the loop has ended ---

    def stop(self) -> None:
        """Answer the operators who wait, end the thread, remove the socket; twice is harmless."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            left, self._waiting = self._waiting, []
        self._carried_out += left
        self.settle()
        os.close(self._stop_write)
        self._thread.join()

    # --- this thread only ---

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception:
            log.exception("the control socket failed; orders are taken no more")
        finally:
            for connection in self._connections.values():
                connection.close()
            self._listener.close()
            os.close(self._stop_read)

    def _turn(self) -> bool:
        """Wait for operators, and serve them; False at the end."""
        poll = select.poll()
        poll.register(self._stop_read, select.POLLIN)
        poll.register(self._listener.socket, select.POLLIN)
        for descriptor, connection in self._connections.items():
            poll.register(descriptor, select.POLLOUT if connection.waiting else select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(self._milliseconds_to_wait())}
        if self._stop_read in ready:
            return False
        for descriptor in ready & self._connections.keys():
            self._serve(descriptor)
        # Last, since it may close a connection, which is not idle if it could be read.
        if self._listener.socket.fileno() in ready:
            self._accept()
        self._close_idle(_clock.monotonic() - _SECONDS_IDLE)
        return True

    def _serve(self, descriptor: int) -> None:
        # The loop's answer may take long: then it is not the operator that was idle.
        goes_on = self._connections[descriptor].go_on()
        self._heard.pop(descriptor)
        self._heard[descriptor] = _clock.monotonic()
        if not goes_on:
            self._close(descriptor)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            accepted: socket.socket = self._listener.socket.accept()[0]
            if len(self._connections) >= _MAX_CONNECTIONS:
                self._close(next(iter(self._heard)))
            descriptor = accepted.fileno()
            ask = partial(self._ask_loop, user_id_of(accepted))
            self._connections[descriptor] = Connection(accepted, ask, _MAX_LINE)
            self._heard[descriptor] = _clock.monotonic()

    def _milliseconds_to_wait(self) -> float | None:
        if not self._heard:
            return None
        idle_until = next(iter(self._heard.values())) + _SECONDS_IDLE
        return max(0.0, idle_until - _clock.monotonic()) * 1000 + 1

    def _close_idle(self, unheard_since: float) -> None:
        for descriptor, heard in list(self._heard.items()):
            if heard > unheard_since:
                return
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        del self._heard[descriptor]
        self._connections.pop(descriptor).close()

    def _ask_loop(self, uid: int, line: str) -> str:
        """Have the loop carry out an order, and wait for that."""
        order = _Order(line, uid)
        with self._lock:
            if self._stopped:
                return order.answer
            self._waiting.append(order)
        self._wake()
        order.done.wait()
        return order.answer
