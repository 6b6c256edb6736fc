"""Rare turns of the saved files: odd contents, failing readers, and files cut under a reader."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._saved import event_log
from spalloc_server._saved.audit_file import AuditFile
from spalloc_server._saved.event_log import EventLog
from spalloc_server._saved.event_segment import Segment
from tests.support.store_disks import FailingDisk, QuickDisk


def event(number: int, text: str = "") -> dict[str, Any]:
    return {"number": number, "event": "created", "owner": text}


def ask(log: EventLog, after: int = 0) -> Any:
    """Return a reply; events that were appended before are in it."""
    done = threading.Event()
    answers: list[bytes] = []

    def take(answer: bytes) -> None:
        answers.append(answer)
        done.set()

    log.read(after, 1000, take)
    assert done.wait(10)
    return json.loads(answers[0])


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    made = EventLog(tmp_path, "a.cfg", "", QuickDisk())
    made.start()
    yield made
    made.close()


def segment(path: Path, *lines: str) -> Segment:
    path.write_text("".join(line + "\n" for line in ('{"previous":0}', *lines)))
    return Segment(QuickDisk(), path)


def test_a_listener_that_fails_does_not_stop_the_events(
    log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: int) -> None:
        raise RuntimeError("no ear")

    log.on_written = fail
    with caplog.at_level(logging.ERROR):
        log.inbox.put([event(1)])
        assert ask(log)["next"] == 1
    log.on_written = None
    log.inbox.put([event(2)])

    assert "the events file failed" in caplog.text
    assert [each["number"] for each in ask(log)["events"]] == [1, 2]


def test_a_segment_that_cannot_be_read_gives_a_reply_without_events(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FailingDisk()
    log = EventLog(tmp_path, "a.cfg", "", disk)
    log.start()
    log.inbox.put([event(1)])
    assert ask(log)["next"] == 1
    disk.fail("open")

    assert ask(log) == {"events": [], "next": 0, "lost": False}
    assert "cannot read the events" in caplog.text
    log.close()


def test_segments_that_the_audit_has_are_not_read_for_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", 1)
    orders = [{"number": n, "time": 1.7e9, "event": "audit", "order": "end"} for n in (1, 2)]
    log = EventLog(tmp_path, "a.cfg", "", QuickDisk())
    log.start()
    for order in orders:
        log.inbox.put([order])
        ask(log)
    log.close()
    AuditFile(tmp_path, "audit").take(orders[:1])

    again = EventLog(tmp_path, "a.cfg", "", QuickDisk(), audit=AuditFile(tmp_path, "audit"))
    again.start()
    ask(again)
    again.close()

    (path,) = AuditFile(tmp_path, "audit").files()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [1, 2]


def test_the_end_of_a_segment_is_found_before_a_long_last_line(tmp_path: Path) -> None:
    long = json.dumps(event(2, "x" * 300_000), separators=(",", ":"))
    found = segment(tmp_path / "s", json.dumps(event(1), separators=(",", ":")), long)

    assert found.last == 2
    assert found.size == (tmp_path / "s").stat().st_size


def test_lines_of_a_segment_that_was_cut_end_where_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "s"
    lines = [json.dumps(event(number), separators=(",", ":")) for number in (1, 2)]
    found = segment(path, *lines)
    os.truncate(path, found.size - len(lines[1]) - 1)

    assert list(found.lines(0, 10, 10_000, first=True)) == [lines[0].encode()]


def test_an_audit_file_of_rubbish_alone_has_no_number(tmp_path: Path) -> None:
    (tmp_path / "audit-2026-07.jsonl").write_text('rubbish\n{"time": 1}\n')

    assert AuditFile(tmp_path, "audit").last == 0


def test_a_full_disk_loses_the_oldest_events_above_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "_MOST_WAITING", 2)
    disk = FailingDisk()
    log = EventLog(tmp_path, "a.cfg", "", disk)
    log.start()
    log.inbox.put([event(1)])
    assert ask(log)["next"] == 1
    disk.fail("write", error=errno.ENOSPC)
    log.inbox.put([event(2), event(3), event(4), event(5)])
    while not ask(log)["lost"]:
        pass

    disk.fail()
    log.close()
    assert log.settled == 5
    assert [each["number"] for each in map(json.loads, _lines(tmp_path))] == [1, 4, 5]


def test_events_that_were_lost_are_settled_when_those_before_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "_MOST_WAITING", 2)
    disk = FailingDisk()
    log = EventLog(tmp_path, "a.cfg", "", disk)
    log._waiting.append(event(1))
    log._write([event(1)])
    disk.fail("write", error=errno.ENOSPC)
    many = [event(number) for number in range(2, 6)]
    log._waiting.extend(many)

    with pytest.raises(OSError, match="No space"):
        log._write(many[:])
    assert log.settled == 0
    log._fsync()
    assert log.settled == 3
    log._waiting.extend([event(6)])
    with pytest.raises(OSError, match="No space"):
        log._write(list(log._waiting))

    assert log.settled == 4, "nothing that was written waits for its fsync"
    log.close()


def _lines(folder: Path) -> list[str]:
    """Return the lines of the only segment but for its head."""
    (path,) = folder.glob(".a.cfg.events.*")
    return path.read_text().splitlines()[1:]
