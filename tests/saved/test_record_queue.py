"""Records on their way into the journals."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server._saved import journal_contents, record_queue
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.record_queue import RecordQueue
from spalloc_server._saved.saved_file import Header, Names
from tests.support.fake_clock import FakeClock
from tests.support.store_disks import FailingDisk


class Queue:
    """A queue with two journals; the newest gets records first."""

    def __init__(self, folder: Path) -> None:
        self.disk = FailingDisk()
        self.names = Names(folder, "a.cfg")
        self.trouble = DiskTrouble()
        self.queue = RecordQueue(self.names, self.trouble)
        self.made: list[Journal] = []

    def journal(self, path: Path) -> Journal:
        made = Journal(self.disk, path, Header("journal", 1, 1, "p", 1, "1.0"))
        self.made.append(made)
        return made


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


@pytest.fixture
def one(tmp_path: Path, clock: FakeClock) -> Iterator[Queue]:
    """A queue with its newest journal."""
    one = Queue(tmp_path)
    one.queue.newest = one.journal(one.names.journal)
    yield one
    one.disk.fail()
    for journal in one.made:
        journal.close()


@pytest.fixture
def two(one: Queue) -> Queue:
    """A queue with its newest journal and the following one."""
    one.queue.following = one.journal(one.names.new_journal)
    return one


def payloads(journal: Journal | None) -> list[bytes]:
    assert journal is not None
    return journal_contents.read(journal.path.read_bytes()).payloads


def test_a_record_goes_into_each_journal(two: Queue) -> None:
    two.queue.add([("a", 1)])
    two.queue.add([("b", 2), ("c", 3)])
    assert two.queue.pending

    assert two.queue.write()

    assert not two.queue.pending
    expected = [b'[["a",1]]', b'[["b",2],["c",3]]']
    assert payloads(two.queue.newest) == payloads(two.queue.following) == expected
    assert two.queue.written == 2, "those of the newest journal"
    assert not two.queue.gap


def test_nothing_is_written_twice(one: Queue) -> None:
    assert not one.queue.write()
    one.queue.add([("a",)])
    assert one.queue.write()

    assert not one.queue.write()
    one.queue.add([("b",)])
    assert one.queue.write()

    assert payloads(one.queue.newest) == [b'[["a"]]', b'[["b"]]']
    assert one.queue.written == 2


@pytest.mark.parametrize("which", ["newest", "following"])
def test_a_record_of_one_journal_is_pending(two: Queue, which: str) -> None:
    getattr(two.queue, which).queued.append(b"[]")

    assert two.queue.pending


def test_a_record_without_a_journal_leaves_a_gap(one: Queue) -> None:
    one.queue.newest = None
    one.queue.add([("a",)])

    assert one.queue.gap
    assert not one.queue.pending


def test_a_sealed_journal_gets_no_record_and_the_other_does(two: Queue) -> None:
    assert two.queue.newest is not None
    two.queue.newest.seal()
    two.queue.add([("a",)])
    two.queue.write()

    assert payloads(two.queue.newest) == []
    assert payloads(two.queue.following) == [b'[["a"]]']
    assert two.queue.written == 0
    assert not two.queue.gap


def test_an_outcome_that_cannot_be_written_seals_all_journals(
    two: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    two.queue.add([("a", object())])

    assert two.queue.gap
    assert [journal.sealed for journal in two.made] == [True, True]
    assert "cannot be written to the journal" in str(two.trouble.text)
    assert "an outcome cannot be written" in caplog.text


def test_records_wait_for_a_full_disk_and_are_written_when_it_is_time(
    one: Queue, clock: FakeClock
) -> None:
    one.disk.room = 0
    for name in "ab":
        one.queue.add([(name,)])
        assert not one.queue.write()
    assert "No space" in str(one.trouble.text)
    one.disk.room = None

    assert not one.queue.write(), "the second failure is followed by a wait"
    clock.advance(1.0)
    assert one.queue.write()

    assert payloads(one.queue.newest) == [b'[["a"]]', b'[["b"]]']
    assert one.queue.written == 2


def test_the_next_write_tries_at_once_if_it_is_told_to(one: Queue) -> None:
    one.disk.room = 0
    one.queue.add([("a",)])
    one.queue.write()
    one.queue.write()
    one.disk.room = None

    one.queue.try_at_once()

    assert one.queue.write()


@pytest.mark.parametrize(("records", "sealed"), [(10, False), (11, True)])
def test_more_bytes_than_agreed_do_not_wait_for_a_full_disk(
    one: Queue, monkeypatch: pytest.MonkeyPatch, records: int, sealed: bool
) -> None:
    monkeypatch.setattr(record_queue, "_MOST_QUEUED", 10 * len(b'[["a"]]'))
    one.disk.room = 0
    for _ in range(records):
        one.queue.add([("a",)])
        one.queue.write()

    assert one.queue.newest is not None
    assert one.queue.newest.sealed == one.queue.gap == sealed
    assert one.queue.pending == (not sealed)


def test_many_bytes_wait_for_a_disk_that_was_not_tried_yet(
    one: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_queue, "_MOST_QUEUED", 10)
    for _ in range(20):
        one.queue.add([("a",)])

    assert not one.queue.gap
    assert one.queue.write()


def test_a_half_written_record_that_stays_seals_the_journal(one: Queue) -> None:
    one.disk.fail("write", "truncate")
    one.queue.add([("a",)])

    assert not one.queue.write()

    assert one.queue.gap
    assert not one.queue.pending


def test_one_journal_fails_and_the_other_is_written(two: Queue) -> None:
    assert two.queue.newest is not None
    size = len(b'00000000 1 [["a"]]\n')
    two.queue.add([("a",)])
    two.disk.room = size

    assert not two.queue.write(), "one record is pending"

    assert payloads(two.queue.newest) == [b'[["a"]]']
    assert payloads(two.queue.following) == []
    assert two.queue.written == 1


def test_the_oldest_records_are_written_as_far_as_the_disk_has_room(one: Queue) -> None:
    for name in "abc":
        one.queue.add([(name,)])
    one.disk.room = 2 * len(b'00000000 1 [["a"]]\n') + 3

    one.queue.write_what_fits()

    assert payloads(one.queue.newest) == [b'[["a"]]', b'[["b"]]']
    assert one.queue.written == 2
    assert one.queue.newest is not None
    assert one.queue.newest.queued == [b'[["c"]]']


def unexpected(error: Exception) -> None:
    raise error


LOST, KEPT = "is lost", "the journal has the rest"


@pytest.mark.parametrize(
    ("complete", "room", "expected"),
    [(True, None, ""), (True, 0, ""), (False, None, KEPT), (False, 0, LOST)],
)
def test_the_log_tells_whether_the_rest_is_saved(
    one: Queue, caplog: pytest.LogCaptureFixture, complete: bool, room: int | None, expected: str
) -> None:
    one.queue.add([("a",)])
    one.disk.room = room

    one.queue.save_the_rest(complete, unexpected)

    lines = [record.message for record in caplog.records if "cannot" not in record.message]
    assert len(lines) == bool(expected)
    assert expected in "".join(lines)
    assert payloads(one.queue.newest) == ([b'[["a"]]'] if expected == KEPT else [])


def test_without_a_journal_the_rest_is_lost(one: Queue, caplog: pytest.LogCaptureFixture) -> None:
    one.queue.newest = None

    one.queue.save_the_rest(False, unexpected)

    assert LOST in caplog.text


def test_a_journal_that_cannot_be_synced_is_told_of(one: Queue) -> None:
    told: list[Exception] = []
    one.disk.fail("fsync")

    one.queue.save_the_rest(True, told.append)

    assert [type(error) for error in told] == [OSError]


def test_a_journal_that_others_removed_is_in_nobodys_way(one: Queue) -> None:
    one.queue.newest = one.journal(one.names.new_journal)
    one.names.new_journal.unlink()

    one.queue.publish_newest()

    assert one.queue.newest.path == one.names.new_journal
    one.disk.fail("rename")
    with pytest.raises(OSError, match="output error"):
        one.queue.publish_newest()


def test_the_newest_journal_gets_its_name_once(one: Queue) -> None:
    one.queue.newest = one.journal(one.names.new_journal)

    one.queue.publish_newest()
    calls = len(one.disk.calls)
    one.queue.publish_newest()

    assert one.queue.newest.path == one.names.journal
    assert len(one.disk.calls) == calls
