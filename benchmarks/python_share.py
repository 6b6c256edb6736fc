"""``python -m benchmarks.python_share``: what a command costs in Python, without the kernel.

The loop of a real server turns over sockets and a poll object that cost next to nothing, so
that the figures hardly depend on what else the computer does, and small changes show.
"""

from __future__ import annotations

import argparse
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load import request
from benchmarks.processes import Frames, quiet_folder
from benchmarks.sites import Site
from spalloc_server._bmp import wiring
from spalloc_server.polling_server_core import POLLIN
from spalloc_server.server import SpallocServer

#: Turns in a row that are timed; the best of the rounds counts.
_TURNS, _ROUNDS = 500, 20


class _FreeSocket(socket.socket):
    """A client that asks the same at every turn, and takes every answer."""

    line = b""

    def recv(self, _size: int, _flags: int = 0) -> bytes:
        return self.line

    def send(self, data: object, _flags: int = 0) -> int:
        assert isinstance(data, bytes)
        return len(data)


class _FreePoll:
    """Tells at once that all clients are ready."""

    def __init__(self, descriptors: Sequence[int]) -> None:
        self._events = [(descriptor, POLLIN) for descriptor in descriptors]

    def poll(self, _timeout: float | None = None, /) -> list[tuple[int, int]]:
        return self._events


class _Timed(SpallocServer):
    """A server that times turns of its loop before it serves.

    Parameters
    ----------
    config : Path
    asked : dict
        {what is asked: its lines, one for each client}.
    jobs : int
        How many there are meanwhile.

    Attributes
    ----------
    seconds : dict
        {what is asked: seconds of a turn}; whole when `measured` is set, unless that failed.
    """

    def __init__(self, config: Path, asked: dict[str, list[bytes]], jobs: int) -> None:
        self._asked, self._jobs = asked, jobs
        self.seconds: dict[str, float] = {}
        self.measured = threading.Event()
        super().__init__(config, port=0, stop_timeout=0.0)

    def _run(self) -> None:
        try:
            self._measure()
        finally:
            self.measured.set()
        super()._run()

    def _measure(self) -> None:
        for _ in range(self._jobs):
            self.create_job(None, owner="me", keepalive=60.0)
        for name, lines in self._asked.items():
            with self._clients_that_ask(lines):
                self.seconds[name] = min(self._seconds_of_a_turn() for _ in range(_ROUNDS))

    def _seconds_of_a_turn(self) -> float:
        began = time.perf_counter()
        for _ in range(_TURNS):
            self._turn()
        return (time.perf_counter() - began) / _TURNS

    @contextmanager
    def _clients_that_ask(self, lines: list[bytes]) -> Iterator[None]:
        clients = []
        for line in lines:
            client = _FreeSocket()
            client.line = line
            clients.append(client)
            self._client_buffers[client] = b""
            self._peer(client).name = "127.0.0.1"
            self.register_channel(client)
        poll = self._poll
        self._poll = _FreePoll([client.fileno() for client in clients])  # type: ignore[assignment]
        try:
            yield
        finally:
            self._poll = poll
            for client in clients:
                self._disconnect_client(client)


def main(args: Sequence[str] | None = None) -> int:
    """Print how long turns of the loop take without the kernel, for each command.

    Returns
    -------
    int
        Exit status: 0, or 1 if something could not be measured.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.python_share", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--clients", type=int, default=9, help="that are ready in each turn (9)")
    parser.add_argument("--jobs", type=int, default=380, help="there are (380)")
    options = parser.parse_args(args)
    with quiet_folder() as folder:
        return _measure(options.clients, options.jobs, folder)


def _measure(clients: int, jobs: int, folder: Path) -> int:
    site = Site.of(2, 2)
    wiring.fpga_wait = 0.0
    numbers = range(clients)
    asked = {
        "nothing": [],
        "version": [request("version") for _ in numbers],
        "get_job_state": [request("get_job_state", 1 + n % max(jobs, 1)) for n in numbers],
        "where_is": [request("where_is", machine="m", x=0, y=0, z=n % 3) for n in numbers],
    }
    with Frames(folder, site):
        server = _Timed(site.write(folder), asked, jobs)
        with server:
            server.measured.wait()
    for name, seconds in server.seconds.items():
        each = f"{seconds / clients * 1e6:6.2f} us each" if asked[name] else ""
        print(f"{name:14} {seconds * 1e6:7.2f} us a turn  {each}".rstrip())
    return 0 if server.seconds.keys() == asked.keys() else 1


if __name__ == "__main__":
    sys.exit(main())
