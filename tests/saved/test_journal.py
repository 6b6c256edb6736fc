"""The journals as they are written, and a disk that fails."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._saved import journal as _journal
from spalloc_server._saved import journal_contents
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.journal import Journal, Journals
from spalloc_server._saved.saved_file import ChangedError, Header, Names
from tests.support.fake_clock import FakeClock
from tests.support.store_disks import FailingDisk

HEADER = Header("journal", 3, 7, "0123456789abcdef", 42, "1.0.0")
OUTCOMES: list[list[tuple[Any, ...]]] = [
    [("created", 42, {"owner": "me\n", "keepalive": 60.0})],
    [("allocated", 42, [[0, 0, 1]]), ("power", 42, True)],
    [("ended", 42, None)],
    [("created", 43, {"owner": "ö\udc80"})],
]
PAYLOADS = [_journal.encode(outcomes) for outcomes in OUTCOMES]


def written(path: Path, payloads: list[bytes] = PAYLOADS, header: Header = HEADER) -> bytes:
    """Content of a journal with a record for each payload."""
    journal = Journal(Disk(), path, header)
    for payload in payloads:
        journal.append([payload])
    journal.close()
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


# --- writing ---


def test_many_records_in_one_call_are_as_many_calls(path: Path) -> None:
    data = written(path)

    journal = Journal(Disk(), path, HEADER)
    journal.append(PAYLOADS[:1])
    journal.append(PAYLOADS[1:])
    journal.close()

    assert path.read_bytes() == data
    assert journal.size == len(data)


def test_an_append_is_one_call(path: Path) -> None:
    disk = FailingDisk()
    journal = Journal(disk, path, HEADER)
    disk.calls.clear()

    journal.append(PAYLOADS)

    assert disk.calls == ["write"]
    journal.close()


@pytest.mark.parametrize("value", [{1, 2}, b"x", object()])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        _journal.encode([("created", value)])


def test_what_has_no_end_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(RecursionError):
        _journal.encode([("created", endless)])


# --- a disk that fails ---


@pytest.mark.parametrize("room", range(120))
def test_a_disk_that_fills_up_in_a_record_loses_only_that_record(path: Path, room: int) -> None:
    disk = FailingDisk()
    journal = Journal(disk, path, HEADER)
    journal.append(PAYLOADS[:1])
    before = path.read_bytes()
    disk.room = room

    with pytest.raises(OSError, match="No space"):
        journal.append(PAYLOADS[1:])

    assert path.read_bytes() == before
    assert not journal.sealed
    disk.room = None
    journal.append(PAYLOADS[1:])
    journal.close()
    assert journal_contents.read(path.read_bytes()).payloads == PAYLOADS


def test_a_record_that_cannot_be_cut_off_again_ends_the_journal(path: Path) -> None:
    disk = FailingDisk()
    journal = Journal(disk, path, HEADER)
    journal.append(PAYLOADS[:1])
    disk.room = 10
    disk.fail("truncate")

    with pytest.raises(OSError, match="No space"):
        journal.append(PAYLOADS[1:])

    journal.close()
    assert journal.sealed
    assert journal_contents.read(path.read_bytes()).payloads == PAYLOADS[:1]


@pytest.mark.parametrize("call", ["open", "write"])
def test_a_journal_that_cannot_be_made_leaves_nothing(path: Path, call: str) -> None:
    disk = FailingDisk()
    disk.fail(call, error=errno.EROFS)

    with pytest.raises(OSError, match="Read-only"):
        Journal(disk, path, HEADER)

    assert not path.exists()


def test_a_disk_that_takes_nothing_is_no_endless_loop(path: Path) -> None:
    class Full(Disk):
        def write(self, fd: int, data: bytes) -> int:
            return 0

    with pytest.raises(OSError, match="takes nothing"):
        Journal(Full(), path, HEADER)


def test_a_journal_that_somebody_removed_is_not_called_safe(path: Path) -> None:
    journal = Journal(Disk(), path, HEADER)
    path.unlink()

    with pytest.raises(ChangedError, match="removed"):
        journal.sync()

    journal.close()


@pytest.mark.parametrize("change", ["cut", "emptied", "added to"])
def test_a_journal_that_somebody_changed_is_not_called_safe(path: Path, change: str) -> None:
    journal = Journal(Disk(), path, HEADER)
    journal.append(PAYLOADS)
    journal.sync()
    data = path.read_bytes()
    path.write_bytes({"cut": data[:-1], "emptied": b"", "added to": data + b"x"}[change])

    with pytest.raises(ChangedError, match="others changed"):
        journal.sync()

    journal.close()


def test_a_journal_is_found_under_both_names_while_it_is_renamed(path: Path) -> None:
    class Renaming(Disk):
        def rename(self, old: Path, new: Path) -> None:
            journal.check()
            super().rename(old, new)
            journal.check()

    journal = Journal(Renaming(), path, HEADER)

    journal.publish(path.with_name("public"))

    journal.check()
    assert journal.path == path.with_name("public")
    journal.close()


def test_a_journal_that_is_just_being_written_is_not_called_changed(path: Path) -> None:
    class Looking(Disk):
        def write(self, fd: int, data: bytes) -> int:
            written = super().write(fd, data)
            if made:
                made[0].check()
            return written

    made: list[Journal] = []
    made.append(Journal(Looking(), path, HEADER))

    made[0].append(PAYLOADS)

    made[0].check()
    made[0].close()


def test_a_journal_that_is_written_during_the_look_is_looked_at_again(path: Path) -> None:
    class Slow(Disk):
        def size(self, fd: int) -> int:
            size = super().size(fd)
            if left:
                made[0].append(left.pop())
            return size

    left: list[list[bytes]] = []
    made = [Journal(Slow(), path, HEADER)]
    left += [PAYLOADS[:1], PAYLOADS[1:]]

    made[0].check()

    assert left == []
    made[0].close()


def test_a_sealed_journal_may_have_half_a_record_at_its_end(path: Path) -> None:
    journal = Journal(Disk(), path, HEADER)
    with path.open("ab") as file:
        file.write(b"half a rec")
    with pytest.raises(ChangedError, match="others changed"):
        journal.check()

    journal.seal()

    journal.check()
    journal.close()


# --- the journals that get each record ---


class World:
    """Up to two journals; the newest gets records first."""

    def __init__(self, folder: Path) -> None:
        self.disk = FailingDisk()
        self.names = Names(folder, "a.cfg")
        self.trouble = DiskTrouble()
        self.journals = Journals(self.names, self.trouble)
        self.made: list[Journal] = []

    def begin(self, journal: Journal) -> None:
        """Have a journal be the newest."""
        self.journals.follow(journal)
        self.journals.advance()

    def new(self, path: Path) -> Journal:
        made = Journal(self.disk, path, Header("journal", 1, 1, "p", 1, "1.0"))
        self.made.append(made)
        return made


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


@pytest.fixture
def one(tmp_path: Path, clock: FakeClock) -> Iterator[World]:
    """The newest journal alone."""
    one = World(tmp_path)
    one.begin(one.new(one.names.journal))
    yield one
    one.disk.fail()
    for journal in one.made:
        journal.close()


@pytest.fixture
def two(one: World) -> World:
    """The newest journal and the following one."""
    one.journals.follow(one.new(one.names.new_journal))
    return one


def payloads(journal: Journal | None) -> list[bytes]:
    assert journal is not None
    return journal_contents.read(journal.path.read_bytes()).payloads


def test_a_record_goes_into_each_journal(two: World) -> None:
    two.journals.add([("a", 1)])
    two.journals.add([("b", 2), ("c", 3)])
    assert two.journals.pending

    assert two.journals.write(1)

    assert not two.journals.pending
    expected = [b'[["a",1]]', b'[["b",2],["c",3]]']
    assert payloads(two.journals.newest) == payloads(two.journals.following) == expected
    assert two.journals.written == 2, "those of the newest journal"
    assert not two.journals.gap


def test_nothing_is_written_twice(one: World) -> None:
    assert not one.journals.write(1)
    one.journals.add([("a",)])
    assert one.journals.write(1)

    assert not one.journals.write(1)
    one.journals.add([("b",)])
    assert one.journals.write(1)

    assert payloads(one.journals.newest) == [b'[["a"]]', b'[["b"]]']
    assert one.journals.written == 2


@pytest.mark.parametrize("which", ["newest", "following"])
def test_a_record_of_one_journal_is_pending(two: World, which: str) -> None:
    getattr(two.journals, which).queued.append(b"[]")

    assert two.journals.pending


def test_a_record_without_a_journal_leaves_a_gap(one: World) -> None:
    one.journals.end_newest()
    one.journals.add([("a",)])

    assert one.journals.gap
    assert not one.journals.pending


def test_a_sealed_journal_gets_no_record_and_the_other_does(two: World) -> None:
    assert two.journals.newest is not None
    two.journals.newest.seal()
    two.journals.add([("a",)])
    two.journals.write(1)

    assert payloads(two.journals.newest) == []
    assert payloads(two.journals.following) == [b'[["a"]]']
    assert two.journals.written == 0
    assert not two.journals.gap


def test_an_outcome_that_cannot_be_written_seals_all_journals(
    two: World, caplog: pytest.LogCaptureFixture
) -> None:
    two.journals.add([("a", object())])

    assert two.journals.gap
    assert [journal.sealed for journal in two.made] == [True, True]
    assert "cannot be written to the journal" in str(two.trouble.text)
    assert "an outcome cannot be written" in caplog.text


def test_records_wait_for_a_full_disk_and_are_written_when_it_is_time(
    one: World, clock: FakeClock
) -> None:
    one.disk.room = 0
    for name in "ab":
        one.journals.add([(name,)])
        assert not one.journals.write(1)
    assert "No space" in str(one.trouble.text)
    one.disk.room = None

    assert not one.journals.write(1), "the second failure is followed by a wait"
    clock.advance(1.0)
    assert one.journals.write(1)

    assert payloads(one.journals.newest) == [b'[["a"]]', b'[["b"]]']
    assert one.journals.written == 2


def test_the_next_write_tries_at_once_if_it_is_told_to(one: World) -> None:
    one.disk.room = 0
    one.journals.add([("a",)])
    one.journals.write(1)
    one.journals.write(1)
    one.disk.room = None

    one.journals.try_at_once()

    assert one.journals.write(1)


@pytest.mark.parametrize(("records", "sealed"), [(10, False), (11, True)])
def test_more_bytes_than_agreed_do_not_wait_for_a_full_disk(
    one: World, monkeypatch: pytest.MonkeyPatch, records: int, sealed: bool
) -> None:
    monkeypatch.setattr(_journal, "_MOST_QUEUED", 10 * len(b'[["a"]]'))
    one.disk.room = 0
    for _ in range(records):
        one.journals.add([("a",)])
        one.journals.write(1)

    assert one.journals.newest is not None
    assert one.journals.newest.sealed == one.journals.gap == sealed
    assert one.journals.pending == (not sealed)


def test_many_bytes_wait_for_a_disk_that_was_not_tried_yet(
    one: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal, "_MOST_QUEUED", 10)
    for _ in range(20):
        one.journals.add([("a",)])

    assert not one.journals.gap
    assert one.journals.write(1)


def test_a_half_written_record_that_stays_seals_the_journal(one: World) -> None:
    one.disk.fail("write", "truncate")
    one.journals.add([("a",)])

    assert not one.journals.write(1)

    assert one.journals.gap
    assert not one.journals.pending


def test_one_journal_fails_and_the_other_is_written(two: World) -> None:
    assert two.journals.newest is not None
    size = len(b'00000000 1 [["a"]]\n')
    two.journals.add([("a",)])
    two.disk.room = size

    assert not two.journals.write(1), "one record is pending"

    assert payloads(two.journals.newest) == [b'[["a"]]']
    assert payloads(two.journals.following) == []
    assert two.journals.written == 1


def test_the_oldest_records_are_written_as_far_as_the_disk_has_room(one: World) -> None:
    for name in "abc":
        one.journals.add([(name,)])
    one.disk.room = 2 * len(b'00000000 1 [["a"]]\n') + 3

    one.journals._write_what_fits(one.made[0])

    assert payloads(one.journals.newest) == [b'[["a"]]', b'[["b"]]']
    assert one.journals.written == 2
    assert one.journals.newest is not None
    assert one.journals.newest.queued == [b'[["c"]]']


def unexpected(error: Exception) -> None:
    raise error


LOST, KEPT = "is lost", "the journal has the rest"


@pytest.mark.parametrize(
    ("complete", "room", "expected"),
    [(True, None, ""), (True, 0, ""), (False, None, KEPT), (False, 0, LOST)],
)
def test_the_log_tells_whether_the_rest_is_saved(
    one: World, caplog: pytest.LogCaptureFixture, complete: bool, room: int | None, expected: str
) -> None:
    one.journals.add([("a",)])
    one.disk.room = room

    one.journals.save_the_rest(complete, unexpected)

    lines = [record.message for record in caplog.records if "cannot" not in record.message]
    assert len(lines) == bool(expected)
    assert expected in "".join(lines)
    assert payloads(one.journals.newest) == ([b'[["a"]]'] if expected == KEPT else [])


def test_without_a_journal_the_rest_is_lost(one: World, caplog: pytest.LogCaptureFixture) -> None:
    one.journals.end_newest()

    one.journals.save_the_rest(False, unexpected)

    assert LOST in caplog.text


def test_a_journal_that_cannot_be_synced_is_told_of(one: World) -> None:
    told: list[Exception] = []
    one.disk.fail("fsync")

    one.journals.save_the_rest(True, told.append)

    assert [type(error) for error in told] == [OSError]


def test_a_journal_that_others_removed_is_in_nobodys_way(one: World) -> None:
    one.begin(one.new(one.names.new_journal))
    one.names.new_journal.unlink()

    one.journals.publish_newest()

    assert one.made[-1].path == one.names.new_journal
    one.disk.fail("rename")
    with pytest.raises(OSError, match="output error"):
        one.journals.publish_newest()


def test_the_newest_journal_gets_its_name_once(one: World) -> None:
    one.begin(one.new(one.names.new_journal))

    one.journals.publish_newest()
    calls = len(one.disk.calls)
    one.journals.publish_newest()

    assert one.made[-1].path == one.names.journal
    assert len(one.disk.calls) == calls


def test_journals_that_are_over_are_closed_later(two: World) -> None:
    newest, following = two.made
    assert list(two.journals.open) == [newest, following]
    two.disk.calls.clear()

    two.journals.advance()

    assert list(two.journals.open) == [following]
    assert two.journals.over == [newest]
    assert two.disk.calls == []
    two.journals.close_over()
    assert two.disk.calls == ["close"]
    assert two.journals.over == []
    two.made.remove(newest)


def test_a_generation_that_failed_leaves_the_journal_before_it(two: World) -> None:
    newest, following = two.made

    two.journals.fall_back()

    assert (two.journals.newest, two.journals.following) == (newest, None)
    assert two.journals.over == [following]


def test_the_journal_of_a_generation_under_way_outlives_the_newest(two: World) -> None:
    newest, following = two.made

    two.journals.end_newest()

    assert (two.journals.newest, two.journals.following) == (None, following)
    assert two.journals.open == (following,)
    assert two.journals.over == [newest]
