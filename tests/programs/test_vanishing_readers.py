"""The reader of each command's output goes away, or its disk fills up, at each write."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spalloc_server._history import main as history
from spalloc_server._programs import state_tool
from spalloc_server._simulator import Simulation
from spalloc_server._simulator import main as simulator
from spalloc_server.server import main
from tests.support.simulated_server import copy_of_example, simulated_server

Command = Callable[[Path], int]

#: The exit status by the error of a write.
STATUSES = {errno.EPIPE: 128 + signal.SIGPIPE, errno.ENOSPC: 1}

COMMANDS: dict[str, Command] = {
    "--check": lambda folder: main(["--check", str(folder / "demo.cfg")]),
    "--check --json": lambda folder: main(["--check", "--json", str(folder / "demo.cfg")]),
    "--check of nothing": lambda folder: main(["--check", str(folder / "none.cfg")]),
    "--diff": lambda folder: main(["--diff", str(folder / "demo.cfg")]),
    "--diff --json": lambda folder: main(["--diff", "--json", str(folder / "demo.cfg")]),
    "--help": lambda _: main(["--help"]),
    "--version": lambda _: main(["--version"]),
    "show": lambda folder: state_tool.main(["show", str(folder / "demo.cfg")]),
    "show --json": lambda folder: state_tool.main(["show", "--json", str(folder / "demo.cfg")]),
    "quarantine": lambda folder: state_tool.main(["quarantine", str(folder / "demo.cfg"), "list"]),
    "state --help": lambda _: state_tool.main(["--help"]),
    "simulator": lambda folder: simulator.main(["--control", str(folder / "c"), "faults"]),
    "simulator --help": lambda _: simulator.main(["--help"]),
    "history --help": lambda _: history.main(["--help"]),
    "history traces": lambda _: history.main(["traces", "class", "--jobs", "4"]),
}


class Vanishing(io.TextIOBase):
    """Takes some writes; each later one, and the flush after it, fails."""

    def __init__(self, writes: int, code: int) -> None:
        super().__init__()
        self.left = writes
        self.failed = False
        self.taken = 0
        self._code = code

    def write(self, text: str) -> int:
        if not self.left:
            self.failed = True
            raise OSError(self._code, os.strerror(self._code))
        self.left -= 1
        self.taken += 1
        return len(text)

    def flush(self) -> None:
        if self.failed:
            raise OSError(self._code, os.strerror(self._code))

    def close(self) -> None:
        # Python 3.13 closes forgotten streams, and tells of faults there.
        self.failed = False
        super().close()

    def fileno(self) -> int:
        raise io.UnsupportedOperation("no descriptor")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with a saved state, and a simulation that can be steered."""
    config = copy_of_example("demo.cfg", tmp_path)
    with simulated_server(config) as server:
        server.create_job(None, 3, owner="me", keepalive=None)
        (machine, *_) = server.controller.machines
        server.controller.upkeep.hold_boards(machine, [(0, 0, 0)], "smells")
    with Simulation() as simulation:
        simulation.listen(tmp_path / "c")
        simulation.inject("frame-1.example mute")
        yield tmp_path


def status_of(command: Command, folder: Path) -> int:
    try:
        return command(folder)
    except SystemExit as end:  # --help and --version
        assert isinstance(end.code, int)
        return end.code


@pytest.mark.parametrize("code", STATUSES, ids=errno.errorcode.get)
@pytest.mark.parametrize("name", COMMANDS)
def test_output_that_cannot_be_written_ends_a_command_quietly(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    name: str,
    code: int,
) -> None:
    whole = Vanishing(10**9, code)
    monkeypatch.setattr(sys, "stdout", whole)
    expected = status_of(COMMANDS[name], folder)
    assert whole.taken or name == "simulator"

    for writes in {0, 1, 2, 3, *range(0, whole.taken, max(1, whole.taken // 20))}:
        if writes >= whole.taken:
            continue
        capfd.readouterr()
        monkeypatch.setattr(sys, "stdout", Vanishing(writes, code))

        ended = status_of(COMMANDS[name], folder)

        said = capfd.readouterr().err
        assert ended == STATUSES[code], f"after {writes} writes, usually {expected}: {said}"
        assert "Traceback" not in said
        assert code == errno.ENOSPC or "Broken pipe" not in said
