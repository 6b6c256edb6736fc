"""The named points at which a test kills the server.

They lie between two steps of saving, where a crash hurts most.  `CrashingDisk` finds them by
the calls that it gets, so the program takes the same way to the disk as without it.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from spalloc_server._saved.disk import Disk

#: Name of each point, and the step that was just done there.
POINTS = {
    "before-write": "outcomes are decided, nothing of them is in the journal",
    "mid-write": "half of the record is in the journal",
    "before-reply": "the record is written, no reply has gone out",
    "mid-snapshot": "half of the new snapshot is in its temporary file",
    "before-rename": "new snapshot and new journal lie complete under temporary names",
    "after-rename": "the new snapshot has its name, the directory is not yet fsynced",
    "during-rotation": "the new snapshot is safe, the old journal still has its name",
}

Hook = Callable[[str], None]

_JOURNAL = re.compile(r"\..*\.journal(\.tmp)?")
_SNAPSHOT = re.compile(r"\..*\.state\.[^.]+(\.[^.]+)*\.tmp")


class CrashingDisk(Disk):
    """A disk that tells when a point is passed.

    A record, or a snapshot, is taken in two parts, as by a disk that is nearly full.

    Parameters
    ----------
    at_point : callable
        Called with the name of each of `POINTS` in passing, from any thread.
    """

    def __init__(self, at_point: Hook) -> None:
        self._at_point = at_point
        # Descriptors of journals and of snapshots; those of files with nothing in them yet;
        # those of which half of a record or snapshot is written.
        self._journals: set[int] = set()
        self._snapshots: set[int] = set()
        self._empty: set[int] = set()
        self._halfway: set[int] = set()
        self._renamed = False

    def open(self, path: Path, flags: int) -> int:
        """Open a file, and remember which kind it is."""
        fd = super().open(path, flags)
        for known in (self._journals, self._snapshots, self._empty, self._halfway):
            known.discard(fd)
        if flags & os.O_CREAT:
            if _JOURNAL.fullmatch(path.name):
                self._journals.add(fd)
                self._empty.add(fd)
            elif _SNAPSHOT.fullmatch(path.name):
                self._snapshots.add(fd)
        return fd

    def write(self, fd: int, data: bytes) -> int:
        """Write half of a record or snapshot, and at the next call the rest."""
        if fd in self._empty:
            self._empty.discard(fd)  # its first line
            return super().write(fd, data)
        if fd in self._halfway:
            self._halfway.discard(fd)
            written = super().write(fd, data)
            if fd in self._journals:
                self._at_point("before-reply")
            return written
        if fd not in self._journals and fd not in self._snapshots:
            return super().write(fd, data)
        if fd in self._journals:
            self._at_point("before-write")
        written = super().write(fd, data[: len(data) // 2 or 1])
        self._halfway.add(fd)
        self._at_point("mid-write" if fd in self._journals else "mid-snapshot")
        return written

    def rename(self, old: Path, new: Path) -> None:
        """Put a file in another's place; a snapshot passes two points."""
        if not _SNAPSHOT.fullmatch(old.name):
            super().rename(old, new)
            return
        self._at_point("before-rename")
        super().rename(old, new)
        self._renamed = True
        self._at_point("after-rename")

    def sync_directory(self, directory: Path) -> None:
        """Wait for renames; the first time after a snapshot's, a point is passed."""
        super().sync_directory(directory)
        if self._renamed:
            self._renamed = False
            self._at_point("during-rotation")


def kill_at(text: str) -> Hook:
    """Return a hook that ends this process with SIGKILL at one of the points.

    Parameters
    ----------
    text : str
        ``name`` or ``name:n``: at the n-th time that the point is passed (1-based).

    Raises
    ------
    ValueError
        If there is no such point, or n is not a positive number.
    """
    name, _, number = text.partition(":")
    if name not in POINTS:
        raise ValueError(f"no crash point {name!r}; there are {', '.join(POINTS)}")
    left = int(number or "1")
    if left < 1:
        raise ValueError(f"crash point {text!r}: the number must be at least 1")

    def hook(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook
