"""The signals that ask for a stop.

Owns SIGINT and SIGTERM while the program runs, and SIGHUP as long as no server
listens to it.  A handler here only sets flags and ends the waiting; it takes no lock.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM)
#: Ends a process by default, also before a server reads its configuration at it.
_HARMLESS = signal.SIGHUP


class StopSignals:
    """A context in which SIGINT and SIGTERM are asked about instead of obeyed.

    They are handled explicitly, so also where the parent process had them ignored, or
    where they have no effect by default because this is process 1.

    Attributes
    ----------
    on_second : callable or None
        Called without arguments, within the handler, at each signal after the
        first; it may only set flags.
    """

    def __init__(self) -> None:
        self.on_second: Callable[[], object] | None = None
        self._count = 0
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1
        self._receiver, self._sender = socket.socketpair()
        # Unlike select, poll takes descriptors beyond 1023.
        self._arrival = select.poll()
        self._arrival.register(self._receiver, select.POLLIN)

    @property
    def arrived(self) -> bool:
        """Whether a stop has been asked for."""
        return self._count > 0

    def wait(self, seconds: float) -> bool:
        """Wait for a signal; returns whether a stop has been asked for."""
        if not self._count and self._arrival.poll(seconds * 1000):
            with contextlib.suppress(BlockingIOError):
                self._receiver.recv(4096)
        return self._count > 0

    def __enter__(self) -> StopSignals:
        self._receiver.setblocking(False)
        self._sender.setblocking(False)
        if threading.current_thread() is threading.main_thread():
            self._wakeup_before = signal.set_wakeup_fd(
                self._sender.fileno(), warn_on_full_buffer=False
            )
            self._before = {number: signal.signal(number, self._on_signal) for number in _STOPPING}
            self._before[_HARMLESS] = signal.signal(_HARMLESS, _do_nothing)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if self._before:
            signal.set_wakeup_fd(self._wakeup_before)
        self._receiver.close()
        self._sender.close()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - fixed
        self._count += 1
        if self._count > 1 and self.on_second is not None:
            self.on_second()


def _do_nothing(number: int, frame: FrameType | None) -> None:
    """Take a signal that nobody listens to yet, or any more."""
