"""The lock against a second server on the same state.

A kernel lock (`flock`) on a file that says who holds it: it ends with the
process, however that ends.  A second line of the file is a note to the next
holder, if this one ends without a release.  It is written over the block that the
file has already, so a full disk takes it, too.  Must not know what is locked.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

from spalloc_server._saved.disk import Disk, discard, let_go, write_all
from spalloc_server._saved.saved_file import StoreError

#: The disk's fault rather than another's claim.
_DISK_TROUBLE = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})

#: Other servers that end just then may take it away so often; arbitrary.
_MOST_TRIES = 100


class LockFile:
    """One lock; free at first.

    Parameters
    ----------
    disk : Disk
        What opens and writes.
    path : Path
        The file, made when needed and removed on release.

    Attributes
    ----------
    note : str
        The note in the file: that of the last holder, until there is another.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._fd: int | None = None
        # Whether it was held before: then it is the disk's fault if it cannot be had.
        self._had = False
        # The first line, and the second one without its line feed.
        self._about = self.note = ""
        # Guards the descriptor and the words: the lock may be taken again, in the thread of
        # snapshots, while the loop leaves a note.
        self._changing = threading.Lock()
        #: Whether a server that did not stop in order has left it behind.
        self.left_behind = False

    @property
    def held(self) -> bool:
        """Whether this process holds it, under the name that others look for.

        Raises
        ------
        OSError
            If the disk does not tell.
        """
        return self._fd is not None and self._disk.is_at(self._fd, self._path)

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
            If the disk is full, read-only or broken, or a lock that was held
            is gone with its folder.
        """
        with self._changing:
            self._acquire(about)

    def _acquire(self, about: str) -> None:
        for _ in range(_MOST_TRIES):
            if self.held:
                self._about = about
                self._write()
                return
            # Gone with its folder; or its last holder removed it just before it was locked.
            self._let_go()
            self._fd = self._locked()
            if not self._had:
                self._read(self._fd)
            self._had = True
        self._let_go()
        raise OSError(errno.ESTALE, "the lock does not stay where it is made", str(self._path))

    def _locked(self) -> int:
        """Return the file, open and locked, though perhaps not under its name any more."""
        fd = self._open()
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            holder = _lines(fd)[0].strip()
            let_go(self._disk, fd)
            raise StoreError(
                f"the state is in use by {holder or 'another server'} (lock {self._path})"
            ) from e
        except OSError as e:
            let_go(self._disk, fd)
            raise StoreError(f"cannot lock {self._path} ({e.strerror})") from e
        return fd

    def _open(self) -> int:
        try:
            return self._disk.open(self._path, os.O_RDWR | os.O_CREAT)
        except OSError as e:
            closed = e.errno == errno.EACCES and not os.path.lexists(self._path)
            if closed or e.errno in _DISK_TROUBLE or self._had:
                raise  # so that the server runs on, and says so
            raise StoreError(f"cannot open the lock {self._path} ({e.strerror})") from e

    def leave_note(self, note: str) -> None:
        """Change the note to the next holder; nothing happens if the lock is not held.

        Parameters
        ----------
        note : str
            One short line.

        Raises
        ------
        OSError
            If the disk does not take it.
        """
        with self._changing:
            self.note = note
            if self._fd is not None:
                self._write()

    def _read(self, fd: int) -> None:
        """Take over what the last holder left."""
        self.left_behind = self._disk.size(fd) > 0
        self.note = _lines(fd)[1]

    def _write(self) -> None:
        fd = self._fd
        assert fd is not None
        lines = [self._about, self.note] if self.note else [self._about]
        text = "".join(f"{line}\n" for line in lines).encode()
        # Over the old words, which are cut off last: on a full disk a file that was emptied
        # would stay empty.
        os.lseek(fd, 0, os.SEEK_SET)
        write_all(self._disk, fd, text)
        self._disk.truncate(fd, len(text))

    def release(self) -> None:
        """Remove the file and let the lock go; harmless twice."""
        try:
            ours = self.held
        except OSError:
            ours = False  # it stays, and is no lock any more
        if ours:
            discard(self._disk, self._path)
        self._let_go()

    def _let_go(self) -> None:
        if self._fd is not None:
            fd, self._fd = self._fd, None
            let_go(self._disk, fd)


def _lines(fd: int) -> tuple[str, str]:
    """Return the first and the second line of a file."""
    text = os.pread(fd, 1000, 0).decode(errors="replace")
    first, _, rest = text.partition("\n")
    return first, rest.partition("\n")[0]
