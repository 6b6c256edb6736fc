"""The lock against a second server on the same state.

A kernel lock (`flock`) on a file that says who holds it: it ends with the
process, however that ends.  Must not know what is locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from spalloc_server._disk import Disk, discard, write_all
from spalloc_server._saved_file import StoreError

#: The disk's fault rather than another's claim.
_DISK_TROUBLE = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})


class LockFile:
    """One lock; free at first.

    Parameters
    ----------
    disk : Disk
        What opens and writes.
    path : Path
        The file, made when needed and removed on release.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process holds it."""
        return self._fd is not None

    def acquire(self, about: str) -> None:
        """Take the lock, or change what it says of its holder.

        Parameters
        ----------
        about : str
            One line for whoever finds it locked: process, host, port.

        Raises
        ------
        StoreError
            If another process holds it, or it belongs to another user.
        OSError
            If the disk is full, read-only or broken.
        """
        while self._fd is None:
            fd = self._open()
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                holder = os.pread(fd, 1000, 0).decode(errors="replace").strip()
                self._disk.close(fd)
                raise StoreError(
                    f"the state is in use by {holder or 'another server'} (lock {self._path})"
                ) from e
            except OSError as e:
                self._disk.close(fd)
                raise StoreError(f"cannot lock {self._path} ({e.strerror})") from e
            if self._still_there(fd):
                self._fd = fd
            else:
                self._disk.close(fd)  # its last holder removed it; take the next one
        self._say(self._fd, about)

    def _open(self) -> int:
        try:
            return self._disk.open(self._path, os.O_RDWR | os.O_CREAT)
        except OSError as e:
            closed = e.errno == errno.EACCES and not os.path.lexists(self._path)
            if closed or e.errno in _DISK_TROUBLE:
                raise  # so that the server runs on, and says so
            raise StoreError(f"cannot open the lock {self._path} ({e.strerror})") from e

    def _still_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._path.stat())
        except FileNotFoundError:
            return False

    def _say(self, fd: int, about: str) -> None:
        self._disk.truncate(fd, 0)
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(self._disk, fd, about.encode() + b"\n")

    def release(self) -> None:
        """Remove the file and let the lock go; harmless twice."""
        if self._fd is not None:
            discard(self._disk, self._path)
            self._disk.close(self._fd)
            self._fd = None
