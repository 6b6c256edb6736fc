"""Job ids of a time when the disk takes no records."""

import errno
import os
from pathlib import Path

import pytest

from spalloc_server._saved.disk import Disk
from spalloc_server._saved.lock_file import LockFile
from spalloc_server._saved.unsaved_ids import IDS_AT_A_TIME, UnsavedIds
from tests.support.store_disks import FailingDisk, FakeBook, QuickDisk
from tests.support.store_life import LOCK, Lives, lives

__all__ = ("lives",)

BLOCK = 4096


class FullDisk(QuickDisk):
    """A disk that may be full: then files get no more blocks than they have."""

    full = False

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            at, blocks = os.lseek(fd, 0, os.SEEK_CUR), -(-os.fstat(fd).st_size // BLOCK)
            if os.fstat(fd).st_size and at == 0:
                data = data[: blocks * BLOCK]  # written over
            else:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(fd, data)


def test_ids_of_jobs_that_a_full_disk_lost_are_left_out(tmp_path: Path, lives: Lives) -> None:
    disk = FullDisk()
    life = lives(tmp_path, disk).start()
    saved = life.create()
    disk.full = True
    lost = [life.create() for _ in range(3)]
    kill(life.store._lock)
    disk.full = False

    following = lives(tmp_path).start()

    assert list(following.state["jobs"]) == [saved]
    assert following.create() == lost[0] + 1 + IDS_AT_A_TIME
    (note,) = following.loaded.notes
    assert note.startswith(f"ids of jobs go on at {lost[0] + 1 + IDS_AT_A_TIME}, not {lost[0]}: ")


def test_ids_are_left_out_after_a_second_crash_too(tmp_path: Path, lives: Lives) -> None:
    disk = FullDisk()
    life = lives(tmp_path, disk).start()
    disk.full = True
    life.create()
    kill(life.store._lock)
    second = lives(tmp_path, disk).start()
    given = [second.create() for _ in range(2)]
    kill(second.store._lock)
    disk.full = False

    assert lives(tmp_path).start().create() > given[-1]


def test_a_cold_start_leaves_them_out_too(tmp_path: Path, lives: Lives) -> None:
    disk = FullDisk()
    life = lives(tmp_path, disk).start()
    disk.full = True
    given = life.create()
    kill(life.store._lock)
    disk.full = False

    assert lives(tmp_path).start(cold=True).create() > given


def test_a_stop_and_a_crash_without_trouble_leave_no_id_out(tmp_path: Path, lives: Lives) -> None:
    life = lives(tmp_path).start()
    given = life.create()
    kill(life.store._lock)
    second = lives(tmp_path).start()
    assert second.create() == given + 1
    second.stop()

    assert lives(tmp_path).start().create() == given + 2


def test_ids_that_were_saved_after_all_are_not_told(tmp_path: Path, lives: Lives) -> None:
    disk = FullDisk()
    life = lives(tmp_path, disk).start()
    disk.full = True
    life.create()
    disk.full = False
    life.store.renew()
    given = life.create()
    assert life.store.trouble is None
    assert (tmp_path / LOCK).read_bytes() == b"process 17\n"
    kill(life.store._lock)

    following = lives(tmp_path).start()

    assert following.loaded.notes == []
    assert following.create() == given + 1


@pytest.mark.parametrize("note", ["", "next id", "next id x", "next id 5 ", " next id 5", "5"])
def test_words_of_another_kind_tell_no_id(tmp_path: Path, note: str) -> None:
    lock = LockFile(Disk(), tmp_path / LOCK)
    lock.note = note

    assert UnsavedIds(lock, FakeBook()).next_id == 1


def test_a_disk_in_trouble_is_asked_once_for_many_ids(tmp_path: Path) -> None:
    disk = FailingDisk()
    lock = LockFile(disk, tmp_path / LOCK)
    lock.acquire("process 17")
    ids = UnsavedIds(lock, FakeBook())
    disk.fail("write")
    disk.calls.clear()

    for job_id in range(1, IDS_AT_A_TIME + 3):
        ids.note([("created", job_id, "job")])
    ids.note([("ended", 1)])

    assert disk.calls.count("write") == 2
    assert ids.next_id == 2 * IDS_AT_A_TIME + 3
    lock.release()


def kill(lock: LockFile) -> None:
    """Let a lock go as the kernel does when a process is killed: the file stays."""
    lock._let_go()
