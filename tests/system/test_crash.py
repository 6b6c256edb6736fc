"""A real server under load, killed with SIGKILL again and again.

``CRASH_KILLS`` and ``CRASH_SEED`` set the number of kills at random moments and
the seed; `make soak` chooses more kills and a free seed.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from spalloc_server._saved.crash_points import POINTS
from spalloc_server._simulator import Simulation
from spalloc_server._simulator.addresses import FreeAddresses
from tests.support.crash_ledger import Client, Connection, Ledger
from tests.support.crash_reader import Reader, ReadingThread

_KILLS = int(os.environ.get("CRASH_KILLS", "50"))
_SEED = os.environ.get("CRASH_SEED", "20261121")
_KILLS_PER_POINT = max(3, _KILLS // 20)
_CLIENTS = 4
#: Points that are passed at the start already, before any client is there.
_PASSED_AT_START = {"mid-snapshot", "before-rename", "after-rename", "during-rotation"}
_ROOT = Path(__file__).parent.parent.parent

_CONFIGURATION = """
def machine(name, width, height, host):
    boards = [(x, y, z) for y in range(height) for x in range(width) for z in range(3)]
    return Machine(
        name, width=width, height=height,
        board_locations={{board: (0, 0, n) for n, board in enumerate(boards)}},
        bmp_ips={{(0, 0): host}},
        spinnaker_ips={{board: f"{{name}}-{{n}}" for n, board in enumerate(boards)}},
    )

configuration = Configuration(
    machines=[machine("big", 4, 2, {hosts[0]!r}), machine("small", 2, 2, {hosts[1]!r})],
    seconds_before_free=0,
)
"""


class _Server:
    """The server as a process that can be killed and started again."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self._log = config.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self, crash_at: str | None = None) -> bool:
        """Start it; returns whether it came to serving (it may be told to die before)."""
        args = ["--port", "0", "--fpga-wait", "0", "--job-log", os.devnull, str(self._config)]
        if crash_at is not None:
            args += ["--crash-at", crash_at]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.crash_server", *args],
                cwd=_ROOT,
                stderr=log,
                stdout=log,
            )
        deadline = time.monotonic() + 60
        while (
            listening := re.search(rb"listening on port (\d+)", self._log.read_bytes())
        ) is None:
            if self._process.poll() is not None:
                assert self._process.returncode == -signal.SIGKILL, self._log.read_text()
                return False
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.01)
        self.port = int(listening[1])
        return True

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def wait_for_death(self, seconds: float) -> bool:
        assert self._process is not None
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        assert self._process.returncode == -signal.SIGKILL, self._log.read_text()
        return True

    def stop(self) -> None:
        """Stop it in order."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(60) == 0, self._log.read_text()


class _Facility:
    """Simulated frames that outlive the server, the server, and its clients' ledger."""

    def __init__(self, folder: Path, simulation: Simulation, hosts: list[str]) -> None:
        config = folder / "crash.cfg"
        config.write_text(_CONFIGURATION.format(hosts=hosts))
        self.server = _Server(config)
        self.ledger = Ledger()
        self.reader = Reader()
        self._simulation = simulation
        self._hosts = dict(zip(["big", "small"], hosts, strict=True))

    def load(self, seed: str) -> list[Client | ReadingThread]:
        jobs = sorted(self.ledger.alive)
        clients: list[Client | ReadingThread] = [
            Client(self.server.port, self.ledger, f"{seed}-{n}", jobs[n::_CLIENTS])
            for n in range(_CLIENTS)
        ]
        clients.append(ReadingThread(self.server.port, self.reader))
        for client in clients:
            client.start()
        return clients

    def check(self) -> None:
        """Hold the started server to what was answered, and the hardware to the server."""
        connection = Connection(self.server.port)
        try:
            self.ledger.settle(connection)
            self._hardware_is_in_line(connection)
            self.reader.read_all(connection)
            self.reader.check(self.ledger)
        finally:
            connection.close()

    def _hardware_is_in_line(self, connection: Connection) -> None:
        deadline = time.monotonic() + 30
        while True:
            jobs = connection.call("list_jobs")
            wanted = {
                (job["allocated_machine_name"], *board)
                for job in jobs
                if job["power"]
                for board in job["boards"]
            }
            on = self._boards_on()
            if on == wanted and all(job["state"] != 2 for job in jobs):
                return
            assert time.monotonic() < deadline, f"on but not wanted, or off: {on ^ wanted}"
            time.sleep(0.01)

    def _boards_on(self) -> set[tuple[str, int, int, int]]:
        on = set()
        for name, host in self._hosts.items():
            width = {"big": 4, "small": 2}[name]
            frame = self._simulation.frame(host)
            with self._simulation.still():
                numbers = [board.number for board in frame.boards if board.on]
            for number in numbers:
                triad, z = divmod(number, 3)
                on.add((name, triad % width, triad // width, z))
        return on


@pytest.fixture
def facility(tmp_path: Path) -> Iterator[_Facility]:
    free = FreeAddresses()
    bound = [free.bind_next() for _ in range(2)]
    for _, used in bound:
        used.close()
    hosts = [address for address, _ in bound]
    with Simulation() as simulation:
        simulation.add_frame(hosts[0], 24)
        simulation.add_frame(hosts[1], 12)
        facility = _Facility(tmp_path, simulation, hosts)
        yield facility
        facility.server.kill()


def _finish(clients: Sequence[Client | ReadingThread]) -> None:
    for client in clients:
        client.join(30)
        assert not client.is_alive()
        assert client.failure is None, client.failure


def test_what_was_answered_survives_kills_at_random_moments(facility: _Facility) -> None:
    print(f"seed {_SEED}, {_KILLS} kills at random moments")
    choose = random.Random(_SEED)
    for kill in range(_KILLS):
        assert facility.server.start()
        facility.check()
        clients = facility.load(f"{_SEED}-{kill}")
        time.sleep(choose.uniform(0.0, 0.3))
        facility.server.kill()
        _finish(clients)
    facility.server.start()
    facility.check()
    facility.server.stop()
    print(f"{facility.ledger.answered} answers, {facility.ledger.highest_id} jobs")
    assert facility.ledger.answered > 10 * _KILLS


@pytest.mark.parametrize("point", POINTS)
def test_what_was_answered_survives_kills_at(point: str, facility: _Facility) -> None:
    choose = random.Random(f"{_SEED}-{point}")
    kills = 0
    attempts = 0
    while kills < _KILLS_PER_POINT:
        attempts += 1
        assert attempts < 5 * _KILLS_PER_POINT
        passes = choose.randrange(2, 5) if point in _PASSED_AT_START else choose.randrange(1, 40)
        if point in _PASSED_AT_START and kills == 0:
            passes = 1  # while it starts
        if not facility.server.start(f"{point}:{passes}"):
            kills += 1
            continue
        with contextlib.suppress(OSError):  # the hardware's answers may take it to its point
            facility.check()
        clients = facility.load(f"{_SEED}-{point}-{attempts}")
        died = facility.server.wait_for_death(20)
        for client in clients:
            client.enough.set()
        if not died:
            facility.server.kill()
        _finish(clients)
        kills += died
    print(f"{point}: {kills} kills")
    assert facility.server.start()
    facility.check()
    facility.server.stop()
    assert facility.server.start()
    facility.check()
