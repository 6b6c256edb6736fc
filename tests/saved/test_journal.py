"""The journal: every cut and every flipped byte, and a disk that fails."""

from __future__ import annotations

import errno
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spalloc_server._saved import journal as _journal
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.saved_file import ChangedError, DamagedError, Header, first_line
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


# --- writing and reading ---


def test_records_come_back_in_order(path: Path) -> None:
    data = written(path)

    assert _journal.read(data) == (PAYLOADS, len(data), [], None, False)
    assert first_line(data) == HEADER.line()


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


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(st.lists(st.lists(JSON, min_size=1, max_size=3).map(tuple), max_size=3))
def test_outcomes_come_back_as_they_were(outcomes: list[tuple[object, ...]]) -> None:
    payload = _journal.encode(outcomes)

    assert _journal.decode(payload) == outcomes
    assert payload.isascii()
    assert b"\n" not in payload


def test_numbers_that_json_does_not_have_come_back() -> None:
    ((kind, huge, negative, nan),) = _journal.decode(
        _journal.encode([("odd", math.inf, -math.inf, math.nan)])
    )

    assert (kind, huge, negative) == ("odd", math.inf, -math.inf)
    assert math.isnan(nan)


@pytest.mark.parametrize("value", [{1, 2}, b"x", object()])
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        _journal.encode([("created", value)])


def test_what_has_no_end_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(RecursionError):
        _journal.encode([("created", endless)])


@pytest.mark.parametrize("payload", [b"", b"{", b"{}", b"[1]", b"[[]]", b"7", b"[" * 100000])
def test_a_payload_that_is_no_list_of_outcomes_is_damage(payload: bytes) -> None:
    with pytest.raises(DamagedError):
        _journal.decode(payload)


# --- damage ---


def test_cut_at_any_byte_the_whole_records_before_it_count(path: Path) -> None:
    data = written(path)
    ends = [len(written(path, PAYLOADS[:count])) for count in range(len(PAYLOADS) + 1)]

    for cut in range(ends[0], len(data) + 1):
        contents = _journal.read(data[:cut])

        whole = sum(end <= cut for end in ends) - 1
        assert contents.payloads == PAYLOADS[:whole]
        assert contents.size == ends[whole]
        assert contents.stray == []
        assert (contents.problem is None) == (cut in ends)
        assert contents.torn == (cut not in ends)


def test_flipped_anywhere_the_records_before_it_count(path: Path) -> None:
    data = written(path)
    ends = [len(written(path, PAYLOADS[:count])) for count in range(len(PAYLOADS) + 1)]

    for place in range(ends[0], len(data)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            broken = bytearray(data)
            broken[place] ^= flip
            contents = _journal.read(bytes(broken))

            whole = sum(end <= place for end in ends) - 1
            assert contents.payloads == PAYLOADS[:whole]
            assert contents.problem is not None
            # A flipped line feed takes the next record with it.
            assert len(contents.stray) in (len(PAYLOADS) - whole - 1, len(PAYLOADS) - whole - 2, 0)


def test_records_after_a_damaged_one_are_strays(path: Path) -> None:
    data = bytearray(written(path))
    data[len(HEADER.line()) + 20] ^= 1

    contents = _journal.read(bytes(data))

    assert contents.payloads == []
    assert contents.stray == PAYLOADS[1:]
    assert contents.problem is not None
    assert "record 1 is damaged" in contents.problem
    assert not contents.torn


def test_zeros_after_the_last_record_are_cut_off(path: Path) -> None:
    data = written(path)

    contents = _journal.read(data + bytes(5000))

    assert contents.payloads == PAYLOADS
    assert contents.size == len(data)


def test_a_missing_record_ends_the_journal(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)

    contents = _journal.read(b"".join(lines[:2] + lines[3:]))

    assert contents.payloads == PAYLOADS[:1]
    assert contents.stray == PAYLOADS[2:]


def test_another_journals_records_do_not_count(path: Path) -> None:
    other = Header("journal", 3, 7, "ffffffffffffffff", 42, "1.0.0")
    foreign = written(path, header=other)[len(other.line()) :]

    contents = _journal.read(HEADER.line() + foreign)

    assert contents.payloads == []
    assert contents.stray == []


@given(st.binary())
def test_nothing_after_the_header_makes_reading_fail(data: bytes) -> None:
    contents = _journal.read(HEADER.line() + data)

    assert contents.payloads == []


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
    assert _journal.read(path.read_bytes()).payloads == PAYLOADS


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
    assert _journal.read(path.read_bytes()).payloads == PAYLOADS[:1]


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


def test_foreign_lines_between_records_cost_no_record(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)
    data = b"".join([*lines[:2], b"rubbish\n", b"and more\n", *lines[2:]])

    contents = _journal.read(data)

    assert contents.payloads == PAYLOADS
    assert contents.size == len(data)
    assert (contents.stray, contents.torn) == ([], False)
    assert contents.problem is not None
    assert "17 bytes between the records are not ours; no record is missing" in contents.problem


def test_foreign_bytes_in_front_of_a_record_cost_no_record(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)

    contents = _journal.read(b"".join([*lines[:3], b"0 3 rubbish 1 3 ", *lines[3:]]))

    assert contents.payloads == PAYLOADS


def test_foreign_bytes_after_the_last_record_do_not_count(path: Path) -> None:
    data = written(path)

    contents = _journal.read(data + b"rubbish\n")

    assert contents.payloads == PAYLOADS
    assert not contents.torn
    assert contents.problem is not None
    assert "record 5 is damaged: the last 8 bytes" in contents.problem
