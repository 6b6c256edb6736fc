"""The thread that fsyncs the journal."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server import _clock
from spalloc_server._saved import syncer as _syncer
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.journal import Journal, Journals
from spalloc_server._saved.saved_file import ChangedError, Header, Names
from spalloc_server._saved.syncer import Syncer
from tests.support.store_disks import FailingDisk

HEADER = Header("journal", 3, 7, "0123456789abcdef", 42, "1.0.0")


class SlowDisk(FailingDisk):
    """Its fsyncs tell that they have begun, and go on when they may."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Semaphore(0)
        self.may_go_on = threading.Semaphore(0)

    def fsync(self, fd: int) -> None:
        self.begun.release()
        assert self.may_go_on.acquire(timeout=10)
        super().fsync(fd)


class World:
    """A journal with its thread, on a slow disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.disk = SlowDisk()
        self.failures: list[Exception] = []
        self.failed = threading.Event()
        self.risen = threading.Semaphore(0)
        self.journal = Journal(self.disk, path, HEADER)
        self.journals = Journals(Names(path.parent, "a.cfg"), DiskTrouble())
        self.journals.follow(self.journal)
        self.journals.advance()
        self.syncer = Syncer(self.journals, self._on_failure, self.risen.release, delay=0.0)
        self.syncer.start()

    def write(self, position: int) -> None:
        """Write a record, as the loop does."""
        self.journals.add([("created", position)])
        assert self.journals.write(position)

    def _on_failure(self, error: Exception) -> None:
        self.failures.append(error)
        self.failed.set()

    def sync(self) -> None:
        """Let the fsync that has been asked for happen."""
        assert self.disk.begun.acquire(timeout=10)
        self.disk.may_go_on.release()
        assert self.risen.acquire(timeout=10)

    def stop(self) -> None:
        for _ in range(10):
            self.disk.may_go_on.release()
        self.journals.end_newest()
        self.syncer.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "journal")
    yield made
    made.stop()


def test_a_write_is_fsynced_by_the_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "monotonic", lambda: 1e9)

    world.write(7)
    assert world.journals.unsynced_since == 1e9
    assert world.journals.synced == 0
    assert world.journals.last_fsync < 1e9
    world.sync()

    assert (world.journals.synced, world.journals.last_fsync) == (7, 1e9)
    assert world.journals.unsynced_since is None
    assert world.failures == []


def test_a_write_during_an_fsync_gets_another(world: World) -> None:
    world.write(1)
    assert world.disk.begun.acquire(timeout=10)

    world.write(2)
    world.disk.may_go_on.release()

    assert world.risen.acquire(timeout=10)
    world.sync()
    assert world.journals.synced == 2


def test_both_journals_are_fsynced_while_there_are_two(world: World, tmp_path: Path) -> None:
    other = Journal(world.disk, tmp_path / "other", HEADER)
    world.journals.follow(other)

    world.write(1)

    assert world.disk.begun.acquire(timeout=10)
    world.disk.may_go_on.release()
    assert world.disk.begun.acquire(timeout=10)
    assert world.journals.synced == 0
    world.disk.may_go_on.release()
    assert world.risen.acquire(timeout=10)
    assert world.journals.synced == 1
    world.journals.fall_back()


def test_a_journal_is_closed_only_when_its_fsync_has_ended(world: World) -> None:
    closed = threading.Event()
    close = world.journal.close

    def close_and_tell() -> None:
        close()
        closed.set()

    world.journal.close = close_and_tell  # type: ignore[method-assign]
    world.write(1)
    assert world.disk.begun.acquire(timeout=10)

    world.journals.end_newest()

    assert not closed.is_set()
    world.disk.may_go_on.release()
    assert closed.wait(10)


def test_the_next_journal_keeps_the_name_of_one_that_never_counted(
    world: World, tmp_path: Path
) -> None:
    """The thread may be busy with an fsync while the next generation begins."""
    path = tmp_path / "other"
    failed = Journal(world.disk, path, HEADER)

    world.journals.follow(failed)
    failed.remove()
    assert not path.exists()
    world.journals.fall_back()
    following = Journal(world.disk, path, HEADER)
    world.syncer.stop()

    following.check()
    following.close()
    assert world.path.exists()


def test_a_journal_that_we_removed_ourselves_is_no_alarm(world: World, tmp_path: Path) -> None:
    """The thread may look at it just then."""
    failed = Journal(world.disk, tmp_path / "other", HEADER)

    failed.remove()

    failed.check()
    failed.close()


def test_a_snapshot_saves_the_need_of_an_fsync(world: World) -> None:
    world.write(3)
    assert world.disk.begun.acquire(timeout=10)
    world.write(4)
    world.journals.note_synced(4)

    assert world.journals.unsynced_since is None
    assert not world.journals.dirty
    assert world.journals.synced == 4


def test_a_snapshot_of_earlier_outcomes_leaves_later_ones_to_the_fsync(world: World) -> None:
    world.write(5)
    assert world.disk.begun.acquire(timeout=10)
    world.write(6)

    world.journals.note_synced(5)

    assert world.journals.unsynced_since is not None
    assert world.journals.synced == 5
    world.disk.may_go_on.release()
    assert world.risen.acquire(timeout=10)
    world.sync()
    assert world.journals.synced == 6


def test_a_failed_fsync_is_told_and_the_thread_lives_on(world: World) -> None:
    world.disk.fail("fsync")
    world.write(1)
    world.disk.may_go_on.release()
    assert world.failed.wait(10)
    assert world.disk.begun.acquire(timeout=10)
    assert world.journals.synced == 0
    world.disk.fail()

    world.write(2)
    world.sync()

    assert world.journals.synced == 2
    assert [getattr(e, "errno", None) for e in world.failures] == [errno.EIO]


def test_a_mistake_of_ours_in_an_fsync_is_told_and_the_thread_lives_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.journal, "fsync", lambda: 1 // 0)
        world.write(1)
        assert world.failed.wait(10)

    world.write(2)
    world.sync()

    assert [type(e) for e in world.failures] == [ZeroDivisionError]
    assert "the fsync of the journal failed" in caplog.text


def test_files_are_looked_at_although_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_syncer, "_SECONDS_BETWEEN_LOOKS", 0.001)
    world = World(tmp_path / "journal")
    world.path.write_bytes(b"")

    assert world.failed.wait(10)

    assert isinstance(world.failures[0], ChangedError)
    assert not world.disk.begun.acquire(blocking=False)
    world.stop()


def test_a_thread_that_never_started_may_be_stopped() -> None:
    journals = Journals(Names(Path(), "a.cfg"), DiskTrouble())
    syncer = Syncer(journals, lambda error: None)

    syncer.stop()
    syncer.stop()
