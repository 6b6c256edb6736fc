"""The audit: orders in files by month, each once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from spalloc_server._saved import audit_file
from spalloc_server._saved.audit_file import AuditFile
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.event_log import EventLog

JULY, AUGUST = 1_783_000_000.0, 1_786_000_000.0


def event(number: int, kind: str = "audit", moment: float = JULY) -> dict[str, Any]:
    return {"number": number, "time": moment, "event": kind, "order": "end", "by": "unix:0"}


def numbers(folder: Path) -> dict[str, list[int]]:
    return {
        path.name: [json.loads(line)["number"] for line in path.read_text().splitlines()]
        for path in AuditFile(folder, "audit").files()
    }


def test_orders_are_kept_by_month_and_other_events_are_not(tmp_path: Path) -> None:
    AuditFile(tmp_path, "audit").take(
        [event(1), event(2, "created"), event(3, moment=AUGUST), event(4, "allocated")]
    )

    assert numbers(tmp_path) == {"audit-2026-07.jsonl": [1], "audit-2026-08.jsonl": [3]}


def test_no_event_comes_twice(tmp_path: Path) -> None:
    AuditFile(tmp_path, "audit").take([event(1), event(2)])

    again = AuditFile(tmp_path, "audit")
    again.take([event(1), event(2), event(3)])

    assert again.last == 3
    assert numbers(tmp_path) == {"audit-2026-07.jsonl": [1, 2, 3]}


def test_a_torn_line_at_the_end_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "audit-2026-07.jsonl"
    AuditFile(tmp_path, "audit").take([event(1)])
    with path.open("a") as file:
        file.write("rubbish\n" + json.dumps(event(2))[:20])

    assert AuditFile(tmp_path, "audit").last == 1


def test_a_file_that_cannot_be_read_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "audit-2026-07.jsonl").mkdir()

    assert AuditFile(tmp_path, "audit").last == 0


def test_without_a_sound_line_all_events_are_taken(tmp_path: Path) -> None:
    assert AuditFile(tmp_path, "audit").last == 0
    (tmp_path / "audit-2026-07.jsonl").write_bytes(b"rubbish\n[1]\n{}\n")
    assert AuditFile(tmp_path, "audit").last == 0


@pytest.mark.parametrize(("rubbish", "last"), [(30, 7), (99, 7), (101, 0), (500, 0)])
def test_the_last_line_is_looked_for_at_the_end_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rubbish: int, last: int
) -> None:
    monkeypatch.setattr(audit_file, "_TAIL", 100 + len('{"number":7}'))
    path = tmp_path / "audit-2026-07.jsonl"
    path.write_bytes(b"x\n" * 300 + b'{"number":7}\n' + b"x" * (rubbish - 1) + b"\n")

    assert AuditFile(tmp_path, "audit").last == last


def test_orders_are_written_in_ascii_in_a_line_each(tmp_path: Path) -> None:
    AuditFile(tmp_path, "audit").take([{**event(1), "why": "Lüfter\n\ud800"}])

    data = (tmp_path / "audit-2026-07.jsonl").read_bytes()
    assert data.count(b"\n") == 1
    assert data.isascii()
    assert json.loads(data)["why"] == "Lüfter\n\ud800"


def test_the_audit_gets_the_events_that_it_lacks_when_the_log_starts(tmp_path: Path) -> None:
    log = EventLog(tmp_path, "m.cfg")
    log.start()
    log.inbox.put([event(1), event(2, "created")])
    log.close()

    again = EventLog(tmp_path, "m.cfg", audit=AuditFile(tmp_path, "audit"))
    again.start()
    again.inbox.put([event(3)])
    again.close()

    assert numbers(tmp_path) == {"audit-2026-07.jsonl": [1, 3]}


def test_events_that_the_audit_could_not_take_are_given_again(tmp_path: Path) -> None:
    class FullForAudit(Disk):
        full = True

        def open(self, path: Path, flags: int) -> int:
            if self.full and path.name.startswith("audit"):
                raise OSError(28, os.strerror(28))
            return super().open(path, flags)

    disk = FullForAudit()
    log = EventLog(tmp_path, "m.cfg", audit=AuditFile(tmp_path, "audit", disk))
    log._audit_lacks = False
    log._waiting.append(event(1))
    log._write([event(1)])
    log._waiting.append(event(2))
    log._write([event(2)])
    assert numbers(tmp_path) == {}
    assert not log._waiting, "the events' own file has them"
    assert log._trouble.text is None
    log._dirty_since = None
    assert log._seconds() == 1.0, "it is tried again soon"

    log._fill_audit()
    assert numbers(tmp_path) == {}
    disk.full = False
    log._fill_audit()
    log._audit_part([event(3)])

    assert numbers(tmp_path) == {"audit-2026-07.jsonl": [1, 2, 3]}
    assert log._audit_trouble.text is None
    log.close()


def test_events_are_read_while_the_audit_cannot_be_written(tmp_path: Path) -> None:
    """A folder that is gone kept all events in memory until it was there again."""
    folder = tmp_path / "audit"
    log = EventLog(tmp_path, "m.cfg", audit=AuditFile(folder, "audit"))
    log.start()
    told: SimpleQueue[bytes] = SimpleQueue()
    for number in range(1, 6):
        log.inbox.put([event(number)])
        log.read(number - 1, 10, told.put)
        assert json.loads(told.get(timeout=10))["next"] == number
        log.read(number, 10, told.put)  # a turn without an event, in which the audit fails
        told.get(timeout=10)

    folder.mkdir()

    log.close()
    assert numbers(folder) == {"audit-2026-07.jsonl": [1, 2, 3, 4, 5]}
