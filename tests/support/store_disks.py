"""Disks for tests of the store: one that fails, one that remembers for a power cut."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spalloc_server._saved.disk import Disk

State = dict[str, Any]


class FakeBook:
    """A book of nothing but jobs and what became of them."""

    FORMAT = 3

    def empty(self) -> State:
        return {"next_id": 1, "jobs": {}}

    def apply(self, book: State, outcome: tuple[Any, ...], /) -> None:
        kind, job_id, *more = outcome
        if kind == "created":
            book["jobs"][job_id] = more[0]
            book["next_id"] = max(book["next_id"], job_id + 1)
        elif kind == "ended" and job_id in book["jobs"]:
            del book["jobs"][job_id]
        else:
            raise ValueError(outcome)

    def upgrade(self, book: State, from_format: int, /) -> State:
        if from_format < 2:
            raise ValueError(f"format {from_format}")
        return {**self.empty(), **book}


class QuickDisk(Disk):
    """A disk that does not wait for anything: no power cut comes while it is tested."""

    def fsync(self, fd: int) -> None:
        """Say that it is done."""


class FailingDisk(QuickDisk):
    """A disk that fails when told to.

    `failing` says whether the n-th call of anything, given its name, fails;
    `room` is how many more bytes it takes before it is full (None: plenty).
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.failing: Callable[[int, str], int | None] = lambda number, name: None
        self.room: int | None = None

    def fail(self, *names: str, error: int = errno.EIO) -> None:
        """Fail all calls of these names from now on; none if none is given."""
        self.failing = lambda number, name: error if name in names else None

    def _called(self, name: str, path: Path | None = None) -> None:
        self.calls.append(name)
        error = self.failing(len(self.calls) - 1, name)
        if error is not None:
            raise OSError(error, os.strerror(error), *([str(path)] if path else []))

    def open(self, path: Path, flags: int) -> int:
        self._called("open", path)
        return super().open(path, flags)

    def write(self, fd: int, data: bytes) -> int:
        self._called("write")
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self.room]
            self.room -= len(data)
        return super().write(fd, data)

    def fsync(self, fd: int) -> None:
        self._called("fsync")
        super().fsync(fd)

    def truncate(self, fd: int, size: int) -> None:
        self._called("truncate")
        if self.room is not None:
            self.room += max(0, os.fstat(fd).st_size - size)
        super().truncate(fd, size)

    def close(self, fd: int) -> None:
        """Close it in any case, as Linux does."""
        super().close(fd)
        self._called("close")

    def rename(self, old: Path, new: Path) -> None:
        self._called("rename", old)
        super().rename(old, new)

    def link(self, old: Path, new: Path) -> None:
        self._called("link", old)
        super().link(old, new)

    def unlink(self, path: Path) -> None:
        self._called("unlink", path)
        super().unlink(path)

    def sync_directory(self, directory: Path) -> None:
        self._called("sync_directory", directory)
        super().sync_directory(directory)

    def read(self, path: Path, limit: int | None = None) -> bytes:
        self._called("read", path)
        return super().read(path, limit)


class Op(NamedTuple):
    """One step: what was done, with which file (by inode), under which names."""

    what: str
    file: int = 0
    names: tuple[str, ...] = ()
    data: bytes = b""
    size: int = 0


IGNORED = -1


class RecordingDisk(QuickDisk):
    """A disk that does what it is told and writes it down.

    Files whose names end with `ignored` are of no interest.
    """

    def __init__(self, ignored: str) -> None:
        self._ignored = ignored
        self.ops: list[Op] = []
        self._files: dict[int, int] = {}
        self._directories: set[int] = set()

    def mark(self, what: str, number: int = 0) -> None:
        """Write down something that the disk has no part in (a reply)."""
        self.ops.append(Op(what, size=number))

    def open(self, path: Path, flags: int) -> int:
        new = bool(flags & os.O_CREAT) and not path.exists()
        fd = super().open(path, flags)
        if flags & os.O_DIRECTORY:
            self._directories.add(fd)
            return fd
        # Not the inode's number, which is soon used again.
        self._files[fd] = len(self.ops)
        if path.name.endswith(self._ignored):
            self._files[fd] = IGNORED
        elif new:
            self.ops.append(Op("name", self._files[fd], (path.name,)))
        return fd

    def _note(self, op: Op) -> None:
        if op.file != IGNORED:
            self.ops.append(op)

    def write(self, fd: int, data: bytes) -> int:
        written = super().write(fd, data)
        self._note(Op("write", self._files[fd], data=data[:written]))
        return written

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self._note(Op("truncate", self._files[fd], size=size))

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        if fd not in self._directories:
            self._note(Op("fsync", self._files[fd]))

    def close(self, fd: int) -> None:
        super().close(fd)
        self._directories.discard(fd)
        self._files.pop(fd, None)

    def rename(self, old: Path, new: Path) -> None:
        super().rename(old, new)
        self.ops.append(Op("rename", names=(old.name, new.name)))

    def link(self, old: Path, new: Path) -> None:
        super().link(old, new)
        self.ops.append(Op("link", names=(old.name, new.name)))

    def unlink(self, path: Path) -> None:
        there = path.exists()
        super().unlink(path)
        if there and not path.name.endswith(self._ignored):
            self.ops.append(Op("unlink", names=(path.name,)))

    def sync_directory(self, directory: Path) -> None:
        super().sync_directory(directory)
        self.ops.append(Op("sync_directory"))


Files = dict[str, bytes]

#: Name that goes, name that comes, and the file it comes to.
Change = tuple[str | None, str | None, int]


class PowerCut:
    """What a disk may hold after it was cut off from power.

    Parameters
    ----------
    before : dict
        The files that were there, safely, when the recording began.
    ops : sequence of Op
        What was done since.
    """

    def __init__(self, before: Files, ops: list[Op]) -> None:
        self._content: dict[int, bytes] = {}
        self._synced: dict[int, bytes] = {}
        self._names: dict[str, int] = {}
        self._names_synced: dict[str, int] = {}
        self._pending: list[Change] = []
        for number, (name, data) in enumerate(before.items()):
            file = -2 - number
            self._content[file] = self._synced[file] = data
            self._names[name] = self._names_synced[name] = file
        for op in ops:
            self._do(op)

    def _do(self, op: Op) -> None:
        if op.what == "write":
            self._content[op.file] += op.data
        elif op.what == "truncate":
            self._content[op.file] = self._content[op.file][: op.size]
        elif op.what == "fsync":
            self._synced[op.file] = self._content[op.file]
        elif op.what == "sync_directory":
            self._names_synced = dict(self._names)
            self._pending.clear()
        elif op.what in ("name", "rename", "link", "unlink"):
            self._rename(op)

    def _rename(self, op: Op) -> None:
        change: Change
        if op.what == "name":
            self._content[op.file] = self._synced[op.file] = b""
            change = (None, op.names[0], op.file)
        elif op.what == "unlink":
            change = (op.names[0], None, 0)
        else:
            file = self._names[op.names[0]]
            change = (op.names[0] if op.what == "rename" else None, op.names[1], file)
        self._change(self._names, change)
        self._pending.append(change)

    @staticmethod
    def _change(names: dict[str, int], change: Change) -> None:
        gone, new, file = change
        if gone is not None:
            names.pop(gone, None)
        if new is not None:
            names[new] = file

    def killed(self) -> Files:
        """Return the files if only the process died."""
        return {name: self._content[file] for name, file in self._names.items()}

    def outcomes(self) -> Iterator[Files]:
        """Return all that may be left.

        Any of the changes of names since the directory was last fsynced may be
        lost, whatever their order; of what was written to a file since its last
        fsync all, half or nothing is left, or zeros in its place.
        """
        seen = set()
        for kept in itertools.product((False, True), repeat=len(self._pending)):
            names = dict(self._names_synced)
            for change, keep in zip(self._pending, kept, strict=True):
                if keep:
                    self._change(names, change)
            for damage in ("nothing", "all", "half", "zeros", "zeros first"):
                files = {name: self._left(file, damage) for name, file in names.items()}
                key = tuple(sorted(files.items()))
                if key not in seen:
                    seen.add(key)
                    yield files

    def _left(self, file: int, damage: str) -> bytes:
        synced, content = self._synced[file], self._content[file]
        if not content.startswith(synced):  # cut off since: the old length, or the new
            return synced if damage == "nothing" else content
        new = content[len(synced) :]
        half = len(new) // 2
        return (
            synced
            + {
                "nothing": b"",
                "all": new,
                "half": new[:half],
                "zeros": bytes(len(new)),
                "zeros first": bytes(half) + new[half:],
            }[damage]
        )


def files_in(directory: Path) -> Files:
    """Return the content of all files in a directory, by name."""
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def put_files(directory: Path, files: Files) -> None:
    """Make a directory hold exactly these files, mode 0600."""
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    for name, data in files.items():
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(data)
