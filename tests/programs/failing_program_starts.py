"""Each system call of a start fails once: the start ends with words, or the server serves."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from spalloc_server.controller import JobState
from spalloc_server.server import SpallocServer
from tests.support.failing_calls import Calls, calls
from tests.support.program import Program
from tests.support.simulated_server import PATIENCE, Client, copy_of_example

CODES = (errno.EMFILE, errno.ENOMEM, errno.EIO)
#: Every so many calls are tried with one code, the others with the next; all if it is 1.
STRIDE = int(os.environ.get("FAILING_STARTS_STRIDE", "2"))


class Start:
    """A program whose start is watched, in a folder whose state knows one job."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        copy_of_example("single-board.cfg", folder).rename(folder / "machines.cfg")
        self.program = Program(folder, monkeypatch)
        self.program.options = ["--metrics-port", "0", "--stop-timeout", "5"]
        self.calls: Calls = calls(monkeypatch)
        self.served = False
        self.job = JobState.unknown
        self._files: dict[Path, bytes] = {}

    def use(self, server: SpallocServer) -> None:
        """Serve a client, once the start is over."""
        with Client(server.port) as client:
            assert client.call("version")
        deadline = time.monotonic() + PATIENCE
        while server.get_job_state(None, 1)["state"] == JobState.power:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        self.job = server.get_job_state(None, 1)["state"]
        self.served = True
        # A stop is another matter.
        self.calls.stop()

    def remember(self) -> None:
        """Remember all files, to begin from them each time."""
        self._files = {path: path.read_bytes() for path in self._plain_files()}

    def _plain_files(self) -> list[Path]:
        return [path for path in self.program.folder.iterdir() if path.is_file()]

    def _restore(self) -> None:
        for path in self._plain_files():
            path.unlink()
        for path, data in self._files.items():
            path.write_bytes(data)
            path.chmod(0o600)

    def run(self, number: int | None, code: int) -> int:
        """Start with one call failing; returns the exit status."""
        self.served = False
        self.job = JobState.unknown
        self._restore()
        with self.calls.failing(number, code):
            return self.program.run(self.use)


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Start:
    start = Start(tmp_path, monkeypatch)

    def create(server: SpallocServer) -> None:
        server.create_job(None, owner="me", keepalive=None)
        start.use(server)

    assert start.program.run(create) == 0
    start.remember()
    return start


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_a_start_whose_calls_fail_ends_with_words_or_serves(
    start: Start,
    code: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert start.run(None, code) == 0
    names = list(start.calls.names)
    assert len(names) > 50

    for number in range(CODES.index(code), len(names), STRIDE):
        caplog.clear()
        capfd.readouterr()

        status = start.run(number, code)

        about = f"call {number}, {names[number]}: status {status}"
        said = capfd.readouterr().err + caplog.text
        assert status in (0, 1, 2), about
        assert start.served == (status == 0), about
        assert status == 0 or "spalloc_server" in said, f"{about}, without a word"
        # A disk that fails to read is damage; a lack of descriptors or memory is none.
        kept_aside = code == errno.EIO and "is kept as" in said
        assert not start.served or start.job == JobState.ready or kept_aside, about

    assert start.run(None, code) == 0, "nothing is left of the failures"
    assert start.served


def test_the_counter_fails_the_call_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    counter = calls(monkeypatch)

    def work() -> list[Any]:
        done: list[Any] = []
        for _ in range(3):
            try:
                done.append(os.write(1, b""))
            except OSError as error:
                done.append(error.errno)
        return done

    with counter.failing(1, errno.EIO):
        assert work() == [0, errno.EIO, 0]
    assert counter.names == ["os.write"] * 3
    assert work() == [0, 0, 0]
