"""What durability costs: ``python -m benchmarks.durability``.

Three rows, each with the limit that it has to keep:

* creating and destroying jobs from one client, beside a server that saves
  nothing until it stops;
* recovering 1,000 jobs on 1,200 boards from snapshot and journal;
* the disk space of a busy day, 100,000 jobs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from spalloc_server import controller
from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server._jobs import book
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._saved.store import Store
from spalloc_server.configuration import Machine
from spalloc_server.controller import Controller

#: Limits of the reliability specification.
_MOST_SLOWER, _MOST_SECONDS, _MOST_MIB = 1.15, 1.0, 50
_CONFIGURATION = """
boards = [(x, y, z) for y in range(20) for x in range(20) for z in range(3)]
configuration = Configuration(
    machines=[Machine.with_standard_ips(
        "m", width=20, height=20, base_ip="192.168.0.0",
        board_locations={board: (n // 120, n // 24 % 5, n % 24) for n, board in enumerate(boards)},
    )],
    seconds_before_free=0,
)
"""


def main(args: Sequence[str] | None = None) -> int:
    """Run the three rows, print them, and return 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.durability")
    parser.add_argument("--rounds", type=int, default=5, help="with each pair of servers (5)")
    parser.add_argument("--servers", type=int, default=7, help="pairs of them (7)")
    parser.add_argument("--pairs", type=int, default=200, help="jobs a round")
    parser.add_argument("--jobs", type=int, default=100_000, help="of a busy day")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(args)
    slower = _slower_than_without(options.servers, options.rounds, options.pairs)
    seconds = _seconds_to_recover(1000)
    mib = _mib_of_a_day(options.jobs)
    rows = [
        ("create and destroy, process / none", slower, "times", _MOST_SLOWER),
        ("recover 1,000 jobs on 1,200 boards", seconds, "s", _MOST_SECONDS),
        (f"disk space of {options.jobs:,} jobs, most at a time", mib, "MiB", _MOST_MIB),
    ]
    if options.json:
        print(json.dumps([dict(zip(("row", "is", "unit", "most"), r, strict=True)) for r in rows]))
    else:
        for row, value, unit, most in rows:
            print(f"{row:50} {value:8.3f} {unit:5} (at most {most})")
    return int(any(value > most for _, value, _, most in rows))


# --- create and destroy ---


@contextmanager
def _serving(folder: Path, durability: str) -> Iterator[Callable[[str, list[Any]], Any]]:
    """Run a server on simulated frames; yields how to call it."""
    config = folder / f"{durability}.cfg"
    config.write_text(_CONFIGURATION)
    log = folder / f"{durability}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "spalloc_server", "--simulate", "--port", "0"),
                *("--durability", durability, "--job-log", os.devnull, str(config)),
            ],
            stdout=output,
            stderr=output,
        )
    try:
        while (port := re.search(rb"listening on port (\d+)", log.read_bytes())) is None:
            if process.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.02)
        with socket.create_connection(("127.0.0.1", int(port[1]))) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lines = connection.makefile("rb")

            def call(name: str, arguments: list[Any]) -> Any:
                kwargs = {"owner": "me"} if name == "create_job" else {}
                command = {"command": name, "args": arguments, "kwargs": kwargs}
                connection.sendall(json.dumps(command).encode() + b"\n")
                return json.loads(lines.readline())["return"]

            yield call
    finally:
        process.terminate()
        process.wait()


def _slower_than_without(servers: int, rounds: int, pairs: int) -> float:
    """How many times as long jobs take with the default durability.

    The median over pairs of servers of each pair's median: two processes that do the
    same differ more from each other than their rounds do.
    """
    return statistics.median(_ratio_of_a_pair(rounds, pairs) for _ in range(servers))


def _ratio_of_a_pair(rounds: int, pairs: int) -> float:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        calls = [stack.enter_context(_serving(folder, level)) for level in ("process", "none")]
        ratios = []
        for turn in range(rounds + 1):
            order = calls if turn % 2 else calls[::-1]
            took = {id(call): _time_jobs(call, pairs) for call in order}
            if turn:  # the first is for warming up
                ratios.append(took[id(calls[0])] / took[id(calls[1])])
        return statistics.median(ratios)


def _time_jobs(call: Callable[[str, list[Any]], Any], pairs: int) -> float:
    start = time.perf_counter()
    for _ in range(pairs):
        call("destroy_job", [call("create_job", [3])])
    return time.perf_counter() - start


# --- recovery and disk space, without processes ---


class _InstantFrame:
    """A frame that has done everything at once."""

    def __init__(self, hostname: str, on_thread_start: Callable[[], object] | None = None) -> None:
        del on_thread_start
        self.hostname = hostname

    def add_requests(self, requests: AtomicRequests) -> None:
        requests.on_done(True)

    def stop(self) -> None:
        """Do nothing: there is no thread."""

    def join(self) -> None:
        """Do nothing: there is no thread."""

    def __enter__(self) -> _InstantFrame:
        return self

    def __exit__(self, *_: object) -> None:
        return None


@contextmanager
def _facility(folder: Path) -> Iterator[tuple[Controller, Store]]:
    """Set up a controller of 1,200 boards, and its store."""
    boards = [(x, y, z) for y in range(20) for x in range(20) for z in range(3)]
    machine = Machine.with_standard_ips(
        "m",
        width=20,
        height=20,
        board_locations={b: (n // 120, n // 24 % 5, n % 24) for n, b in enumerate(boards)},
    )
    with mock.patch.object(controller, "AsyncBMPController", _InstantFrame):
        store = Store(folder, "m.cfg", "1.0.0", book=book)
        store.lock("benchmark")
        store.load()
        write_ahead = WriteAhead(store, lambda: None)
        control = Controller(seconds_before_free=0, outlet=write_ahead)
        control.machines = {"m": machine}
        write_ahead.begin(control)
        try:
            yield control, store
        finally:
            store.abandon()


def _seconds_to_recover(jobs: int) -> float:
    """How long it takes from files to a controller that goes on."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _facility(folder) as (control, store):
            for _ in range(jobs):
                control.create_job("10.0.0.1", owner="me", keepalive=None)
                store.commit()
        start = time.perf_counter()
        again = Store(folder, "m.cfg", "1.0.0", book=book)
        again.lock("benchmark")
        loaded = again.load()
        assert loaded.state is not None
        with mock.patch.object(controller, "AsyncBMPController", _InstantFrame):
            recovered = Controller.restore(loaded.state)
        again.begin(recovered.__getstate__())
        seconds = time.perf_counter() - start
        again.abandon()
        assert len(recovered.list_jobs()) == jobs
        return seconds


def _mib_of_a_day(jobs: int) -> float:
    """Most disk space taken at any time while so many jobs come and go."""
    most = 0
    with tempfile.TemporaryDirectory() as name, _facility(Path(name)) as (control, store):
        running: list[int] = []
        for n in range(jobs):
            running.append(control.create_job("10.0.0.1", 1 + n % 6, owner="somebody@example.org"))
            store.commit()
            if len(running) > 100:
                control.destroy_job("10.0.0.1", running.pop(0), "done")
                store.commit()
            if store.wants_snapshot:
                store.snapshot(control.__getstate__())
            if n % 100 == 0:
                most = max(most, sum(path.stat().st_size for path in Path(name).iterdir()))
    return most / 2**20


if __name__ == "__main__":
    sys.exit(main())
