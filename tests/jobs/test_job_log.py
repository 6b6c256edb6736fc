"""The job log: one line for each event, whatever text is in it."""

import threading
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from spalloc_server import _clock
from spalloc_server._jobs import job_log
from spalloc_server._jobs.ended_jobs import CLIENT, KEEPALIVE, Ending
from spalloc_server._jobs.job_log import Where
from spalloc_server._jobs.outlet import AtOnce
from spalloc_server._jobs.records import MachineMap, Records
from spalloc_server._logs.daily_file import DailyFile
from spalloc_server._places import Board
from spalloc_server.configuration import Machine
from spalloc_server.links import Links
from tests.support.machines import machine

PATIENCE = 10.0


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "jobs.log"
    writer = job_log.open_file(str(path), 3)
    yield path
    job_log.close_file(writer)


def log_note(job_id: int, text: str) -> None:
    Records(1, 1, AtOnce()).log(job_id, partial(job_log.note, text))


def boards_of(made: Machine, *boards: Board) -> Where:
    where = MachineMap(made)
    return Where(made.name, where.hosts, where.by_frame(boards))


def words(path: Path) -> list[str]:
    """Lines without date and time."""
    for writer in job_log.writers:
        assert writer.flush(PATIENCE)
    return [line.split(" ", 2)[2] for line in path.read_text("utf-8").splitlines()]


def test_nothing_is_written_until_a_file_is_opened(tmp_path: Path) -> None:
    log_note(7, "told nobody")
    writer = job_log.open_file(str(tmp_path / "log"), 1)
    log_note(7, "told")

    assert words(tmp_path / "log") == ["job 7: told"]
    job_log.close_file(writer)
    log_note(7, "told nobody again")
    assert words(tmp_path / "log") == ["job 7: told"]


def test_the_file_and_the_days_that_it_is_kept() -> None:
    assert (job_log.DEFAULT_FILE, job_log.DEFAULT_DAYS) == ("spalloc_jobs.log", 90)


def test_events_of_a_job(log: Path) -> None:
    records = Records(1, 1, AtOnce())
    where = boards_of(machine("m", 2, 1), (1, 0, 0))
    links = {(1, 0, 0, Links.north), (1, 0, 0, Links.east)}

    for line in (
        partial(job_log.created, (3, 1), {"tags": {"x"}}, "me", None, "10.0.0.1"),
        partial(job_log.powered, where, True, links, False),
        partial(job_log.powered, where, False, links, None),
        partial(job_log.powered, where, True, links, True),
        partial(job_log.destroyed, "over", Ending(CLIENT, "10.0.0.9")),
        partial(job_log.destroyed, None, Ending(KEEPALIVE)),
        partial(job_log.destroyed, "Cancelled: ", Ending(CLIENT)),
        partial(job_log.note, "odd"),
    ):
        records.log(7, line)
    job_log.shut_down()

    place = "board (1, 0, 0) of m (cabinet 0, frame 0, board 3, BMP 10.1.0.0)"
    assert words(log) == [
        "job 7: created (3, 1, tags={'x'}) owner=me keepalive=None host=10.0.0.1",
        f"job 7: power on: {place}",
        f"job 7: links off: {place}".replace("(1, 0, 0)", "(1, 0, 0) east north"),
        f"job 7: power off: {place}",
        f"job 7: power on: {place}",
        f"job 7: links on: {place}".replace("(1, 0, 0)", "(1, 0, 0) east north"),
        "job 7: destroyed: over (by client 10.0.0.9)",
        "job 7: destroyed: no reason given (by keepalive)",
        "job 7: destroyed: Cancelled: no reason given (by client)",
        "job 7: odd",
        "server shut down",
    ]


def test_the_boards_of_one_command_on_one_frame_are_one_line(log: Path) -> None:
    places = {(0, 0, 0): (0, 0, 0), (0, 0, 1): (0, 0, 1), (0, 0, 2): (0, 1, 7)}
    made = Machine.with_standard_ips("m", board_locations=places, base_ip="10.1.0.0")
    links = [(0, 0, 1, Links.south), (0, 0, 0, Links.east), (0, 0, 0, Links.north)]

    lines = job_log.powered(boards_of(made, *places), True, links, False)

    frames = ("(cabinet 0, frame 0, boards 0, 1, BMP 10.1.0.0)", "frame 1, board 7, BMP 10.1.1.0)")
    assert lines == [
        f"power on: boards (0, 0, 0), (0, 0, 1) of m {frames[0]}",
        f"power on: board (0, 0, 2) of m (cabinet 0, {frames[1]}",
        f"links off: boards (0, 0, 0) east north, (0, 0, 1) south of m {frames[0]}",
    ]


def test_links_are_told_frame_by_frame_from_the_first_board_on() -> None:
    places = {(0, 0, 0): (0, 0, 0), (0, 0, 1): (0, 1, 7), (0, 0, 2): (0, 0, 2)}
    made = Machine.with_standard_ips("m", board_locations=places, base_ip="10.1.0.0")
    links = [(0, 0, 2, Links.south), (0, 0, 1, Links.east)]

    lines = job_log.powered(boards_of(made, *places), True, links, False)

    assert lines[2:] == [
        "links off: board (0, 0, 1) east of m (cabinet 0, frame 1, board 7, BMP 10.1.1.0)",
        "links off: board (0, 0, 2) south of m (cabinet 0, frame 0, board 2, BMP 10.1.0.0)",
    ]


def test_users_text_stays_on_its_line(log: Path) -> None:
    log_note(1, "a\nb\r\x00\x1b[2J\u2028\ud800 \u00e9")

    assert words(log) == ["job 1: a\\nb\\r\\x00\\x1b[2J\\u2028\\ud800 \u00e9"]


def test_lines_have_the_local_time_with_milliseconds(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wall in (1764331200.0, 1764331200.0625, 1764331201.9999):
        monkeypatch.setattr(_clock, "wall", lambda wall=wall: wall)
        log_note(7, "x")

    words(log)
    told = [line.removesuffix(" job 7: x") for line in log.read_text().splitlines()]
    moments = [datetime.strptime(text, "%Y-%m-%d %H:%M:%S,%f").timestamp() for text in told]
    assert moments == [1764331200.0, 1764331200.062, 1764331201.999]


def test_a_line_without_end_is_cut(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_log, "_LONGEST", 40)

    log_note(7, "x" * 100)

    assert words(log) == ["job 7: " + "x" * 9]


def test_every_line_of_an_event_has_its_time(log: Path) -> None:
    where = boards_of(machine("m"), (0, 0, 0), (0, 0, 2))
    links = [(0, 0, 2, Links.south)]

    Records(1, 1, AtOnce()).log(7, partial(job_log.powered, where, True, links, False))

    for writer in job_log.writers:
        assert writer.flush(PATIENCE)
    times = {line.rsplit(" job 7: ", 1)[0] for line in log.read_text().splitlines()}
    assert [line.split(": ")[1] for line in words(log)] == ["power on", "links off"]
    assert len(times) == 1


def test_nothing_is_written_about_no_boards(log: Path) -> None:
    Records(1, 1, AtOnce()).log(7, partial(job_log.powered, boards_of(machine("m")), True))

    assert words(log) == []


def test_a_line_that_cannot_be_made_costs_no_other(
    log: Path, caplog: pytest.LogCaptureFixture
) -> None:
    where = boards_of(machine("m"), (0, 0, 0))._replace(hosts={})

    Records(1, 1, AtOnce()).log(7, partial(job_log.powered, where, True))
    log_note(7, "told")

    assert words(log) == ["job 7: told"]
    assert "the job log lacks a line about job 7" in caplog.text


def test_words_are_made_by_the_thread_that_writes_them(log: Path) -> None:
    makers: list[str] = []

    def made() -> list[str]:
        makers.append(threading.current_thread().name)
        return ["told"]

    Records(1, 1, AtOnce()).log(7, made)

    assert words(log) == ["job 7: told"]
    assert makers == ["lines-job-log"]


def test_closing_one_file_leaves_the_other(log: Path, tmp_path: Path) -> None:
    other = job_log.open_file(str(tmp_path / "other.log"), 1)

    job_log.close_file(other)
    log_note(7, "still told")

    assert words(log) == ["job 7: still told"]
    assert (tmp_path / "other.log").read_text() == ""


def test_trouble_with_the_file_is_told_in_the_general_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer = job_log.open_file(str(tmp_path / "log"), 3)
    fails = iter([True, True])

    def write(place: DailyFile, data: bytes) -> str | None:
        if next(fails, False):
            raise OSError(28, "No space left on device")
        return DailyFile_write(place, data)

    DailyFile_write = DailyFile.write  # noqa: N806 - the real one
    monkeypatch.setattr(DailyFile, "write", write)
    for number in range(3):
        log_note(7, f"note {number}")
        assert writer.flush(PATIENCE)

    assert words(tmp_path / "log") == [
        "2 lines are missing here: they could not be written",
        "job 7: note 2",
    ]
    assert [record.levelname for record in caplog.records if record.levelno > 20] == ["WARNING"]
    assert "No space left on device" in caplog.text
    assert writer.dropped == 2
    job_log.close_file(writer)
