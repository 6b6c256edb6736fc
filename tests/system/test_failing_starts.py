"""Each system call of a start fails once, for want of descriptors or memory, or by the disk.

The start fails with words and leaves nothing behind, or the server serves, and loses no job.
"""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.simulated_server import Client

__all__ = ("facility",)

#: Calls of the standard library that enter the kernel, and that a start makes.
_CALLS = [
    (os, "open"),
    (os, "write"),
    (os, "fsync"),
    (os, "close"),
    (os, "fstat"),
    (os, "pread"),
    (os, "ftruncate"),
    (os, "pipe"),
    (os, "scandir"),
    (os, "listdir"),
    (socket, "socketpair"),
    (socket.socket, "bind"),
    (socket.socket, "listen"),
    (socket.socket, "setsockopt"),
]
_ERRORS = [errno.EMFILE, errno.ENOMEM, errno.EIO]


class Failing:
    """Lets the n-th of all these calls fail, in this thread or any other."""

    def __init__(self, nth: int, error: int) -> None:
        self.nth, self.error = nth, error
        self.calls = 0
        self.failed: str | None = None
        self._lock = threading.Lock()

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a stand-in for a call."""

        def stand_in(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                self.calls += 1
                fails = self.calls == self.nth
            if fails:
                self.failed = name
                if name == "close":
                    call(*args, **kwargs)  # as Linux does
                raise OSError(self.error, os.strerror(self.error))
            return call(*args, **kwargs)

        return stand_in

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the stand-ins into place."""
        patches = [
            mock.patch.object(where, name, self.wrap(name, getattr(where, name)))
            for where, name in _CALLS
        ]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in reversed(patches):
                patch.stop()


def start(facility: Facility, nth: int, error: int) -> tuple[Failing, SpallocServer | None]:
    """Start a server one of whose calls fails; None if the start fails."""
    failing = Failing(nth, error)
    with failing.in_place():
        try:
            return failing, facility.server(stop_timeout=5.0)
        except Exception as e:  # noqa: BLE001 - any may end a start, with words
            assert str(e)
            return failing, None


def names_of_threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate())


@pytest.mark.parametrize("error", _ERRORS, ids=lambda error: errno.errorcode[error])
def test_one_failing_call_costs_no_job_and_no_thread(facility: Facility, error: int) -> None:
    with facility.server() as server:
        jobs = [server.create_job(None, owner="me", keepalive=None) for _ in range(3)]
    facility.servers.clear()
    before = names_of_threads()
    served = refused = nth = 0
    while True:
        nth += 1
        failing, server_or_none = start(facility, nth, error)
        if server_or_none is None:
            refused += 1
            assert names_of_threads() == before, failing.failed
        else:
            with server_or_none as server, Client(server.port) as client:
                assert [job["job_id"] for job in client.call("list_jobs")] == jobs, failing.failed
                wait_until(lambda: server.store.trouble is None)
            served += 1
        facility.servers.clear()
        if failing.failed is None:
            break

    assert nth > 20
    assert served > 1
    assert refused > 1
    with facility.server() as server:
        assert [row["job_id"] for row in server.list_jobs(None)] == jobs
