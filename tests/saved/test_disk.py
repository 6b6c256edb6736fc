"""The calls to the file system, where it does not answer as one would think."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spalloc_server._saved.disk import Disk, create, discard, let_go, write_all


def test_a_rename_that_happened_all_the_same_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("new content")
    new.write_text("old content")
    replace = Path.replace

    def nfs(self: Path, target: Path) -> Path:
        replace(self, target)
        raise OSError(errno.ENOENT, "answer to a packet sent twice")

    monkeypatch.setattr(Path, "replace", nfs)

    Disk().rename(old, new)

    assert new.read_text() == "new content"


@pytest.mark.parametrize("there", [True, False])
def test_a_rename_that_did_not_happen_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("new content")
    if there:
        new.write_text("old content")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "replace", fail)

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        Disk().rename(old, new)


@pytest.mark.parametrize(
    ("error", "fails"), [(errno.EINVAL, False), (errno.EIO, True), (errno.ENOSPC, True)]
)
def test_a_file_system_that_cannot_fsync_directories_is_excused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int, fails: bool
) -> None:
    def fsync(fd: int) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, "fsync", fsync)

    if fails:
        with pytest.raises(OSError, match=os.strerror(error)):
            Disk().sync_directory(tmp_path)
    else:
        Disk().sync_directory(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(OSError, match="not a plain file"):
        Disk().read(tmp_path / "pipe")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")

    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        Disk().read(tmp_path / "link")


def test_a_folder_may_be_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))

    Disk().sync_directory(tmp_path / "link")

    assert synced == [(tmp_path / "folder").stat().st_ino]


def test_a_new_file_is_for_its_owner_alone_and_for_no_other_program(tmp_path: Path) -> None:
    path = tmp_path / "new"
    path.write_text("left by a crash")
    path.chmod(0o644)

    fd = create(Disk(), path)

    assert path.read_bytes() == b""
    assert path.stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(fd)
    for data in (b"one", b" and another"):
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(Disk(), fd, data)
    os.close(fd)
    assert path.read_bytes() == b"one and another"


def test_a_file_is_at_its_own_name_alone(tmp_path: Path) -> None:
    disk = Disk()
    fd = create(disk, tmp_path / "one")
    os.close(create(disk, tmp_path / "other"))
    (tmp_path / "link").symlink_to("one")

    assert disk.is_at(fd, tmp_path / "one")
    assert not disk.is_at(fd, tmp_path / "other")
    assert not disk.is_at(fd, tmp_path / "link")
    assert not disk.is_at(fd, tmp_path / "none")
    os.close(fd)
    assert not disk.is_at(fd, tmp_path / "one")


def test_a_look_tells_which_file_has_a_name(tmp_path: Path) -> None:
    disk, path = Disk(), tmp_path / "file"
    assert disk.look(path) is None

    path.write_bytes(b"12345")

    assert disk.look(path) == (path.stat().st_ino, 5)
    fd = disk.open(path, os.O_RDWR)
    assert disk.size(fd) == 5
    disk.truncate(fd, 2)
    assert disk.size(fd) == 2
    disk.close(fd)


def test_all_of_a_file_is_read_or_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345" * 10_000)

    assert Disk().read(path) == b"12345" * 10_000
    assert Disk().read(path, 3) == b"123"
    assert Disk().read(path, 0) == b""


def test_a_second_name_takes_nobodys_place(tmp_path: Path) -> None:
    disk, old, new = Disk(), tmp_path / "old", tmp_path / "new"
    old.write_text("content")

    disk.link(old, new)

    assert new.read_text() == "content"
    with pytest.raises(FileExistsError):
        disk.link(old, new)


def test_a_file_that_is_not_there_is_removed_already(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for _ in range(2):
        Disk().unlink(tmp_path / "file")

    assert list(tmp_path.iterdir()) == []


# --- what disks may answer ---


class Stingy(Disk):
    """Takes so many bytes at a time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.written = b""

    def write(self, fd: int, data: bytes) -> int:
        self.written += data[: self.most]
        return len(data[: self.most])


@pytest.mark.parametrize("most", [1, 3, 4, 10, 11])
def test_all_is_written_in_as_many_calls_as_it_takes(most: int) -> None:
    disk = Stingy(most)

    write_all(disk, 0, b"0123456789")

    assert disk.written == b"0123456789"


def test_a_disk_that_takes_nothing_is_a_failure() -> None:
    write_all(Stingy(0), 0, b"")

    with pytest.raises(OSError, match="the disk takes nothing") as caught:
        write_all(Stingy(0), 0, b"x")

    assert caught.value.errno == errno.EIO


class Failing(Disk):
    """Fails to close and to remove."""

    def close(self, fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def unlink(self, path: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_an_error_at_the_end_is_told_and_harms_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    let_go(Failing(), 7)
    discard(Failing(), tmp_path / "file")

    assert caplog.messages == [f"a file was closed with an error: {os.strerror(errno.EIO)}"]
