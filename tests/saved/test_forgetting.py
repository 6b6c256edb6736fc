"""Files in which names are past their day: written anew, as a whole or not at all."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._saved import event_log
from spalloc_server._saved.audit_file import AuditFile
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.event_log import EventLog
from spalloc_server._saved.forgetting import Forgetting, Words, rewrite
from tests.saved.test_event_log import ask, numbers, segments
from tests.support.hand_clock import HandClock
from tests.support.store_disks import FailingDisk, QuickDisk

DAY = 86400.0


class Capitals:
    """Words in which capitals are names; keeps what it was made with, and learned."""

    def __init__(self, key: bytes = b"", until: float = 0.0, log_until: float = 0.0) -> None:
        self.key, self.until, self.log_until = key, until, log_until
        self.learned: list[bytes] = []

    def learn_event(self, line: bytes) -> None:
        self.learned.append(line)

    learn_log = learn_event

    def event(self, line: bytes) -> bytes:
        clean = line.replace(b"ADA", b"user-0123456789ab")
        return line if clean == line else clean

    log_line = event


class Passes:
    """A `Forgetting` of a folder, and the words of its passes so far."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.made: list[Words] = []
        self.told: list[Words] = []
        self.logs: list[Path] = []
        self.failing: list[Exception] = []
        self.forgetting = Forgetting(
            folder / "key", disk or QuickDisk(), self._make, lambda: self.logs, self.told.append
        )

    def _make(self, key: bytes, until: float, log_until: float) -> Words:
        if self.failing:
            raise self.failing.pop()
        self.made.append(Capitals(key, until, log_until))
        return self.made[-1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)


@pytest.fixture
def passes(tmp_path: Path) -> Passes:
    return Passes(tmp_path)


def run(forgetting: Forgetting) -> None:
    for _ in forgetting.steps(list, rewrite_nothing):
        pass


def rewrite_nothing(*_: Any) -> None:
    raise AssertionError("there is nothing to be written")


# --- when ---


def test_names_are_forgotten_once_a_day(passes: Passes, clock: HandClock) -> None:
    forgetting = passes.forgetting
    never = forgetting.due, forgetting.seconds()
    forgetting.days = 1
    first = forgetting.due
    run(forgetting)
    again = forgetting.due
    clock.advance(DAY)

    assert never == (False, None)
    assert (first, again, forgetting.due) == (True, False, True)
    assert 0 < (forgetting.seconds() or 0.0) <= 900
    run(forgetting)
    forgetting.days = 2
    assert forgetting.due


def test_the_days_of_the_job_log_are_local(
    passes: Passes, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "XXX+05:30")
    time.tzset()
    try:
        clock.today = 1_700_000_000.0  # 22:13 UTC on the 14th of November 2023, 16:43 there
        passes.forgetting.days = 30
        run(passes.forgetting)
    finally:
        monkeypatch.undo()
        time.tzset()

    (words,) = passes.made
    assert isinstance(words, Capitals)
    # The 16th of October, here and there.
    assert words.until == 1_697_414_400.0
    assert words.log_until == words.until + 5.5 * 3600
    assert passes.told == [words]


def test_the_key_stays(passes: Passes, tmp_path: Path, clock: HandClock) -> None:
    passes.forgetting.days = 1
    run(passes.forgetting)
    clock.advance(DAY)
    run(passes.forgetting)
    (tmp_path / "key").write_bytes(b"short")
    clock.advance(DAY)
    run(passes.forgetting)

    keys = [each.key for each in passes.made if isinstance(each, Capitals)]
    assert len(keys[0]) == 32
    assert keys[0] == keys[1] != keys[2]
    assert (tmp_path / "key").read_bytes() == keys[2]
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_our_own_mistake_is_made_once_a_day(passes: Passes, clock: HandClock) -> None:
    passes.forgetting.days = 1
    passes.failing.append(OSError("full"))
    with pytest.raises(OSError, match="full"):
        run(passes.forgetting)
    after_disk = passes.forgetting.due
    passes.failing.append(KeyError("mistake"))
    with pytest.raises(KeyError):
        run(passes.forgetting)

    assert (after_disk, passes.forgetting.due) == (True, False)


# --- which files ---


def test_files_of_the_job_log_are_learned_and_written(passes: Passes, tmp_path: Path) -> None:
    path, gone, folder = tmp_path / "log.1", tmp_path / "gone", tmp_path / "folder"
    path.write_bytes(b"one ADA\ntwo\nthree ADA")
    path.chmod(0o640)
    os.utime(path, (5, 5))
    folder.mkdir()
    (tmp_path / "log.1.names.tmp").write_text("ADA, left by a crash")
    passes.logs = [path, gone, folder]
    passes.forgetting.days = 1

    run(passes.forgetting)

    assert path.read_bytes() == b"one user-0123456789ab\ntwo\nthree user-0123456789ab"
    assert (path.stat().st_mode & 0o777, path.stat().st_mtime) == (0o640, 5)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "key", "log.1"]
    (words,) = passes.made
    assert isinstance(words, Capitals)
    assert words.learned == [b"one ADA\n", b"two\n", b"three ADA"]


def test_a_file_without_names_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("nobody\n" * 3)
    before = path.stat()

    assert not rewrite(QuickDisk(), path, Capitals().event)
    assert path.stat() == before


@pytest.mark.parametrize(("name", "other"), [(b"b\n", b"a\n"), (b"a\n", b"b\n")])
def test_any_other_line_has_a_file_written_anew(
    tmp_path: Path, name: bytes, other: bytes
) -> None:
    path = tmp_path / "log"
    path.write_bytes(name)

    assert rewrite(QuickDisk(), path, lambda _: other)

    assert path.read_bytes() == other


def test_long_files_are_written_in_parts(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("nobody\n" * 2500 + "ADA\n")

    assert rewrite(QuickDisk(), path, Capitals().event)
    assert path.read_text() == "nobody\n" * 2500 + "user-0123456789ab\n"


def test_a_disk_that_fails_at_any_call_leaves_the_old_file_or_the_new_one(
    tmp_path: Path,
) -> None:
    path, old, new = tmp_path / "log", b"1 ADA\n2\n", b"1 user-0123456789ab\n2\n"
    number, failed = 0, True
    while failed:
        path.write_bytes(old)
        disk = FailingDisk()
        disk.failing = lambda call, _name, number=number: 5 if call == number else None  # type: ignore[misc]
        try:
            rewrite(disk, path, Capitals().event)
            failed = len(disk.calls) > number  # a close that failed is only logged
        except OSError:
            assert path.read_bytes() in {old, new}
        number += 1

    assert path.read_bytes() == new
    assert number > 6


# --- the events file and the audit ---

Logs = Callable[..., EventLog]


@pytest.fixture
def logs(tmp_path: Path, passes: Passes) -> Iterator[Logs]:
    made: list[EventLog] = []

    def make(disk: Disk | None = None) -> EventLog:
        disk = disk or QuickDisk()
        audit = AuditFile(tmp_path, "audit", disk)
        log = EventLog(tmp_path, "a.cfg", "", disk, audit, forgetting=passes.forgetting)
        log.start()
        made.append(log)
        return log

    yield make
    for log in made:
        log.close()


def events(first: int, last: int) -> list[dict[str, Any]]:
    return [
        {"number": number, "time": 5.0, "event": "audit", "owner": f"ADA {'x' * 200}"}
        for number in range(first, last + 1)
    ]


def wait_for_pass(log: EventLog, passes: Passes) -> None:
    while passes.forgetting.due or log._forget_steps is not None:
        ask(log)


def test_events_keep_their_numbers_when_names_go(
    logs: Logs, passes: Passes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", 1500)
    log = logs()
    for number in range(1, 12):
        log.inbox.put(events(number, number))
        ask(log)
    before = numbers(ask(log))
    assert len(segments(tmp_path)) > 1

    log.keep_names(1)
    wait_for_pass(log, passes)

    assert [b"ADA" in path.read_bytes() for path in tmp_path.iterdir()].count(True) == 0
    reply = ask(log)
    assert (numbers(reply), reply["lost"]) == (before, False)
    assert {event["owner"][:17] for event in reply["events"]} == {"user-0123456789ab"}
    log.inbox.put(events(12, 13))
    assert numbers(ask(log, 11)) == [12, 13]
    log.close()
    again = logs()
    assert again.last == 13
    assert numbers(ask(again, before[0] - 1)) == [*before, 12, 13]
    (path,) = AuditFile(tmp_path, "audit").files()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [
        *range(1, 14)
    ]


def test_a_disk_in_trouble_is_tried_again(
    logs: Logs, passes: Passes, tmp_path: Path
) -> None:
    disk = FailingDisk()
    log = logs(disk)
    log.inbox.put(events(1, 3))
    ask(log)
    failed: list[int] = []

    def fail_once(_number: int, name: str) -> int | None:
        if name == "rename" and not failed:
            failed.append(1)
            return 5
        return None

    disk.failing = fail_once
    log.keep_names(1)
    wait_for_pass(log, passes)

    assert failed
    assert [b"ADA" in path.read_bytes() for path in tmp_path.iterdir()].count(True) == 0
    assert numbers(ask(log)) == [1, 2, 3]
    log.inbox.put(events(4, 5))
    assert numbers(ask(log)) == [1, 2, 3, 4, 5]
    log.close()
    assert numbers(ask(logs())) == [1, 2, 3, 4, 5]


def test_a_stop_in_the_middle_loses_nothing(
    logs: Logs, passes: Passes, tmp_path: Path
) -> None:
    log = logs()
    log.inbox.put(events(1, 3))
    ask(log)
    log.keep_names(1)
    log.close()

    again = logs()
    assert numbers(ask(again)) == [1, 2, 3]
    wait_for_pass(again, passes)
    assert [b"ADA" in path.read_bytes() for path in tmp_path.iterdir()].count(True) == 0
