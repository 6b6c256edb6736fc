r"""A journal: what happened since the snapshot that it belongs to.

After the first line (see `_saved.saved_file`) one line of text for each commit::

    8d0f3a11 17 [["created",42,...],["allocated",42,...]]
    \______/ |  \_______________________________________/
     CRC-32   |   outcomes, JSON without line feeds
              number of the record in this journal, from 1

The checksum is over all that follows it and begins from the first line's, so
that no line passes for another journal's.  A record is whole or does not count,
hence all outcomes of a commit happened or none did.  Owns writing; `_saved.journal_contents`
reads.  Must not know what an outcome means.
"""

from __future__ import annotations

import errno
import json
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spalloc_server._saved.disk import Disk, create, discard, let_go, write_all
from spalloc_server._saved.saved_file import ChangedError, Header

log = logging.getLogger(__name__)

#: A file's size is looked at so often while the loop keeps writing to it; arbitrary.
_MOST_LOOKS = 20

# ASCII only, so a line feed or half a character cannot hide in it.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode(outcomes: Sequence[tuple[Any, ...]]) -> bytes:
    """Return the payload of one record.

    Raises
    ------
    TypeError, ValueError or RecursionError
        If an outcome holds what JSON cannot.
    """
    return _encode(outcomes).encode("ascii")


def _record(seed: int, number: int, payload: bytes) -> bytes:
    text = b"%d %s" % (number, payload)
    return b"%08x %s\n" % (zlib.crc32(text, seed), text)


class Journal:
    """A journal open for writing, with the records that the disk has yet to take.

    Begins its life under a temporary name; `publish` puts it in the place of
    the one before.  Writing is for one thread at a time; `sync` and `check` for any.

    Parameters
    ----------
    disk : Disk
        The file system.
    path : Path
        Where it lies at first.
    header : Header
        The snapshot's generation and pair.

    Attributes
    ----------
    size : int
        Bytes that count: up to the end of the last whole record.
    sealed : bool
        Whether nothing may be added any more, for it would follow a gap.
    queued : list of bytes
        Payloads of records to be written, oldest first.
    stuck : bool
        Whether the disk did not take them when they were last tried.

    Raises
    ------
    OSError
        If the disk does not take it; nothing is left behind then.
    """

    def __init__(self, disk: Disk, path: Path, header: Header) -> None:
        self._disk = disk
        # Its name; both names while it is renamed.
        self._paths: tuple[Path, ...] = (path,)
        line = header.line()
        self._seed = int(line[-9:-1], 16)
        self._records = 0
        self.size = len(line)
        self.sealed = False
        self.queued: list[bytes] = []
        self.stuck = False
        # Odd while something is written: then the file is longer than `size`, or shorter.
        self._writes = 0
        self._removed = False
        self._fd = create(disk, path)
        try:
            write_all(disk, self._fd, line)
        except OSError:
            self.remove()
            self.close()
            raise

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self._paths[-1]

    def publish(self, path: Path) -> None:
        """Take the name under which a start looks for it."""
        before = self._paths
        self._paths = (*before, path)
        try:
            self._disk.rename(before[-1], path)
        except OSError:
            self._paths = before
            raise
        self._paths = (path,)

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write records, all in one call.

        Parameters
        ----------
        payloads : sequence of bytes
            From `encode`.

        Raises
        ------
        OSError
            If the disk does not take them.  None of them counts then, and
            what was written of them is cut off again; if even that fails,
            `sealed` is True.
        """
        data = b"".join(
            _record(self._seed, number, payload)
            for number, payload in enumerate(payloads, self._records + 1)
        )
        self._writes += 1
        try:
            write_all(self._disk, self._fd, data)
            self.size += len(data)
        except OSError:
            self._cut_off()
            raise
        finally:
            self._writes += 1
        self._records += len(payloads)

    def _cut_off(self) -> None:
        try:
            self._disk.truncate(self._fd, self.size)
        except OSError:
            log.exception("a half-written record stays at the end of %s", self.path)
            self.sealed = True

    def write_queued(self) -> int:
        """Write the records that are queued, all or none; returns how many.

        Raises
        ------
        OSError
            If the disk does not take them; they stay queued.
        """
        self.stuck = True
        self.append(self.queued)
        self.stuck = False
        count = len(self.queued)
        self.queued.clear()
        return count

    def seal(self) -> None:
        """Add nothing any more: only another generation saves the records to come."""
        self.sealed = True
        self.stuck = False
        self.queued.clear()

    # --- any thread ---

    def fsync(self) -> None:
        """Wait until the file would survive a power cut (OSError if the disk fails)."""
        self._disk.fsync(self._fd)

    def sync(self) -> None:
        """Wait until all records would survive a power cut, and check that they would be found.

        Raises
        ------
        OSError
            If the disk fails, or as `check`.
        """
        self._disk.fsync(self._fd)
        self.check()

    def check(self) -> None:
        """Check that a start would find the file, and nothing in it but our records.

        Raises
        ------
        OSError
            If somebody removed the file, cut it or added to it, or moved or
            unmounted its folder.
        """
        if not any(self._disk.is_at(self._fd, path) for path in self._paths):
            if self._removed:
                return
            raise ChangedError(errno.ENOENT, "the file was removed or moved", str(self.path))
        for _ in range(_MOST_LOOKS):
            writes = self._writes
            size = self._disk.size(self._fd)
            if not writes % 2 and writes == self._writes:
                if size != self.size and not self.sealed:
                    why = f"others changed the file: it has {size} bytes instead of {self.size}"
                    raise ChangedError(errno.EIO, why, str(self.path))
                return

    def close(self) -> None:
        """Close the file, which stays."""
        let_go(self._disk, self._fd)

    def remove(self) -> None:
        """Remove the file of a journal that was never published, and is not closed yet.

        Its temporary name is free at once, for the journal of the next generation.
        """
        self._removed = True
        discard(self._disk, self.path)
