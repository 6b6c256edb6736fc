"""``spalloc-state jobs`` and ``spalloc-state end`` against a server in this process."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spalloc_server._bmp import wiring
from spalloc_server._programs.state_tool import main
from spalloc_server._simulator import Simulation
from spalloc_server.server import SpallocServer

_CONFIG = """
configuration = Configuration(seconds_before_free=0, ip="127.0.0.1", machines=[
    Machine.single_board("m", bmp_ip="frame", spinnaker_ip="board"),
])
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "m.cfg"
    path.write_text(_CONFIG)
    return path


@pytest.fixture
def server(config: Path) -> Iterator[SpallocServer]:
    """A server that took job 1 over from an earlier one."""
    with Simulation() as simulation:
        wiring.fpga_wait = 0.0
        wiring.resolve = simulation.resolve
        with SpallocServer(config, port=0) as earlier:
            earlier.create_job(None, owner="me\x1b")
        with SpallocServer(config, port=0) as server:
            yield server
    wiring.reset()


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a sub-command; give exit status, output and errors."""

    def run(command: str, *args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([command, str(config), *args])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def test_jobs_on_grace_are_listed(server: SpallocServer, run: Run) -> None:
    status, out, error = run("jobs")

    assert (status, error) == (0, "")
    head, row = out.splitlines()
    assert head.split()[:4] == ["job", "owner", "from", "machine"]
    assert row.split()[:5] == ["1", "me\\x1b", "-", "m", "1"]
    (told,) = json.loads(run("jobs", "--json")[1])["on_grace"]
    assert told["job_id"] == 1

    server.job_keepalive(None, 1)
    assert run("jobs")[1] == "no job lives on grace\n"


def test_an_operator_ends_a_job(server: SpallocServer, run: Run) -> None:
    assert run("end", "1", "--reason", "gone  home") == (0, "job 1 ended\n", "")

    assert server.get_job_state(None, 1)["reason"] == "Ended by an operator: gone home"
    (row,) = server.controller.list_ended_jobs(1)
    assert row.by == "operator"


def test_unknown_jobs_end_nothing(server: SpallocServer, run: Run) -> None:
    status, out, error = run("end", "1", "7", "--reason", "x")

    assert (status, out) == (1, "")
    assert error == "spalloc-state: no job 7; nothing was ended\n"
    assert server.get_job_state(None, 1)["state"] != 4


@pytest.mark.parametrize("words", [("jobs",), ("end", "1", "--reason", "x")])
def test_without_a_server_that_is_said(config: Path, run: Run, words: tuple[str, ...]) -> None:
    status, out, error = run(*words)

    assert (status, out) == (1, "")
    assert f"no server runs on {config}" in error
