"""The journal as it is written, and a disk that fails."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._saved import journal as _journal
from spalloc_server._saved import journal_contents
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.saved_file import ChangedError, Header
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
