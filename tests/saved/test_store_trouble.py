"""A disk that fails at any call, or is full, or gone."""

from __future__ import annotations

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest

from spalloc_server._saved import journal as _journal
from spalloc_server._saved.store import Store, StoreError
from tests.support.small_disk import PAGE, SmallDisk, small_disk
from tests.support.store_disks import FailingDisk, files_in
from tests.support.store_life import (
    BOOK,
    CONFIG,
    JOURNAL,
    LOCK,
    STATE,
    FakeTime,
    Life,
    Lives,
    ManualSyncer,
    found,
    found_state,
    lives,
    syncers,
    time,
)

__all__ = (
    "lives",
    "small_disk",
    "syncers",
    "time",
)


# --- trouble ---


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_what_could_not_be_written_is_written_later(
    tmp_path: Path,
    lives: Lives,
    time: FakeTime,
    error: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    disk = FailingDisk()
    life = lives(tmp_path, disk).start()
    life.busy()
    saved = found_state(tmp_path)
    disk.fail("write", error=error)

    for _ in range(100):
        life.create()

    assert os.strerror(error) in (life.store.trouble or "")
    assert life.store.pending
    assert found_state(tmp_path) == saved
    assert len(caplog.records) == 1
    disk.fail()
    time.now += 20
    life.store.commit()
    assert life.store.trouble is None
    assert not life.store.pending
    assert found_state(tmp_path) == life.state
    assert life.store.snapshots == 1
    assert "again" in caplog.text


def test_a_disk_in_trouble_is_asked_less_and_less(
    tmp_path: Path, lives: Lives, time: FakeTime
) -> None:
    disk = FailingDisk()
    life = lives(tmp_path, disk).start()
    disk.fail("write")
    disk.calls.clear()

    for _ in range(600):
        life.create()
        time.now += 0.1

    assert 4 < disk.calls.count("write") < 12


def test_trouble_is_told_now_and_then(
    tmp_path: Path, lives: Lives, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    disk = FailingDisk()
    life = lives(tmp_path, disk).start()
    disk.fail("write", error=errno.ENOSPC)

    for _ in range(300):
        life.create()
        time.now += 1

    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 5
    disk.fail("write", error=errno.EROFS)
    time.now += 20
    life.create()
    assert "Read-only" in caplog.text


def test_a_disk_full_within_a_record_damages_nothing(
    tmp_path: Path, lives: Lives, time: FakeTime
) -> None:
    for room in range(0, 60, 7):
        directory = tmp_path / str(room)
        directory.mkdir()
        disk = FailingDisk()
        life = lives(directory, disk).start()
        life.busy()
        saved = found_state(directory)
        disk.room = room

        life.create("a job with a record of some length, so that only a part has room")

        assert found_state(directory) == saved
        disk.room = None
        time.now += 20
        life.create()
        assert found_state(directory) == life.state
        assert life.store.trouble is None


def test_too_much_unwritten_is_given_up_for_a_snapshot(
    tmp_path: Path, lives: Lives, time: FakeTime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_journal, "_MOST_QUEUED", 10_000)
    disk = FailingDisk()
    life = lives(tmp_path, disk).start()
    life.busy()
    saved = found_state(tmp_path)
    disk.room = 0

    for _ in range(1000):
        life.create()
        (journal,) = life.store._journals.open
        assert sum(map(len, journal.queued)) <= 10_100

    assert found_state(tmp_path) == saved
    disk.room = None
    time.now += 20
    assert life.store.wants_snapshot
    life.create()
    assert life.store.trouble is None
    assert found_state(tmp_path) == life.state


def test_a_failed_fsync_is_answered_with_a_snapshot(
    tmp_path: Path, syncers: list[ManualSyncer], time: FakeTime
) -> None:
    disk = FailingDisk()
    life = Life(tmp_path, disk).start()
    life.create()
    disk.fail("fsync")
    syncers[-1].now()
    disk.fail()

    assert "not safe on disk" in (life.store.trouble or "")
    assert life.store.wants_snapshot
    life.create()

    assert life.store.trouble is None
    assert life.store.snapshots == 2
    life.die()


def test_always_goes_on_when_fsync_fails(
    tmp_path: Path, syncers: list[ManualSyncer], time: FakeTime
) -> None:
    disk = FailingDisk()
    life = Life(tmp_path, disk, durability="always").start()
    disk.fail("fsync")
    life.busy()
    assert life.store.safe == 0

    syncers[-1].now()

    assert life.store.safe == life.store.position
    assert "not safe on disk" in (life.store.trouble or "")
    assert life.store.lacks_journal
    assert found_state(tmp_path) == life.state  # a crash of the process loses nothing
    disk.fail()
    time.now += 20
    life.create()
    assert life.store.trouble is None
    assert life.store.snapshots == 2
    assert not life.store.lacks_journal
    life.die()


def test_a_descriptor_whose_closing_fails_is_not_used_again(
    tmp_path: Path, syncers: list[ManualSyncer], time: FakeTime
) -> None:
    """Network file systems tell so late; the number may be a client's socket by then."""
    disk = FailingDisk()
    life = Life(tmp_path, disk).start()
    life.busy()
    disk.fail("close")
    life.store.durability = "none"
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)

    life.store.durability = "process"
    life.create()
    life.stop()

    assert os.fstat(other).st_size == 0
    os.close(other)


def test_a_journal_that_somebody_removed_is_made_anew(
    tmp_path: Path, syncers: list[ManualSyncer]
) -> None:
    life = Life(tmp_path).start()
    life.busy()
    (tmp_path / JOURNAL).unlink()
    life.create()

    syncers[-1].now()
    life.create()

    assert life.store.trouble is None
    assert found_state(tmp_path) == life.state
    life.die()


def test_a_folder_that_is_gone_and_comes_back(
    tmp_path: Path, syncers: list[ManualSyncer], time: FakeTime
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    life = Life(folder).start()
    life.busy()
    shutil.rmtree(folder)
    life.create()
    syncers[-1].now()

    life.create()

    assert "No such file" in (life.store.trouble or "")
    folder.mkdir()
    time.now += 20
    life.create()
    assert life.store.trouble is None
    assert found_state(folder) == life.state
    life.stop()


def test_a_folder_that_another_took_the_place_of_is_missed(
    tmp_path: Path, syncers: list[ManualSyncer], time: FakeTime
) -> None:
    """Moved away, or unmounted lazily: the open journal takes all, and no start would find it."""
    folder = tmp_path / "state"
    folder.mkdir()
    life = Life(folder).start()
    life.busy()
    folder.rename(tmp_path / "away")
    folder.mkdir()
    life.create()

    syncers[-1].now()

    assert "moved" in (life.store.trouble or "")
    life.create()
    assert life.store.trouble is None
    assert found_state(folder) == life.state
    with pytest.raises(StoreError, match="process 17"):
        Store(folder, CONFIG, "1.0.0", book=BOOK).lock("process 18")
    life.stop()
    assert found_state(folder) == life.state


def test_a_lock_in_a_folder_that_was_mounted_anew_is_taken_again(
    tmp_path: Path, syncers: list[ManualSyncer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a network's file that was open before, the system knows nothing any more."""
    life = Life(tmp_path).start()
    life.busy()
    stale = [life.store._lock._fd]
    known = os.fstat

    def fstat(fd: int) -> os.stat_result:
        if fd in stale:
            stale.clear()  # the number is soon another file's
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return known(fd)

    (tmp_path / LOCK).unlink()
    with monkeypatch.context() as remounted:
        remounted.setattr(os, "fstat", fstat)
        life.store.snapshot(life.state)

    assert life.store.trouble is None
    assert life.store.snapshots == 2
    with pytest.raises(StoreError, match="process 17"):
        Store(tmp_path, CONFIG, "1.0.0", book=BOOK).lock("process 18")
    life.stop()


def test_a_lock_whose_folder_cannot_be_searched_at_the_end_stays_and_is_let_go(
    tmp_path: Path, lives: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk()
    life = lives(tmp_path, disk).start()

    def refuse(fd: int, path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as closed:
        closed.setattr(disk, "is_at", refuse)
        life.store.abandon()

    assert (tmp_path / LOCK).exists()
    other = Store(tmp_path, CONFIG, "1.0.0", book=BOOK)
    other.lock("process 18")
    other.abandon()


def test_a_lock_that_does_not_stay_where_it_is_made_is_trouble(
    tmp_path: Path,
    lives: Lives,
    time: FakeTime,
    syncers: list[ManualSyncer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = FailingDisk()
    with monkeypatch.context() as odd:
        odd.setattr(disk, "is_at", lambda fd, path: False)
        life = lives(tmp_path, disk).start()
        assert "does not stay" in (life.store.trouble or "")
    time.now += 20

    life.create()

    assert life.store.trouble is None
    assert found_state(tmp_path) == life.state


def test_a_folder_that_another_server_uses_meanwhile_is_left_to_it(
    tmp_path: Path, syncers: list[ManualSyncer], time: FakeTime
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    life = Life(folder).start()
    life.busy()
    folder.rename(tmp_path / "away")
    folder.mkdir()
    other = Store(folder, CONFIG, "1.0.0", book=BOOK)
    other.lock("process 18")
    other.load()
    other.begin({**BOOK.empty(), "next_id": 70})
    saved = files_in(folder)
    life.create()
    syncers[0].now()

    life.create()

    assert "in use by process 18" in (life.store.trouble or "")
    life.stop()
    assert files_in(folder) == saved
    other.abandon()


def test_an_outcome_that_cannot_be_written_is_answered_with_a_snapshot(
    tmp_path: Path, lives: Lives, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives(tmp_path).start()
    life.busy()

    life.turn(("created", 17, {1, 2}))

    assert "cannot be written" in caplog.text
    assert life.store.trouble is None
    assert life.store.snapshots == 2
    life.create()
    assert found_state(tmp_path) == life.state


def test_a_state_that_cannot_be_written_does_not_stop_the_journal(
    tmp_path: Path, lives: Lives, time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    life = lives(tmp_path).start()
    life.busy()

    life.store.snapshot({**life.state, "mistake": object()})

    assert "mistake" not in (life.store.trouble or "")
    assert life.store.trouble is not None
    life.happens(("created", 7, "x"))
    life.store.commit()
    assert found_state(tmp_path) == life.state


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "sync_directory", "unlink"])
def test_a_stop_on_a_failing_disk_leaves_what_there_was(
    tmp_path: Path, call: str, caplog: pytest.LogCaptureFixture, syncers: list[ManualSyncer]
) -> None:
    disk = FailingDisk()
    life = Life(tmp_path, disk).start()
    life.busy()
    disk.fail(call)

    life.stop()

    assert found_state(tmp_path) == life.state
    assert life.store.trouble is not None
    assert "could not be saved as a whole" in caplog.text
    assert "lost" not in caplog.text


@pytest.mark.parametrize("sealed", [False, True])
def test_a_stop_on_a_disk_that_took_nothing_says_that_something_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, syncers: list[ManualSyncer], sealed: bool
) -> None:
    disk = FailingDisk()
    life = Life(tmp_path, disk).start()
    life.busy()
    saved = found_state(tmp_path)
    disk.fail("write", "open", *(["truncate"] if sealed else []), error=errno.ENOSPC)
    life.create()

    life.stop()

    assert "is lost" in caplog.text
    assert found_state(tmp_path) == saved


@pytest.mark.parametrize("room", range(0, 200, 9))
def test_a_stop_saves_as_many_turns_as_the_disk_has_room_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, syncers: list[ManualSyncer], room: int
) -> None:
    disk = FailingDisk()
    life = Life(tmp_path, disk).start()
    life.busy()
    size = life.store.journal_bytes
    disk.fail("write", error=errno.ENOSPC)
    for _ in range(4):
        life.create()
    disk.fail("open", error=errno.ENOSPC)  # no new file, but the old one grows
    disk.room = room

    life.stop()

    one = len(b'8d0f3a11 4 [["created",4,"job"]]\n')
    kept = min(room // one, 4)
    assert found_state(tmp_path) == life.history[-5 + kept]
    assert (tmp_path / JOURNAL).stat().st_size == size + kept * one
    assert ("is lost" in caplog.text) == (kept < 4)


def test_a_stop_without_a_journal_says_that_something_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, syncers: list[ManualSyncer]
) -> None:
    disk = FailingDisk()
    life = Life(tmp_path, disk, durability="none").start()
    life.create()
    disk.fail("write", error=errno.ENOSPC)

    life.stop()

    assert "is lost" in caplog.text


# --- every call fails ---


def script(life: Life, time: FakeTime) -> None:
    """All that a store does, on a disk that may fail at any moment."""
    life.start()
    life.busy()
    life.store._syncer.now()  # type: ignore[attr-defined]
    time.now += 20
    life.create()
    life.store.snapshot(life.state)
    life.busy()
    time.now += 20
    life.busy()


def number_of_calls(tmp_path: Path, time: FakeTime, durability: str) -> int:
    (tmp_path / "count").mkdir()
    life = Life(tmp_path / "count", disk := FailingDisk(), durability=durability)
    script(life, time)
    life.stop()
    assert life.store.trouble is None
    return len(disk.calls)


ERRORS = (errno.ENOSPC, errno.EROFS, errno.EIO)


@pytest.mark.parametrize("durability", ["process", "always"])
def test_any_call_may_fail_once(
    tmp_path: Path, durability: str, time: FakeTime, syncers: list[ManualSyncer]
) -> None:
    for number in range(number_of_calls(tmp_path, time, durability)):
        error = ERRORS[number % len(ERRORS)]
        directory = tmp_path / f"{number} {error}"
        directory.mkdir()
        disk = FailingDisk()
        disk.failing = lambda n, name, number=number, error=error: (  # type: ignore[misc]
            error if n == number else None
        )
        life = Life(directory, disk, durability=durability)

        script(life, time)
        time.now += 20
        life.turn()

        assert life.store.trouble is None
        assert found_state(directory) == life.state
        life.stop()
        assert found_state(directory) == life.state


class FailingFrom:
    """Makes a disk fail from its n-th call on, and remembers what was saved by then."""

    def __init__(self, number: int, life: Life, disk: FailingDisk) -> None:
        self._number = number
        self._error = ERRORS[number % len(ERRORS)]
        self._life = life
        #: The turn before the one in which the disk failed.
        self.saved: int | None = None
        disk.failing = self._failing

    def _failing(self, number: int, name: str) -> int | None:
        if number < self._number or name == "read":
            return None
        if self.saved is None:
            self.saved = len(self._life.history) - 2
        return self._error


@pytest.mark.parametrize("durability", ["process", "always"])
@pytest.mark.parametrize("before", [False, True])
def test_all_calls_may_fail_from_any_moment_on(
    tmp_path: Path, durability: str, time: FakeTime, syncers: list[ManualSyncer], before: bool
) -> None:
    """What was saved is not damaged; and all is saved again when the disk is well."""
    for number in range(number_of_calls(tmp_path, time, durability)):
        directory = tmp_path / str(number)
        directory.mkdir()
        if before:
            first = Life(directory, version="0.9").start()
            first.busy()
            first.die()
        disk = FailingDisk()
        life = Life(directory, disk, durability=durability)
        trouble = FailingFrom(number, life, disk)

        script(life, time)

        state = found_state(directory)
        newest = max(turn for turn, then in enumerate(life.history) if then == state)
        assert trouble.saved is None or newest >= trouble.saved
        disk.fail()
        time.now += 20
        life.create()
        assert life.store.trouble is None
        assert found_state(directory) == life.state
        life.stop()
        assert found(directory).clean


# --- a real small disk ---


@pytest.mark.parametrize("pages", [0, 1, 2, 3])
@pytest.mark.parametrize("durability", ["process", "always"])
def test_a_real_disk_with_few_pages_left_at_rotation_and_at_the_stop(
    small_disk: SmallDisk,
    time: FakeTime,
    syncers: list[ManualSyncer],
    pages: int,
    durability: str,
) -> None:
    """A rotation takes a page for the snapshot and one for the journal, a stop one."""
    folder = small_disk.directory
    life = Life(folder, durability=durability).start()
    life.busy()
    small_disk.fill(leave=pages)

    life.store.snapshot(life.state)

    assert life.store.snapshots == (2 if pages >= 2 else 1)
    assert ("No space" in (life.store.trouble or "")) == (pages < 2)
    syncers[-1].now()  # closes the old journal
    assert small_disk.free == pages
    life.create()
    time.now += 20
    life.create()
    assert found_state(folder) == life.state
    life.stop()
    assert found_state(folder) == life.state
    assert found(folder).clean == (pages >= 1)
    assert (folder / JOURNAL).exists() == (pages < 1)
    assert sorted(files_in(folder)) == sorted({"ballast", STATE, *([] if pages else [JOURNAL])})


def test_a_stop_writes_to_the_journal_what_a_real_disk_has_no_room_for_in_a_snapshot(
    small_disk: SmallDisk,
    time: FakeTime,
    syncers: list[ManualSyncer],
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = small_disk.directory
    life = Life(folder).start()
    life.create("x" * 4 * PAGE)
    small_disk.fill()
    for _ in range(PAGE // 20):
        life.create()
    assert found_state(folder) != life.state
    small_disk.make_room()
    small_disk.fill(leave=3)

    life.stop()

    assert found_state(folder) == life.state
    assert not found(folder).clean
    assert "the journal has the rest" in caplog.text


def test_a_real_disk_that_is_full_and_then_has_room(
    small_disk: SmallDisk, time: FakeTime, syncers: list[ManualSyncer]
) -> None:
    folder = small_disk.directory
    life = Life(folder).start()
    life.busy()
    saved = found_state(folder)
    small_disk.fill()

    for _ in range(PAGE // 20):
        life.create("x" * 50)

    assert "No space" in (life.store.trouble or "")
    state = found_state(folder)
    assert state in life.history
    assert state["next_id"] >= saved["next_id"]
    life.store.snapshot(life.state)
    assert found_state(folder) == state
    small_disk.make_room()
    time.now += 20
    life.create()
    assert life.store.trouble is None
    assert found_state(folder) == life.state
    life.stop()
    assert found(folder).clean


def test_a_real_disk_that_becomes_read_only(
    small_disk: SmallDisk, time: FakeTime, syncers: list[ManualSyncer]
) -> None:
    folder = small_disk.directory
    life = Life(folder).start()
    life.busy()
    small_disk.make_read_only()

    life.create()
    life.store.snapshot(life.state)

    assert "Read-only" in (life.store.trouble or "")
    assert found_state(folder) == life.state  # into the open journal
    life.stop()
    again = Life(folder).start()
    assert again.loaded.state == life.state
    assert "Read-only" in (again.store.trouble or "")
    again.create()
    assert found_state(folder) == life.state
    small_disk.take_away()
    time.now += 20
    again.create()
    assert again.store.trouble is None
    assert found_state(folder) == again.state
    again.stop()
    assert found_state(folder) == again.state
