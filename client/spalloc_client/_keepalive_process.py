"""A program of its own that keeps a job alive while another program runs.

It is started by :mod:`spalloc_client._keepalive` as a file, with nothing but the standard
library at hand, in a session of its own: the other program may be busy, stopped or deaf
without this one noticing. It ends when the other program has ended or says so.

    standard input     the other program's pipe: anything, also its end, means "stop"
    standard output    a "1" once it runs, and nothing else
    argument 1         JSON object: hostname (or the path of a Unix socket), port, tls (null,
                       or an object with the file names ca, cert and key, or null), job_id,
                       parent (process id) and, in seconds, interval and reconnect_delay

It waits for no answer: while the server is busy, signs of life wait at its door. A
connection that the kernel finds dead is replaced. On each connection it first asks for the
job's state: a server that lost its state may have given the id to another job.
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
    """Our orders, as told by the other program."""

    hostname: str
    port: int
    tls: dict[str, str | None] | None
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
    """Keep a job alive until there is something to read in `watched`: then SystemExit.

    It ends, too, when the server has lost its state and given the id to another job.
    """
    born = _Birth()
    while True:
        try:
            with _connect(task) as server:
                # It is a sign of life, too. Nothing is sent along with it: the original server
                # does not survive a client that leaves with two answers outstanding.
                command, reply = "get_job_state", _FirstLine()
                while True:
                    _send(server, command, task["job_id"])
                    _listen(watched, server, task["interval"], reply, born)
                    command = "job_keepalive"
        except OSError:
            # Gone, or restarting: try again, but never later than the job can bear.
            _pause(watched, min(task["reconnect_delay"], task["interval"]))


class _FirstLine:
    """The first line of a stream of bytes; the rest is thrown away."""

    def __init__(self) -> None:
        self._data = b""
        self.whole = False

    def feed(self, data: bytes) -> str | None:
        """Take in bytes; returns the line when it is whole, once."""
        if self.whole:
            return None
        self._data += data
        line, end, _ = self._data.partition(b"\n")
        self.whole = bool(end)
        return line.decode("utf-8", "replace") if self.whole else None


class _Birth:
    """The time of the job's creation, as its server told first."""

    def __init__(self) -> None:
        self._time: float | None = None

    def check(self, line: str) -> None:
        """Look at an answer to get_job_state; SystemExit if it is of another job."""
        try:
            time_ = json.loads(line)["return"]["start_time"]
        except (ValueError, LookupError, TypeError):
            return
        if not isinstance(time_, int | float):
            return
        if self._time is None:
            self._time = time_
        elif abs(time_ - self._time) >= 1.0:  # as in `_identity`
            raise SystemExit(0)


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
    if task["hostname"].startswith("/"):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.connect(task["hostname"])
    else:
        address = (task["hostname"], task["port"])
        server = socket.create_connection(address, timeout=task["interval"])
        patience_ms = max(int(task["interval"] * 1000), 1000)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, patience_ms)
    if task["tls"] is not None:
        server = _encrypted(server, task["hostname"], **task["tls"])
    server.setblocking(False)
    return server


def _encrypted(
    server: socket.socket, hostname: str, ca: str | None, cert: str | None, key: str | None
) -> socket.socket:
    import ssl  # noqa: PLC0415 (it takes long to load, and few need it)

    try:
        context = ssl.create_default_context(cafile=ca)
        if cert is not None:
            context.load_cert_chain(cert, key, password=b"")
        return context.wrap_socket(server, server_hostname=hostname)
    except BaseException:
        server.close()
        raise


def _has_to_wait(error: OSError) -> bool:
    """Whether a socket, with TLS or without, has nothing to give or no room just now."""
    return isinstance(error, BlockingIOError) or type(error).__name__.startswith("SSLWant")


def _send(server: socket.socket, command: str, job_id: int) -> None:
    message = json.dumps({"command": command, "args": [job_id]}).encode() + b"\n"
    try:
        sent = server.send(message)
    except OSError as exc:
        if not _has_to_wait(exc):
            raise
        sent = 0
    if sent != len(message):
        raise OSError("the server has not read for ages")


def _listen(
    watched: select.poll, server: socket.socket, seconds: float, reply: _FirstLine, born: _Birth
) -> None:
    """Read answers for some time; OSError if the connection ended."""
    end = time.monotonic() + seconds
    watched.register(server, select.POLLIN)
    try:
        while (left := end - time.monotonic()) > 0:
            ready = [descriptor for descriptor, _ in watched.poll(left * 1000)]
            if ready and ready != [server.fileno()]:
                raise SystemExit(0)
            if not ready:
                continue
            try:
                data = server.recv(1 << 16)
            except OSError as exc:
                if not _has_to_wait(exc):
                    raise
                continue
            if not data:
                raise ConnectionResetError
            line = reply.feed(data)
            if line is not None:
                born.check(line)
    finally:
        watched.unregister(server)


def _pause(watched: select.poll, seconds: float) -> None:
    if watched.poll(seconds * 1000):
        raise SystemExit(0)


if __name__ == "__main__":
    main()
