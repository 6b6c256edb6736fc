"""The calls to the file system, where it does not answer as one would think."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from spalloc_server._saved.disk import Disk


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


@pytest.mark.parametrize(("error", "fails"), [(errno.EINVAL, False), (errno.EIO, True)])
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
