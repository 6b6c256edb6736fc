"""``spalloc-history follow`` as a process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from spalloc_server._history.history import History
from spalloc_server._history.main import main
from tests.history.event_server import EventServer
from tests.history.story import DAY, Story
from tests.support.notify_socket import NotifySocket


@pytest.fixture
def server() -> Iterator[EventServer]:
    with EventServer() as server:
        story = Story()
        story.machine()
        story.life(1, 1.0, 2.0)
        server.events = story.events
        yield server


def arguments(server: EventServer, database: Path) -> list[str]:
    host, port = server.address
    return ["follow", "--server", f"{host}:{port}", "--database", str(database)]


@contextmanager
def process(args: list[str], environ: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "spalloc_server._history.main", *args]
    with subprocess.Popen(
        command, env={**os.environ, **environ}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_service_is_ready_follows_and_ends(
    server: EventServer, tmp_path: Path, number: signal.Signals
) -> None:
    database = tmp_path / "history.db"
    with (
        NotifySocket(tmp_path / "notify") as manager,
        process(
            arguments(server, database), {**manager.environ, "WATCHDOG_USEC": "600000000"}
        ) as service,
    ):
        ready = manager.wait_for("READY=1")
        told = manager.wait_for(f"STATUS=read events up to {server.events[-1]['number']}")
        server.wait_for("list_events", 2)
        service.send_signal(number)
        status = service.wait(30)
        stopping = manager.wait_for("STOPPING=1")

    assert "READY=1" in ready
    assert "WATCHDOG=1" in told
    assert "STOPPING=1" in stopping
    assert status == 0
    with closing(History(str(database))) as history:
        assert [row.job for row in history.jobs().rows] == [1]


def test_events_can_be_read_once(server: EventServer, tmp_path: Path) -> None:
    database = tmp_path / "history.db"

    assert main([*arguments(server, database), "--once"]) == 0

    with closing(History(str(database))) as history:
        assert [row.job for row in history.jobs().rows] == [1]


def test_names_and_jobs_are_forgotten_as_configured(server: EventServer, tmp_path: Path) -> None:
    database = tmp_path / "history.db"
    server.keep_names_days = 7
    story = Story(begin=server.events[-1]["time"] - 4000 * DAY)
    story.state -= 10**9
    story.life(2, 1.0, 2.0)
    server.events = [*story.events, *server.events]

    assert main([*arguments(server, database), "--once", "--keep-days", "3650"]) == 0

    with closing(History(str(database))) as history:
        (row,) = history.jobs().rows
    assert (row.job, row.pseudonym) == (1, True)


def test_a_server_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with EventServer() as server:
        args = arguments(server, tmp_path / "history.db")

    assert main([*args, "--once"]) == 1

    told = capsys.readouterr().err
    assert told.startswith("spalloc-history follow: server 127.0.0.1:")
    assert "Connection refused" in told


def test_a_server_without_a_port_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = str(tmp_path / "history.db")

    assert main(["follow", "--server", "host:", "--database", where]) == 2

    assert "'host:' is no server" in capsys.readouterr().err


@pytest.mark.parametrize("days", ["0", "-1", "many"])
def test_days_to_keep_are_at_least_one(days: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["follow", f"--keep-days={days}"])

    assert f"{days!r} is not allowed, expected a whole number from 1" in capsys.readouterr().err
