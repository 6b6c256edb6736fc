"""Has one system call of a block of code fail, chosen by its number."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

#: Python's audit events that stand for system calls; raising there fails the call.
_AUDITED = ("open", "os.", "socket.", "_thread.start", "resource.", "fcntl.")
#: Calls without audit events.
_PATCHED = ("write", "fsync", "fdatasync", "fstat", "read", "pwrite")
#: Files of Python itself: importing is not the subject.
_SOURCES = (".py", ".pyc", ".so", "__pycache__", "site-packages", "/proc/")


class Calls:
    """Counts the system calls of the thread that began it, and fails one of them.

    Attributes
    ----------
    names : list of str
        The calls so far.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self._fail_at: int | None = None
        self._error: Callable[[], OSError] = OSError
        self._thread: int | None = None

    @contextmanager
    def failing(self, number: int | None, code: int) -> Iterator[None]:
        """Fail the call with a number, in this thread and block; None only counts."""
        self.names.clear()
        self._fail_at = number
        self._error = lambda: OSError(code, os.strerror(code))
        self._thread = threading.get_ident()
        try:
            yield
        finally:
            self._thread = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Count nothing in a block."""
        thread, self._thread = self._thread, None
        try:
            yield
        finally:
            self._thread = thread

    def stop(self) -> None:
        """Fail no more calls."""
        self._thread = None

    def note(self, name: str) -> None:
        """Count a call, or fail it."""
        if self._thread != threading.get_ident():
            return
        self.names.append(name)
        if self._fail_at == len(self.names) - 1:
            raise self._error()


_CALLS: Calls | None = None


def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the process's counter; its hook stays, and does nothing outside of blocks."""
    global _CALLS  # noqa: PLW0603 - audit hooks cannot be taken away again
    if _CALLS is None:
        _CALLS = Calls()
        sys.addaudithook(_hook)
    found = _CALLS
    for name in _PATCHED:
        real = getattr(os, name)

        def call(*args: Any, _real: Any = real, _name: str = name) -> Any:
            found.note(f"os.{_name}")
            return _real(*args)

        monkeypatch.setattr(os, name, call)
    socketpair = socket.socketpair

    def pair(*args: Any) -> Any:
        found.note("socketpair")
        # Of its parts Python would lose a descriptor if the second one failed.
        with found.paused():
            return socketpair(*args)

    monkeypatch.setattr(socket, "socketpair", pair)
    return found


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _CALLS is None or not event.startswith(_AUDITED):
        return
    if event in ("open", "os.listdir", "os.scandir") and any(s in str(args[0]) for s in _SOURCES):
        return
    _CALLS.note(event)
