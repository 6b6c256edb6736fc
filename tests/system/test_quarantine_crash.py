"""Boards out of service and the jobs that met them, through SIGKILL at any point."""

import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._programs.state_tool import main as state_tool
from spalloc_server._saved.crash_points import POINTS
from spalloc_server._wire import control_socket
from spalloc_server._wire.control import control_path
from spalloc_server._wire.control_socket import ControlFailed

_ROOT = Path(__file__).parent.parent.parent
_PATIENCE = 30.0
_BAD, _DRAINED = [0, 0, 0], [1, 0, 2]
_CONFIG = """
boards = [(x, 0, z) for x in range(2) for z in range(3)]
configuration = Configuration(seconds_before_free=0, ip="127.0.0.1", machines=[Machine(
    "m", width=2, height=1,
    board_locations={board: (0, 0, n) for n, board in enumerate(boards)},
    bmp_ips={(0, 0): "frame"}, spinnaker_ips={board: f"b{n}" for n, board in enumerate(boards)},
)])
"""


class Server:
    """The server as a process, on simulated frames with one bad board."""

    def __init__(self, folder: Path) -> None:
        self.config = folder / "m.cfg"
        self.config.write_text(_CONFIG)
        self._log = folder / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self, crash_at: str | None = None) -> None:
        args = [str(self.config), "--simulate", "--port", "0", "--job-log", "/dev/null"]
        args += ["--fault", "frame board 0 fpga-wrong"]
        args += [] if crash_at is None else ["--crash-at", crash_at]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.quarantine_server", *args],
                cwd=_ROOT,
                stdout=log,
                stderr=log,
            )
        self.wait(lambda: self.order(do="list") is not None or not self.alive)
        self._port = self._listening() or 0

    def _listening(self) -> int:
        found = re.search(rb"listening on port (\d+)", self._log.read_bytes())
        return int(found[1]) if found else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def wait(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not done():
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.01)

    def command(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Ask as a client does; None if the server dies of it."""
        line = json.dumps({"command": name, "args": args, "kwargs": kwargs}) + "\n"
        try:
            with socket.create_connection(("127.0.0.1", self._port), timeout=_PATIENCE) as client:
                client.sendall(line.encode())
                reply = client.makefile("rb").readline()
        except OSError:
            return None
        return json.loads(reply)["return"] if reply.endswith(b"\n") else None

    def order(self, **order: Any) -> Any:
        """Ask as an operator does; None if the server dies of it."""
        path = control_path(self.config.parent, self.config.name, "simulated")
        try:
            answer = json.loads(control_socket.ask(path, json.dumps(order), "a server"))
        except ControlFailed:
            return None
        assert answer["ok"], answer
        return answer["data"]

    def out(self) -> list[list[int]]:
        rows = (self.order(do="list") or {"out": []})["out"]
        return sorted(row["board"] for row in rows)

    def is_ready(self, job_id: int) -> bool:
        return (self.command("get_job_state", job_id) or {}).get("state") == 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    yield made
    made.kill()


def test_boards_and_jobs_are_there_after_a_crash(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    server.start()
    server.order(do="add", boards=["m:1,0,2"], reason="new FPGA")
    for _ in range(2):  # the drained board's neighbours are given first
        server.command("create_job", owner="me", keepalive=None)
    job = server.command("create_job", owner="me", keepalive=None)
    server.wait(lambda: server.is_ready(job))
    boards = server.command("get_job_machine_info", job)["boards"]
    before = server.order(do="list")["out"]
    server.kill()

    status = state_tool(["quarantine", str(server.config), "--simulated", "--json"])
    saved = json.loads(capsys.readouterr().out)["out"]
    server.start()
    after = server.order(do="list")["out"]

    assert status == 0
    assert [row["board"] for row in before] == [_BAD, _DRAINED]
    for rows in (saved, after):
        assert [{**row, "next_test": 0} for row in rows] == [
            {**row, "next_test": 0} for row in before
        ]
    assert after[0]["next_test"] <= before[0]["next_test"] < 60
    assert server.is_ready(job)
    assert server.command("get_job_machine_info", job)["boards"] == boards


@pytest.mark.parametrize("point", POINTS)
def test_a_crash_at_any_point_loses_neither_boards_nor_jobs(server: Server, point: str) -> None:
    server.start()
    server.order(do="add", boards=["m:1,0,2"], reason="new FPGA")
    server.kill()

    server.start(crash_at=point)
    held = server.order(do="add", boards=["m:1,0,1"], reason="as well")
    jobs = [server.command("create_job", owner="me", keepalive=None) for _ in range(3)]
    known = [job for job in jobs if job is not None]
    deadline = time.monotonic() + 3
    while server.alive and not all(map(server.is_ready, known)) and time.monotonic() < deadline:
        time.sleep(0.01)
    out = server.out()
    server.kill()
    server.start()

    expected = [_DRAINED, *out, *([] if held is None else [[1, 0, 1]])]
    assert [board for board in expected if board not in server.out()] == []
    server.wait(lambda: all(map(server.is_ready, known)))
    taken = [
        board for job in known for board in server.command("get_job_machine_info", job)["boards"]
    ]
    assert len({tuple(board) for board in taken}) == len(known)
    assert [board for board in taken if board in (_BAD, _DRAINED)] == []
    if known:
        assert _BAD in server.out()
