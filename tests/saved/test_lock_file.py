"""The lock against a second server on the same state."""

import errno
import os
import threading
from pathlib import Path

import pytest

from spalloc_server._saved import lock_file
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.lock_file import LockFile
from spalloc_server._saved.saved_file import StoreError
from tests.support.store_disks import FailingDisk


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "lock"


@pytest.fixture(autouse=True)
def folder(path: Path) -> Path:
    path.parent.mkdir()
    return path.parent


def test_a_lock_says_its_holder_and_goes_with_it(path: Path) -> None:
    lock = LockFile(Disk(), path)
    assert not lock.held

    lock.acquire("process 17, a long text")
    assert lock.held
    assert path.read_bytes() == b"process 17, a long text\n"
    lock.acquire("process 17")
    assert path.read_bytes() == b"process 17\n"
    assert not lock.left_behind

    lock.release()
    lock.release()
    assert not lock.held
    assert not path.exists()


def test_a_lock_can_be_taken_again(path: Path) -> None:
    lock = LockFile(Disk(), path)
    lock.acquire("one")
    lock.release()

    lock.acquire("two")

    assert path.read_bytes() == b"two\n"
    with pytest.raises(StoreError, match="in use by two"):
        LockFile(Disk(), path).acquire("three")
    lock.release()


def test_the_words_of_a_holder_are_read_as_far_as_they_are_text(path: Path) -> None:
    lock = LockFile(Disk(), path)
    lock.acquire("")
    path.write_bytes(b" \xff\xfe in Frieden \n")

    with pytest.raises(StoreError, match=r"in use by .. in Frieden \(lock"):
        LockFile(Disk(), path).acquire("x")
    lock.release()


@pytest.mark.parametrize(("content", "left"), [(b"", False), (b"x", True), (b"process 9\n", True)])
def test_a_file_with_words_was_left_behind(path: Path, content: bytes, left: bool) -> None:
    path.write_bytes(content)
    lock = LockFile(Disk(), path)

    lock.acquire("process 17")

    assert lock.left_behind == left
    lock.acquire("process 17")
    assert lock.left_behind == left, "its own words do not count"
    lock.release()


def test_a_lock_that_was_taken_away_is_taken_anew_and_was_not_left_behind(path: Path) -> None:
    lock = LockFile(Disk(), path)
    lock.acquire("one")
    path.rename(path.with_name("away"))
    path.write_bytes(b"others")
    assert not lock.held

    lock.acquire("two")

    assert path.read_bytes() == b"two\n"
    assert path.with_name("away").read_bytes() == b"one\n"
    assert not lock.left_behind
    lock.release()
    assert not path.exists()


def test_a_lock_that_never_stays_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Elsewhere(Disk):
        def open(self, path: Path, flags: int) -> int:
            fd = super().open(path, flags)
            opened.append(fd)
            path.unlink()
            return fd

    monkeypatch.setattr(lock_file, "_MOST_TRIES", 5)
    lock = LockFile(Elsewhere(), path)

    with pytest.raises(OSError, match="does not stay") as caught:
        lock.acquire("x")

    assert caught.value.errno == errno.ESTALE
    assert len(opened) == 5
    assert not lock.held



def test_a_note_is_for_the_next_holder_alone(path: Path) -> None:
    lock = LockFile(Disk(), path)
    lock.acquire("process 17, a long text")
    assert lock.note == ""
    lock.leave_note("much is to be done")
    assert path.read_bytes() == b"process 17, a long text\nmuch is to be done\n"
    with pytest.raises(StoreError, match=r"in use by process 17, a long text \(lock"):
        LockFile(Disk(), path).acquire("three")
    lock.acquire("process 17")
    lock.leave_note("little")
    assert path.read_bytes() == b"process 17\nlittle\n"
    lock._let_go()  # as the kernel does when a process is killed

    following = LockFile(Disk(), path)
    following.acquire("process 18")

    assert (following.left_behind, following.note) == (True, "little")
    assert path.read_bytes() == b"process 18\nlittle\n", "until there is another note"
    following.release()
    assert not path.exists()


def test_a_note_without_a_lock_is_kept_for_it(path: Path) -> None:
    lock = LockFile(Disk(), path)

    lock.leave_note("next")
    assert not path.exists()
    path.parent.rmdir()
    path.parent.mkdir()
    lock._had = True
    lock.acquire("process 17")

    assert path.read_bytes() == b"process 17\nnext\n"
    lock.release()


@pytest.mark.parametrize("error", [errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_in_trouble_is_no_other_holder(path: Path, error: int) -> None:
    disk = FailingDisk()
    disk.fail("open", error=error)

    with pytest.raises(OSError) as caught:
        LockFile(disk, path).acquire("x")

    assert caught.value.errno == error


@pytest.mark.parametrize("error", [errno.EPERM, errno.ELOOP])
def test_other_errors_stop_a_start_but_not_a_server_that_had_the_lock(
    path: Path, error: int
) -> None:
    disk = FailingDisk()
    lock = LockFile(disk, path)
    disk.fail("open", error=error)
    with pytest.raises(StoreError, match=os.strerror(error)):
        lock.acquire("x")
    disk.fail()
    lock.acquire("x")
    path.unlink()

    disk.fail("open", error=error)

    with pytest.raises(OSError) as caught:
        lock.acquire("x")
    assert caught.value.errno == error
    lock.release()


@pytest.mark.parametrize("exists", [False, True])
def test_a_folder_that_gives_no_lock_is_trouble_and_a_lock_of_others_is_not(
    path: Path, exists: bool
) -> None:
    if exists:
        path.write_bytes(b"others")
    disk = FailingDisk()
    disk.fail("open", error=errno.EACCES)

    with pytest.raises(StoreError if exists else OSError, match="Permission denied"):
        LockFile(disk, path).acquire("x")


def test_a_file_of_others_stays_when_the_lock_is_released(path: Path) -> None:
    lock = LockFile(Disk(), path)
    lock.acquire("x")
    path.unlink()
    path.write_bytes(b"others")

    lock.release()

    assert path.read_bytes() == b"others"


def test_a_note_is_not_written_where_the_lock_was_while_that_is_taken_again(path: Path) -> None:
    """Another file or a client may have its number by then."""
    writing, go_on, overlapping = threading.Event(), threading.Event(), []

    class Watched(Disk):
        def write(self, fd: int, data: bytes) -> int:
            if b"note" in data and not go_on.is_set():
                writing.set()
                assert go_on.wait(10)
                writing.clear()
            return super().write(fd, data)

        def close(self, fd: int) -> None:
            overlapping.append(writing.is_set())
            super().close(fd)

    class Announced:
        """A lock that tells when somebody wants it."""

        def __init__(self) -> None:
            self.wanted = threading.Semaphore(0)
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            self.wanted.release()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    lock = LockFile(Watched(), path)
    lock.acquire("me")
    announced = lock._changing = Announced()  # type: ignore[assignment]
    path.unlink()
    noting = threading.Thread(target=lock.leave_note, args=("note",))
    taking = threading.Thread(target=lock.acquire, args=("me",))
    noting.start()
    assert writing.wait(10)
    assert announced.wanted.acquire(timeout=10)
    taking.start()
    assert announced.wanted.acquire(timeout=10)

    go_on.set()

    noting.join()
    taking.join()
    assert overlapping == [False]
    assert path.read_text() == "me\nnote\n"
    lock.release()
