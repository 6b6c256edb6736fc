import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._programs import logs
from tests.support.simulated_server import Client, copy_of_example, simulated_server


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("a.logger", logging.WARNING, "here.py", 1, message, args, None)
    made.__dict__.update(extra)
    return made


def told(record: logging.LogRecord) -> dict[str, Any]:
    line = logs.JSONFormatter().format(record)
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_record_is_an_object_on_one_line() -> None:
    found = told(record("two\nlines of %s", "text", created=0.5))

    assert found == {
        "time": "1970-01-01T00:00:00.500Z",
        "level": "WARNING",
        "logger": "a.logger",
        "thread": "MainThread",
        "message": "two\nlines of text",
    }


def test_a_record_of_a_job_names_it() -> None:
    assert told(record("it failed", job_id=17))["job_id"] == 17
    assert "job_id" not in told(record("it failed", job_id=None))


def test_a_traceback_is_part_of_the_object() -> None:
    try:
        raise ValueError("nonsense")
    except ValueError:
        found = told(record("failed", exc_info=sys.exc_info()))

    assert found["exception"].endswith("ValueError: nonsense")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("job 17: it failed", "a.logger: job 17: it failed"),
        ("it failed", "a.logger: it failed [job 17]"),
        ("job 170 is older", "a.logger: job 170 is older [job 17]"),
    ],
)
def test_a_line_of_text_names_the_job_once(message: str, line: str) -> None:
    assert logs.TextFormatter().format(record(message, job_id=17)).endswith(line)
    assert "[job" not in logs.TextFormatter().format(record(message))


def test_the_journal_tells_the_time_itself() -> None:
    line = logs.TextFormatter(timed=False).format(record("it failed"))

    assert line == "WARNING a.logger: it failed"


@pytest.mark.parametrize(
    ("level", "priority"),
    [
        (logging.DEBUG, 7),
        (logging.INFO, 6),
        (logging.WARNING, 4),
        (logging.ERROR, 3),
        (logging.CRITICAL, 2),
        (logging.ERROR + 1, 3),
        (logging.NOTSET, 7),
    ],
)
def test_the_journal_is_told_how_bad_each_line_is(level: int, priority: int) -> None:
    bad = record("two\nlines")
    bad.levelno = level

    written = logs.JournalFormatter(logging.Formatter("%(message)s")).format(bad)

    assert written == f"<{priority}>two\n<{priority}>lines"


def test_the_journal_reads_only_what_it_says_it_reads(tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as journal, (tmp_path / "file").open("w") as other:
        status = os.fstat(journal.fileno())
        environ = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        assert logs.journal_reads(environ, journal.fileno())
        assert not logs.journal_reads(environ, other.fileno())
        assert not logs.journal_reads({}, journal.fileno())
        closed = journal.fileno()
    assert not logs.journal_reads(environ, closed)


def test_the_program_tells_the_journal_how_bad_things_are(tmp_path: Path) -> None:
    config = tmp_path / "broken.cfg"
    config.write_text("configuration = None\n")
    command = [sys.executable, "-m", "spalloc_server", "--port", "0", str(config)]
    with (tmp_path / "journal").open("w") as journal:
        status = os.fstat(journal.fileno())
        stream = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

        subprocess.run(command, cwd=tmp_path, env=os.environ | stream, stderr=journal, check=False)

    lines = (tmp_path / "journal").read_text().splitlines()
    first, *others = lines
    assert first.startswith("<6>INFO spalloc_server._programs.command_line: version ")
    assert all(line.startswith("<3>") for line in others)
    assert lines[-1] == "<3>spalloc_server: Config file could not be loaded."


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[list[logging.LogRecord]]:
    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield handler.records
    logging.getLogger().removeHandler(handler)


def test_every_record_of_a_job_whose_board_fails_names_it(
    tmp_path: Path, kept: list[logging.LogRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server.async_bmp_controller._SECONDS_BETWEEN_TRIES", 0.0)
    config = copy_of_example("single-board.cfg", tmp_path)

    with (
        simulated_server(config, "all board 0 fpga-wrong 1") as server,
        Client(server.port) as client,
    ):
        job_id = client.call("create_job", 0, 0, 0, owner="me")
        client.wait_until(job_id, 4)
        client.send_line(f'{{"command": "destroy_job", "args": [{job_id}, 5]}}')
        client.answer()

    about = [each for each in kept if "FPGA" in each.getMessage() or "refused" in each.msg]
    assert len(about) >= 3
    for each in about:
        if "out of service" not in each.msg:
            assert vars(each).get("job_id") == job_id, each.getMessage()


def test_the_program_writes_json_when_asked(tmp_path: Path) -> None:
    config = tmp_path / "broken.cfg"
    config.write_text("configuration = None\n")

    program = subprocess.run(
        [sys.executable, "-m", "spalloc_server", "--port", "0", "--log-format", "json", config],
        cwd=tmp_path,
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )

    *records, last = program.stderr.splitlines()
    assert program.returncode == 1
    assert last == "spalloc_server: Config file could not be loaded."
    assert [json.loads(line)["level"] for line in records] == ["INFO", "ERROR"]


@pytest.mark.parametrize("form", logs.FORMATS)
def test_lines_that_were_dropped_are_told_in_the_form_of_the_others(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    handler = logs.set_up(form, logging.INFO)
    monkeypatch.setattr("spalloc_server._logs.line_writer.MOST_LINES", 0)
    handler.handle(record("dropped"))
    monkeypatch.undo()
    handler.handle(record("written"))
    logs.take_down(handler)

    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    assert "1 lines of the log were dropped: standard error did not take them" in lines[1]
    assert form == "text" or json.loads(lines[1])["level"] == "WARNING"
