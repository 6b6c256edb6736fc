"""Every call by which the store reads and changes the file system.

One small class, so that a test can record the calls, let any of them fail, or
cut the power after any of them.  Must not know what the files hold.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

#: Files are for the daemon's own user alone.
_MODE = 0o600


class Disk:
    """The real file system.  Every method may raise OSError."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file, made with mode 0600, or a folder.

        A file that is a symbolic link is refused: somebody else may have put it there.  A
        folder may be one, as administrators and systemd's DynamicUser make it.
        """
        if not flags & os.O_DIRECTORY:
            flags |= os.O_NOFOLLOW
        return os.open(path, flags | os.O_CLOEXEC, _MODE)

    def write(self, fd: int, data: bytes) -> int:
        """Write what goes in one call; returns how many bytes that was."""
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Wait until a file's content would survive a power cut."""
        os.fsync(fd)

    def is_at(self, fd: int, path: Path) -> bool:
        """Whether an open file is the one that has this name."""
        try:
            own = os.fstat(fd)
        except OSError:
            return False  # of a network's folder that was mounted anew since
        try:
            return os.path.samestat(own, path.lstat())
        except FileNotFoundError:
            return False

    def size(self, fd: int) -> int:
        """Return how many bytes an open file has."""
        return os.fstat(fd).st_size

    def look(self, path: Path) -> tuple[int, int] | None:
        """Return which file has a name, by its inode, and its size; None if there is none."""
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        return status.st_ino, status.st_size

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file off at `size` bytes."""
        os.ftruncate(fd, size)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        os.close(fd)

    def rename(self, old: Path, new: Path) -> None:
        """Put a file in another's place."""
        inode = old.lstat().st_ino
        try:
            old.replace(new)
        except OSError:
            # NFS may carry out a rename and answer the repeated packet with an error.
            if _exists(old) or not _exists(new) or new.lstat().st_ino != inode:
                raise

    def link(self, old: Path, new: Path) -> None:
        """Give a file a second name (FileExistsError if that is taken)."""
        new.hardlink_to(old)

    def unlink(self, path: Path) -> None:
        """Remove a file; one that is not there is fine."""
        path.unlink(missing_ok=True)

    def sync_directory(self, directory: Path) -> None:
        """Wait until renames and removals in a directory would survive a power cut."""
        fd = self.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(fd)
        except OSError as e:
            if e.errno != errno.EINVAL:  # not known to some network file systems
                raise
        finally:
            self.close(fd)

    def read(self, path: Path, limit: int | None = None) -> bytes:
        """Return a plain file's content, or its first `limit` bytes."""
        fd = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "not a plain file", str(path))
            return file.read(limit)


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def write_all(disk: Disk, fd: int, data: bytes) -> None:
    """Write all of `data`, in as many calls as it takes (one, unless the disk is full).

    Raises
    ------
    OSError
        If the disk does not take it; part of it may have been written.
    """
    while data:
        written = disk.write(fd, data)
        if not written:
            raise OSError(errno.EIO, "the disk takes nothing")
        data = data[written:]


def create(disk: Disk, path: Path) -> int:
    """Open a new file for appending, in place of what a crash may have left there."""
    disk.unlink(path)
    return disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)


def let_go(disk: Disk, fd: int) -> None:
    """Close a descriptor of which nothing more is expected.

    What matters was fsynced; and whatever the disk says now, the number is free.
    """
    try:
        disk.close(fd)
    except OSError as e:
        log.warning("a file was closed with an error: %s", e.strerror)


def discard(disk: Disk, path: Path) -> None:
    """Remove a file that is of no use; it may stay if the disk says so."""
    try:
        disk.unlink(path)
    except OSError:
        return
