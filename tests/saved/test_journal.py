"""The journal: every cut and every flipped byte, a disk that fails, the fsync thread."""

from __future__ import annotations

import errno
import math
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spalloc_server import _clock
from spalloc_server._saved import journal as _journal
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.journal import Journal, Syncer
from spalloc_server._saved.saved_file import DamagedError, Header, first_line
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


@pytest.mark.parametrize("call", ["open", "write", "fsync"])
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

    with pytest.raises(FileNotFoundError, match="removed"):
        journal.sync()

    journal.close()


# --- the fsync thread ---


class SlowDisk(FailingDisk):
    """Its fsyncs tell that they have begun, and go on when they may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)
        self.slow = False

    def fsync(self, fd: int) -> None:
        if self.slow:
            self.begun.release()
            assert self.may_go_on.acquire(timeout=10)
        super().fsync(fd)


class Thread:
    """A journal with its thread, on a slow disk, with a clock that stands still."""

    def __init__(self, path: Path) -> None:
        self.disk = SlowDisk()
        self.failures: list[Exception] = []
        self.failed = threading.Event()
        self.journal = Journal(self.disk, path, HEADER)
        self.disk.slow = True
        self.syncer = Syncer(self._on_failure, delay=0.0)
        self.syncer.attach(self.journal)
        self.syncer.start()

    def _on_failure(self, error: Exception) -> None:
        self.failures.append(error)
        self.failed.set()

    def stop(self) -> None:
        self.syncer.stop()
        self.journal.close()


def test_what_is_written_is_fsynced_by_the_thread(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_clock, "monotonic", lambda: 17.0)
    thread = Thread(path)
    monkeypatch.setattr(_clock, "monotonic", lambda: 18.0)

    thread.syncer.dirty()

    assert thread.disk.begun.acquire(timeout=10)
    assert thread.syncer.last_fsync == 17.0
    thread.disk.may_go_on.release()
    thread.syncer.detach()
    assert thread.syncer.last_fsync == 18.0
    thread.stop()
    assert thread.failures == []


def test_what_is_written_during_an_fsync_gets_another(path: Path) -> None:
    thread = Thread(path)
    thread.syncer.dirty()
    assert thread.disk.begun.acquire(timeout=10)

    thread.syncer.dirty()
    thread.disk.may_go_on.release()

    assert thread.disk.begun.acquire(timeout=10)
    thread.disk.may_go_on.release()
    thread.stop()


def test_an_fsync_under_way_is_waited_for_before_the_file_is_closed(path: Path) -> None:
    thread = Thread(path)
    thread.syncer.dirty()
    assert thread.disk.begun.acquire(timeout=10)
    detached = threading.Event()

    def detach() -> None:
        thread.syncer.detach()
        detached.set()

    other = threading.Thread(target=detach)
    other.start()

    assert not detached.is_set()
    thread.disk.may_go_on.release()
    assert detached.wait(10)
    other.join()
    thread.stop()


def test_a_failed_fsync_is_told_and_the_thread_lives_on(path: Path) -> None:
    thread = Thread(path)
    thread.disk.fail("fsync")
    thread.syncer.dirty()
    thread.disk.may_go_on.release()
    assert thread.failed.wait(10)
    thread.disk.fail()

    thread.syncer.dirty()

    for _ in range(2):
        assert thread.disk.begun.acquire(timeout=10)
    thread.disk.may_go_on.release()
    thread.stop()
    assert [getattr(e, "errno", None) for e in thread.failures] == [errno.EIO]


def test_a_mistake_of_ours_in_an_fsync_is_told_and_the_thread_lives_on(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    thread = Thread(path)
    with monkeypatch.context() as patch:
        patch.setattr(thread.journal, "sync", lambda: 1 // 0)
        thread.syncer.dirty()
        assert thread.failed.wait(10)

    thread.syncer.dirty()

    assert thread.disk.begun.acquire(timeout=10)
    thread.disk.may_go_on.release()
    thread.stop()
    assert [type(e) for e in thread.failures] == [ZeroDivisionError]
    assert "the fsync of the journal failed" in caplog.text


def test_nothing_is_fsynced_once_the_journal_is_detached(path: Path) -> None:
    thread = Thread(path)
    thread.syncer.detach()

    thread.syncer.dirty()
    thread.stop()

    assert not thread.disk.begun.acquire(blocking=False)


def test_what_was_written_before_the_journal_was_detached_is_forgotten(path: Path) -> None:
    thread = Thread(path)
    thread.syncer.detach()
    thread.syncer.dirty()

    while thread.syncer._dirty:
        os.sched_yield()  # until the thread has found no journal

    thread.syncer.attach(thread.journal)
    thread.syncer.dirty()
    assert thread.disk.begun.acquire(timeout=10)
    thread.disk.may_go_on.release()
    thread.stop()
    assert not thread.disk.begun.acquire(blocking=False)


def test_a_thread_that_never_started_may_be_stopped() -> None:
    syncer = Syncer(lambda error: None)

    syncer.stop()
    syncer.stop()
