"""The events file: written, read by number, cut off, full, and kept within its bounds."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._saved import disk_trouble, event_log
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.event_log import EventLog
from spalloc_server._saved.forgetting import Forgetting
from tests.support.hand_clock import HandClock
from tests.support.rests import Rests
from tests.support.store_disks import FailingDisk, QuickDisk

Logs = Callable[..., EventLog]


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    """Make logs of one folder, which end with the test."""
    made: list[EventLog] = []

    def make(disk: Disk | None = None, label: str = "") -> EventLog:
        log = EventLog(tmp_path, "a.cfg", label, disk or QuickDisk())
        log.start()
        made.append(log)
        return log

    yield make
    for log in made:
        log.close()


def event(number: int, text: str = "") -> dict[str, Any]:
    return {"number": number, "event": "created", "owner": text}


def ask(log: EventLog, after: int = 0, limit: int = 1000) -> Any:
    """Return a reply; events that were appended before are in it."""
    done = threading.Event()
    answers: list[bytes] = []

    def take(answer: bytes) -> None:
        answers.append(answer)
        done.set()

    log.read(after, limit, take)
    assert done.wait(10)
    return json.loads(answers[0])


def numbers(reply: Any) -> list[int]:
    return [event["number"] for event in reply["events"]]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob(".a.cfg.events.*"))


def test_the_thread_gathers_before_it_writes_and_rests_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else events that come soon after others would wake it each time, beside the loop."""
    rests = Rests()
    monkeypatch.setattr(event_log, "_SECONDS_TO_GATHER", 5.0)
    log = EventLog(tmp_path, "a.cfg", "", QuickDisk())
    written: list[int] = []
    log.on_written = written.append
    log._hurry = rests  # type: ignore[assignment]
    log.start()
    log.inbox.put([event(1)])
    assert rests.begin() == 5.0
    assert written == []
    rests.set()
    assert rests.begin() == 5.0
    assert written == [1]

    log.inbox.put([event(2)])
    rests.set()

    assert rests.begin() == 5.0
    assert written == [1]
    log.close()
    assert written == [1, 2]


def test_events_come_back_in_order_and_by_number(logs: Logs) -> None:
    log = logs()
    log.inbox.put([event(5), event(6, "ö\n")])
    log.inbox.put([event(9)])

    assert ask(log) == {
        "events": [event(5), event(6, "ö\n"), event(9)],
        "next": 9,
        "lost": False,
    }
    assert ask(log, 5) == {"events": [event(6, "ö\n"), event(9)], "next": 9, "lost": False}
    assert numbers(ask(log, 7)) == [9]
    assert ask(log, 9) == {"events": [], "next": 9, "lost": False}
    assert ask(log, 0, 2)["next"] == 6
    assert ask(log, 0, 0) == {"events": [], "next": 0, "lost": False}


def test_an_empty_file_has_lost_nothing(logs: Logs) -> None:
    assert ask(logs()) == {"events": [], "next": 0, "lost": False}


def test_a_number_above_all_is_a_loss(logs: Logs) -> None:
    log = logs()
    log.inbox.put([event(5)])

    assert ask(log, 6) == {"events": [], "next": 5, "lost": True}


def test_a_start_goes_on_in_the_same_file(logs: Logs, tmp_path: Path) -> None:
    log = logs()
    log.inbox.put([event(5)])
    log.close()

    again = logs()

    assert again.last == 5
    again.inbox.put([event(7)])
    assert numbers(ask(again)) == [5, 7]
    assert len(segments(tmp_path)) == 1
    assert segments(tmp_path)[0].stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "rubbish", [b"\0" * 500, b'{"number":8', b'{"number":8,"x":tru}\n', b"x\n"]
)
def test_rubbish_of_a_crash_is_cut_off(logs: Logs, tmp_path: Path, rubbish: bytes) -> None:
    log = logs()
    log.inbox.put([event(5), event(6)])
    log.close()
    with segments(tmp_path)[0].open("ab") as file:
        file.write(rubbish)

    again = logs()

    assert again.last == 6
    again.inbox.put([event(7)])
    assert ask(again) == {"events": [event(5), event(6), event(7)], "next": 7, "lost": False}


def test_a_file_cut_at_any_byte_goes_on_from_its_last_whole_line(
    logs: Logs, tmp_path: Path
) -> None:
    log = logs()
    log.inbox.put([event(5), event(6), event(7)])
    log.close()
    path = segments(tmp_path)[0]
    data = path.read_bytes()
    lines = data.splitlines(keepends=True)
    for cut in range(len(lines[0]), len(data) + 1):
        path.write_bytes(data[:cut])
        whole = data[:cut].count(b"\n") - 1

        assert EventLog(tmp_path, "a.cfg").last == (0, 5, 6, 7)[whole]


def test_a_segment_without_a_sound_first_line_is_passed_over(
    logs: Logs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ".a.cfg.events.0000000000000003").write_bytes(b"rubbish")

    log = logs()
    log.inbox.put([event(5)])

    assert numbers(ask(log)) == [5]
    assert "its events are lost" in caplog.text


def test_old_segments_go_and_their_loss_is_told(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", 2000)
    log = logs()
    for number in range(1, 101):
        log.inbox.put([event(number, "x" * 200)])
        ask(log)

    assert len(segments(tmp_path)) == event_log.SEGMENTS
    reply = ask(log)
    first = numbers(reply)[0]
    assert reply["lost"]
    assert numbers(reply) == list(range(first, 101))
    assert ask(log, first - 2)["lost"]
    assert ask(log, first - 1) == {**ask(log, first - 1), "lost": False}
    assert numbers(ask(log, 97)) == [98, 99, 100]
    log.close()
    assert logs().last == 100


def test_a_reply_has_at_most_so_many_bytes(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "REPLY_BYTES", 1000)
    log = logs()
    log.inbox.put([event(number, "x" * 100) for number in range(1, 31)])

    seen, after = [], 0
    while (reply := ask(log, after))["events"]:
        assert len(json.dumps(reply["events"])) < 1300
        seen += numbers(reply)
        after = reply["next"]

    assert seen == list(range(1, 31))


def test_an_event_that_is_too_long_for_a_reply_is_told_alone(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "REPLY_BYTES", 1000)
    log = logs()
    log.inbox.put([event(1), event(2, "x" * 5000), event(3)])

    assert numbers(ask(log)) == [1]
    assert numbers(ask(log, 1)) == [2]
    assert numbers(ask(log, 2)) == [3]


@pytest.mark.parametrize(("missing", "found"), [(0, [1, 2, 3]), (1, [1, 2])])
def test_a_reply_is_as_long_as_it_may_be_over_several_segments(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, missing: int, found: list[int]
) -> None:
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", 1)
    log = logs()
    for number in (1, 2, 3):
        log.inbox.put([event(number)])
        ask(log)
    line = len('{"number":1,"event":"created","owner":""}')
    monkeypatch.setattr(event_log, "REPLY_BYTES", 3 * line + 2 - missing)

    assert numbers(ask(log)) == found


def test_any_number_is_found_in_a_long_file(logs: Logs) -> None:
    log = logs()
    log.inbox.put([event(number * 3, "x" * (number % 400)) for number in range(1, 3001)])

    for after in (0, 1, 2, 3, 4500, 4501, 4502, 8996, 8997, 8998, 8999):
        expected = [n for n in range(3, 9001, 3) if n > after][:5]
        assert numbers(ask(log, after, 5)) == expected


def test_events_wait_for_a_disk_that_takes_nothing(
    logs: Logs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(disk_trouble, "_LONGEST_WAIT", 0.0)
    disk = FailingDisk()
    log = logs(disk)
    log.inbox.put([event(1)])
    assert numbers(ask(log)) == [1]
    disk.fail("write", error=errno.ENOSPC)
    log.inbox.put([event(2)])
    assert numbers(ask(log)) == [1]
    assert log.settled < 2
    assert "No space" in caplog.text

    disk.fail()
    log.inbox.put([event(3)])

    while numbers(ask(log)) != [1, 2, 3]:
        pass


def test_no_more_events_wait_than_may_for_a_disk_without_room_for_a_segment(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_trouble, "_LONGEST_WAIT", 0.0)
    monkeypatch.setattr(event_log, "_MOST_WAITING", 10)
    disk = FailingDisk()
    disk.fail("open", error=errno.ENOSPC)
    log = logs(disk)

    log.inbox.put([event(number) for number in range(1, 31)])

    assert numbers(ask(log)) == []
    assert log.settled == 20, "the last that was dropped"
    disk.fail()
    while (reply := ask(log))["next"] != 30:
        pass
    assert numbers(reply) == list(range(21, 31))
    assert reply["lost"]
    assert not ask(log, 20)["lost"], "it has heard of all that was before"


def test_a_line_that_was_half_written_is_cut_off(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk_trouble, "_LONGEST_WAIT", 0.0)
    disk = FailingDisk()
    log = logs(disk)
    log.inbox.put([event(1)])
    assert numbers(ask(log)) == [1]
    disk.room = 10
    log.inbox.put([event(2)])
    assert numbers(ask(log)) == [1]

    disk.room = None

    while numbers(ask(log)) != [1, 2]:
        pass
    log.close()
    assert logs().last == 2


def test_events_that_are_not_on_disk_yet_are_known(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "_SECONDS_UNTIL_FSYNC", 1e6)
    log = logs()
    log.inbox.put([event(1)])
    assert numbers(ask(log)) == [1]
    assert log.settled == 0

    log.close()

    assert log.settled == 1
    assert logs().settled == 1, "all that a start finds in the file"


def test_events_are_on_disk_soon(logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_SECONDS_UNTIL_FSYNC", 0.0)
    synced = threading.Event()

    class Watched(Disk):
        def fsync(self, fd: int) -> None:
            super().fsync(fd)
            synced.set()

    log = logs(Watched())
    log.inbox.put([event(1)])

    assert synced.wait(10)


def forget_nothing(*_: object) -> Any:
    raise AssertionError("no day is over")


def test_the_thread_wakes_for_the_first_thing_that_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = HandClock(monkeypatch)
    clock.today = 900.0 * 1000 + 899.75
    forgetting = Forgetting(tmp_path / "key", QuickDisk(), forget_nothing, list, forget_nothing)
    forgetting._done = forgetting._today(1)
    log = EventLog(tmp_path, "a.cfg", "", QuickDisk(), forgetting=forgetting)
    alone = EventLog(tmp_path, "b.cfg", "", QuickDisk())
    assert log._seconds() is None
    assert alone._seconds() is None

    forgetting.days = 1
    assert log._seconds() == 0.25
    for each in (log, alone):
        each._dirty_since = clock.now
    assert alone._seconds() == 0.5
    assert log._seconds() == 0.25
    clock.advance(-0.25)
    log._dirty_since = clock.now - 0.25
    assert log._seconds() == 0.25
    assert not log._fsync_due()
    clock.now += 0.25
    assert log._seconds() == 0.0
    assert log._fsync_due()
    clock.now += 5.0
    assert log._seconds() == 0.0
    assert not log._receive(0.0)
    log.inbox.put([event(1)])
    assert log._receive(0.0)
    assert log._seconds() == 1.0


def test_readers_are_told_the_last_number(logs: Logs) -> None:
    log = logs()
    told: list[int] = []
    written = threading.Event()

    def note(last: int) -> None:
        told.append(last)
        written.set()

    log.on_written = note
    log.inbox.put([event(1), event(2)])

    assert written.wait(10)
    assert told[-1] == 2


def test_readers_are_told_nothing_without_events(logs: Logs) -> None:
    log = logs()
    told: list[int] = []
    log.on_written = told.append

    for after in (0, 5, 0):
        ask(log, after)
    log.close()

    assert told == []


@pytest.mark.parametrize("room", [-1, 0, 1])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_segment_that_has_reached_its_size_is_followed_by_another(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, restarted: bool
) -> None:
    log = logs()
    log.inbox.put([event(5)])
    ask(log)
    (first,) = segments(tmp_path)
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", first.stat().st_size + room)
    if restarted:
        log.close()
        log = logs()

    log.inbox.put([event(6)])

    assert numbers(ask(log)) == [5, 6]
    assert len(segments(tmp_path)) == (1 if room > 0 else 2)


def test_a_simulation_has_a_file_of_its_own(logs: Logs) -> None:
    real, simulated = logs(), logs(label="simulated")
    simulated.inbox.put([event(1)])
    real.inbox.put([event(2)])

    assert numbers(ask(simulated)) == [1]
    assert numbers(ask(real)) == [2]


def test_a_question_after_the_end_is_answered(logs: Logs) -> None:
    log = logs()
    log.close()
    log.close()

    assert ask(log, 7) == {"events": [], "next": 7, "lost": False}


def test_a_question_that_comes_while_events_are_taken_in_is_answered(tmp_path: Path) -> None:
    log = EventLog(tmp_path, "a.cfg", "", QuickDisk())
    answered = threading.Event()

    def asking() -> Iterator[dict[str, Any]]:
        log.read(0, 10, lambda _: answered.set())
        yield from ()

    log.inbox.put(())
    log.inbox.put(asking())

    log.start()

    assert answered.wait(10)
    log.close()


def test_an_end_that_comes_while_events_are_taken_in_is_noticed(tmp_path: Path) -> None:
    log = EventLog(tmp_path, "a.cfg", "", QuickDisk())
    ending = threading.Thread(target=log.close, daemon=True)

    def ended() -> Iterator[dict[str, Any]]:
        ending.start()
        while log.inbox.empty():
            pass  # until it was told of the end
        yield from ()

    log.inbox.put(())
    log.inbox.put(ended())

    log.start()

    while not ending.ident:
        pass
    ending.join(10)
    assert not ending.is_alive()


def test_the_file_is_begun_anew_where_others_have_removed_it(
    logs: Logs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = logs()
    log.inbox.put([event(1), event(2)])
    ask(log)
    segments(tmp_path)[0].unlink()

    assert ask(log, 1) == {"events": [], "next": 1, "lost": True}
    assert log.settled == 2
    assert ask(log, 2) == {"events": [], "next": 2, "lost": False}
    log.inbox.put([event(3)])

    assert ask(log, 2) == {"events": [event(3)], "next": 3, "lost": False}
    assert ask(log) == {"events": [event(3)], "next": 3, "lost": True}
    assert "others have removed" in caplog.text
    log.close()
    assert ask(logs()) == {"events": [event(3)], "next": 3, "lost": True}


def test_an_old_segment_that_others_have_removed_is_a_loss_for_those_who_lack_it(
    logs: Logs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_log, "SEGMENT_BYTES", 100)
    log = logs()
    for number in range(1, 4):
        log.inbox.put([event(number, "x" * 100)])
        ask(log)
    segments(tmp_path)[1].unlink()

    reply = ask(log)

    assert numbers(reply) == [1, 3]
    assert reply["lost"]
    assert not ask(log, 2)["lost"]
    log.close()
    again = logs()
    assert [ask(again, after)["lost"] for after in range(4)] == [True, True, False, False]
    assert not ask(again, 0, 1)["lost"], "the loss comes behind this event"
