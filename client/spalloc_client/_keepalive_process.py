"""A program of its own that keeps a job alive while another program runs.

It is started by :mod:`spalloc_client._keepalive` as a file, with nothing but the standard
library at hand, in a session of its own: the other program may be busy, stopped or deaf
without this one noticing. It ends when the other program has ended or says so.

    standard input     the other program's pipe: anything, also its end, means "stop"
    standard output    a "1" once it runs, and nothing else
    argument 1         JSON object: hostname, port, job_id, parent (process id) and, in
                       seconds, interval and reconnect_delay

It does not care for answers: while the server is busy, what was sent waits at its door.
A connection that the kernel finds dead is replaced.
"""

import json
import os
import select
import socket
import sys
import time
from contextlib import suppress
from typing import NoReturn, TypedDict


class Task(TypedDict):
    """What to do, as told by the other program."""

    hostname: str
    port: int
    job_id: int
    parent: int
    interval: float
    reconnect_delay: float


def main() -> NoReturn:
    """Keep the job alive until told to stop."""
    task: Task = json.loads(sys.argv[1])
    watched = _watch(task["parent"])
    os.write(1, b"1")  # shows that we run
    keep_alive(task, watched)


def keep_alive(task: Task, watched: select.poll) -> NoReturn:
    """Keep a job alive until there is something to read in `watched`: then SystemExit."""
    while True:
        try:
            with _connect(task) as server:
                while True:
                    _say_alive(server, task["job_id"])
                    _listen(watched, server, task["interval"])
        except OSError:
            # Gone, or restarting: try again, but never later than the job can bear.
            _pause(watched, min(task["reconnect_delay"], task["interval"]))


def _watch(parent: int) -> select.poll:
    """Make the poll object that tells when to stop."""
    watched = select.poll()
    watched.register(0, select.POLLIN)
    # Besides the pipe, because a forked child of the other program may hold its end open.
    # Kernels and sandboxes without pidfd_open leave us with the pipe.
    with suppress(OSError):
        watched.register(os.pidfd_open(parent), select.POLLIN)
    if os.getppid() != parent:  # it ended before we could look
        raise SystemExit(0)
    return watched


def _connect(task: Task) -> socket.socket:
    server = socket.create_connection((task["hostname"], task["port"]), timeout=task["interval"])
    server.setblocking(False)
    patience_ms = max(int(task["interval"] * 1000), 1000)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
    return server


def _say_alive(server: socket.socket, job_id: int) -> None:
    message = json.dumps({"command": "job_keepalive", "args": [job_id]}).encode() + b"\n"
    if server.send(message) != len(message):
        raise OSError("the server has not read for ages")


def _listen(watched: select.poll, server: socket.socket, seconds: float) -> None:
    """Throw answers away for some time; OSError if the connection ended."""
    end = time.monotonic() + seconds
    watched.register(server, select.POLLIN)
    try:
        while (left := end - time.monotonic()) > 0:
            ready = [descriptor for descriptor, _ in watched.poll(left * 1000)]
            if ready and ready != [server.fileno()]:
                raise SystemExit(0)
            if ready and not server.recv(1 << 16):
                raise ConnectionResetError
    finally:
        watched.unregister(server)


def _pause(watched: select.poll, seconds: float) -> None:
    if watched.poll(seconds * 1000):
        raise SystemExit(0)


if __name__ == "__main__":
    main()
