"""The thread that fsyncs the journal."""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server import _clock
from spalloc_server._saved import syncer as _syncer
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.saved_file import ChangedError, Header
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
        self.syncer = Syncer(self._on_failure, self.risen.release, delay=0.0)
        self.syncer.watch(self.journal)
        self.syncer.start()

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
        self.syncer.retire(self.journal)
        self.syncer.stop()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path / "journal")
    yield made
    made.stop()


def test_a_write_is_fsynced_by_the_thread(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "monotonic", lambda: 1e9)

    world.syncer.dirty(7)
    assert world.syncer.unsynced_since == 1e9
    assert world.syncer.synced == 0
    assert world.syncer.last_fsync < 1e9
    world.sync()

    assert (world.syncer.synced, world.syncer.last_fsync) == (7, 1e9)
    assert world.syncer.unsynced_since is None
    assert world.failures == []


def test_a_write_during_an_fsync_gets_another(world: World) -> None:
    world.syncer.dirty(1)
    assert world.disk.begun.acquire(timeout=10)

    world.syncer.dirty(2)
    world.disk.may_go_on.release()

    assert world.risen.acquire(timeout=10)
    world.sync()
    assert world.syncer.synced == 2


def test_both_journals_are_fsynced_while_there_are_two(world: World, tmp_path: Path) -> None:
    other = Journal(world.disk, tmp_path / "other", HEADER)
    world.syncer.watch(world.journal, other)

    world.syncer.dirty(1)

    assert world.disk.begun.acquire(timeout=10)
    world.disk.may_go_on.release()
    assert world.disk.begun.acquire(timeout=10)
    assert world.syncer.synced == 0
    world.disk.may_go_on.release()
    assert world.risen.acquire(timeout=10)
    assert world.syncer.synced == 1
    world.syncer.retire(other)


def test_a_journal_is_closed_only_when_its_fsync_has_ended(world: World) -> None:
    closed = threading.Event()
    close = world.journal.close

    def close_and_tell() -> None:
        close()
        closed.set()

    world.journal.close = close_and_tell  # type: ignore[method-assign]
    world.syncer.dirty(1)
    assert world.disk.begun.acquire(timeout=10)

    world.syncer.retire(world.journal)

    assert not closed.is_set()
    world.disk.may_go_on.release()
    assert closed.wait(10)
    world.journal = Journal(world.disk, world.path, HEADER)


def test_the_next_journal_keeps_the_name_of_one_that_never_counted(
    world: World, tmp_path: Path
) -> None:
    """The thread may be busy with an fsync while the next generation begins."""
    path = tmp_path / "other"
    failed = Journal(world.disk, path, HEADER)

    failed.remove()
    assert not path.exists()
    world.syncer.retire(failed)
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
    world.syncer.watch()
    world.syncer.dirty(3)
    world.syncer.note_synced(3)

    assert world.syncer.unsynced_since is None
    assert world.syncer.synced == 3


def test_a_snapshot_of_earlier_outcomes_leaves_later_ones_to_the_fsync(world: World) -> None:
    world.syncer.dirty(5)
    assert world.disk.begun.acquire(timeout=10)
    world.syncer.dirty(6)

    world.syncer.note_synced(5)

    assert world.syncer.unsynced_since is not None
    assert world.syncer.synced == 5
    world.disk.may_go_on.release()
    assert world.risen.acquire(timeout=10)
    world.sync()
    assert world.syncer.synced == 6


def test_a_failed_fsync_is_told_and_the_thread_lives_on(world: World) -> None:
    world.disk.fail("fsync")
    world.syncer.dirty(1)
    world.disk.may_go_on.release()
    assert world.failed.wait(10)
    assert world.disk.begun.acquire(timeout=10)
    assert world.syncer.synced == 0
    world.disk.fail()

    world.syncer.dirty(2)
    world.sync()

    assert world.syncer.synced == 2
    assert [getattr(e, "errno", None) for e in world.failures] == [errno.EIO]


def test_a_mistake_of_ours_in_an_fsync_is_told_and_the_thread_lives_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(world.journal, "fsync", lambda: 1 // 0)
        world.syncer.dirty(1)
        assert world.failed.wait(10)

    world.syncer.dirty(2)
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
    syncer = Syncer(lambda error: None)

    syncer.stop()
    syncer.stop()
