"""The handle on the process that keeps a job alive; see `_keepalive_process`.

A process, not a thread: a thread would starve while the main program computes in C with
the interpreter's lock held, and would stop with it on Ctrl-Z.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

#: The shortest interval between two signs of life, in seconds, whatever the period.  # arbitrary
_SHORTEST_INTERVAL = 0.02

_PROGRAM = Path(__file__).with_name("_keepalive_process.py")


class Keepalive:
    """Keeps job `job_id` alive until `stop`, or until this process is gone.

    Parameters
    ----------
    hostname, port
        The server.
    job_id
        The job.
    keepalive
        The job's keepalive period, in seconds; a sign of life is sent twice as often.
    reconnect_delay
        Seconds between attempts to reach a lost server.
    """

    def __init__(
        self, hostname: str, port: int, job_id: int, keepalive: float, reconnect_delay: float
    ) -> None:
        self._owner = os.getpid()
        self._task = {
            "hostname": hostname,
            "port": port,
            "job_id": job_id,
            "parent": self._owner,
            "interval": max(keepalive / 2, _SHORTEST_INTERVAL),
            "reconnect_delay": reconnect_delay,
        }
        self._process = self._start()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def ensure(self) -> None:
        """Start the process again if somebody killed it (out of memory, say)."""
        if self._owner == os.getpid() and self._process.poll() is not None:
            self._release()
            self._process = self._start()

    def stop(self) -> None:
        """End the process, unless it belongs to the process that we were forked from."""
        if self._owner != os.getpid():
            return
        with suppress(OSError):  # it may be gone
            # Said in words: closing the pipe says nothing while a forked child holds it too.
            os.write(self._pipe(), b"q")
        self._release()
        try:
            self._process.wait(timeout=1.0)
        except subprocess.TimeoutExpired:  # looking up a name, or connecting
            self._process.kill()
            self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            # Isolated and without site packages: quick, and immune to the environment.
            [sys.executable, "-I", "-S", str(_PROGRAM), json.dumps(self._task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # out of reach of the terminal's Ctrl-C, Ctrl-Z, hang-up
            bufsize=0,
        )

    def _pipe(self) -> int:
        assert self._process.stdin is not None
        return self._process.stdin.fileno()

    def _release(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
