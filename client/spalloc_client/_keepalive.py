"""The handle on the process that keeps a job alive; see `_keepalive_process`.

A process, not a thread: a thread would starve while the main program computes in C with
the interpreter's lock held, and would stop with it on Ctrl-Z. Only programs that embed
Python, where no interpreter can be found to start, get a thread.
"""

import json
import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from spalloc_client._endpoint import Endpoint
from spalloc_client._keepalive_process import Task, keep_alive

_log = logging.getLogger(__name__)

#: The shortest interval between two signs of life, in seconds.  # arbitrary
_SHORTEST_INTERVAL = 0.02

#: How long an interpreter may take to show that it is one, seconds.  # arbitrary
_PATIENCE_AT_START = 10.0

_PROGRAM = Path(__file__).with_name("_keepalive_process.py")

#: How the file names of Python interpreters begin. Other programs may do anything when they
#: are started, so they are not even tried: a frozen or embedding program would run again.
_INTERPRETERS = ("python", "pypy", "graalpy")

#: Interpreters that have been seen to run our program.
_proven: set[str] = set()


class Keepalive:
    """Keeps job `job_id` alive until `stop`, or until this process is gone.

    Parameters
    ----------
    endpoint
        The server.
    job_id
        The job.
    keepalive
        The job's keepalive period, in seconds; a sign of life is sent twice as often.
    reconnect_delay
        Seconds between attempts to reach a lost server.
    """

    def __init__(
        self, endpoint: Endpoint, job_id: int, keepalive: float, reconnect_delay: float
    ) -> None:
        self._owner = os.getpid()
        self._task: Task = {
            "hostname": endpoint.path or endpoint.hostname,
            "port": endpoint.port,
            "tls": endpoint.tls_files,
            "job_id": job_id,
            "parent": self._owner,
            "interval": max(keepalive / 2, _SHORTEST_INTERVAL),
            "reconnect_delay": reconnect_delay,
        }
        self._keeper = self._start()

    @property
    def pid(self) -> int | None:
        """The process's number; None if it is a thread."""
        return self._keeper.pid

    def ensure(self) -> None:
        """Start the process again if somebody killed it (out of memory, say)."""
        if self._owner == os.getpid() and not self._keeper.alive():
            self._keeper.release()
            self._keeper = self._start()

    def stop(self) -> None:
        """End the process, unless it belongs to the process that we were forked from."""
        if self._owner == os.getpid():
            self._keeper.stop()

    def _start(self) -> "_Process | _Thread":
        for interpreter in _interpreters():
            process = _Process.start(interpreter, self._task)
            if process is not None:
                return process
        _log.warning(
            "job %s is kept alive from a thread, which a busy program may starve: no Python "
            "interpreter was found for a process of its own (sys.executable is %r)",
            self._task["job_id"],
            sys.executable,
        )
        return _Thread(self._task)


def _interpreters() -> Iterator[str]:
    """Give the places where a Python interpreter like ours may be, the likeliest first."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    places = [sys.executable, getattr(sys, "_base_executable", None)]
    for prefix in (sys.prefix, sys.base_prefix):
        places += [f"{prefix}/bin/{version}", f"{prefix}/bin/python3"]
    for place in dict.fromkeys(filter(None, places)):
        if Path(place).name.startswith(_INTERPRETERS) and os.access(place, os.X_OK):
            yield place


class _Process:
    """The program of `_keepalive_process`, running."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process
        self.pid: int | None = process.pid

    @classmethod
    def start(cls, interpreter: str, task: Task) -> "_Process | None":
        """Start it; None if `interpreter` turns out to be no such thing."""
        try:
            process = subprocess.Popen(
                # Isolated and without site packages: quick, and immune to the environment.
                [interpreter, "-I", "-S", str(_PROGRAM), json.dumps(task)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL if interpreter in _proven else subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,  # out of reach of the terminal's Ctrl-C, Ctrl-Z, hang-up
                bufsize=0,
            )
        except OSError as exc:
            _log.debug("%s cannot be started: %s", interpreter, exc)
            return None
        keeper = cls(process)
        if process.stdout is not None:
            with process.stdout as said:
                ready = select.select([said], [], [], _PATIENCE_AT_START)[0]
                if not ready or not said.read(1):
                    _log.debug("%s is no Python interpreter", interpreter)
                    keeper.stop()
                    return None
            _proven.add(interpreter)
        return keeper

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> None:
        with suppress(OSError):  # it may be gone
            # Said in words: closing the pipe says nothing while a forked child holds it too.
            os.write(self._pipe(), b"q")
        self.release()
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # looking up a name, or connecting
            self._process.kill()
            self._process.wait()

    def release(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()

    def _pipe(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()


class _Thread:
    """The same in a thread of this process."""

    pid: int | None = None

    def __init__(self, task: Task) -> None:
        self._ear, self._button = socket.socketpair()
        self._thread = threading.Thread(
            target=self._run, args=(task,), name=f"spalloc-keepalive-{task['job_id']}", daemon=True
        )
        self._thread.start()

    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        self.release()
        # Looking up a name, or connecting, it ends later by itself.
        self._thread.join(timeout=1.0)

    def release(self) -> None:
        self._button.close()

    def _run(self, task: Task) -> None:
        watched = select.poll()
        watched.register(self._ear, select.POLLIN)
        with self._ear, suppress(SystemExit):
            keep_alive(task, watched)
