r"""Journals that are open: what happens from a snapshot on is written to them.

After the first line (see `_saved.saved_file`) one line of text for each commit::

    8d0f3a11 17 [["created",42,...],["allocated",42,...]]
    \______/ |  \_______________________________________/
     CRC-32   |   outcomes, JSON without line feeds
              number of the record in this journal, from 1

The checksum is over all that follows it and begins from the first line's, so
that no line passes for another journal's.  A record is whole or does not count,
hence all outcomes of a commit happened or none did.

Owns which journals get each record (the newest generation's and, while the next one is put
into place, that one's too), the records that a full disk has yet to take, and how much is
known to be on disk.  `_saved.journal_contents` reads.  Must not know what an outcome means.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from spalloc_server import _clock
from spalloc_server._saved.disk import Disk, create, discard, let_go, write_all
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.saved_file import ChangedError, Header, Names

log = logging.getLogger(__name__)

# Bytes of outcomes that wait for a full disk to have room again; beyond that a whole
# snapshot is cheaper than all of them.
_MOST_QUEUED = 4 << 20

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


class Journals:
    """The journals that get each record, and how much of them is on disk.

    Calls come one at a time, but for those of the thread that fsyncs (`Syncer`).

    Parameters
    ----------
    names : Names
        For the texts of trouble.
    trouble : DiskTrouble
        Told of failures; says when to try again.

    Attributes
    ----------
    newest : Journal or None
        The newest generation's.
    following : Journal or None
        That of the generation that is being put into place.
    open : tuple of Journal
        Those of the two that there are.
    written : int
        Records that were written to the newest journal.
    gap : bool
        Whether a record is in no journal, so that only a snapshot saves it; to be reset.
    synced : int
        The position (see `write`) up to which everything is on disk.
    last_fsync : float
        When everything written was last known to be on disk (monotonic seconds).
    unsynced_since : float or None
        Since when something written waits for an fsync (monotonic seconds).
    dirty : bool
        Whether something was written since the last fsync began.
    over : list of Journal
        To be closed by the thread.
    changed : Condition
        Guards the tuple `open` and all that follows it, and tells when the thread has work.
    """

    def __init__(self, names: Names, trouble: DiskTrouble) -> None:
        self._names = names
        self._trouble = trouble
        self.written = 0
        self.gap = False
        self.newest: Journal | None = None
        self.following: Journal | None = None
        self.open: tuple[Journal, ...] = ()
        self.synced = 0
        self.last_fsync = _clock.monotonic()
        self.unsynced_since: float | None = None
        # Of the last write.
        self._position = 0
        self.dirty = False
        self.over: list[Journal] = []
        self.changed = threading.Condition()

    # --- which journals ---

    def follow(self, journal: Journal | None) -> None:
        """Write records to the next generation's journal, too; None if it has none."""
        self._keep(self.newest, journal)

    def advance(self) -> None:
        """Go on with the next generation's journal alone."""
        self._keep(self.following, None)

    def fall_back(self) -> None:
        """Go on without the next generation's journal."""
        self._keep(self.newest, None)

    def end_newest(self) -> None:
        """Write no more to the newest journal, whose file stays."""
        self._keep(None, self.following)

    def _keep(self, newest: Journal | None, following: Journal | None) -> None:
        """Write to these; others are over, and closed when they are not being fsynced."""
        with self.changed:
            kept = tuple(journal for journal in (newest, following) if journal is not None)
            self.over += [journal for journal in self.open if journal not in kept]
            self.newest, self.following, self.open = newest, following, kept
            self.changed.notify_all()

    def publish_newest(self) -> None:
        """Give the newest journal its name, if it still has the temporary one.

        One that others have removed has no name any more: the generation that wants the temporary
        name takes its place, too.
        """
        newest, names = self.newest, self._names
        if newest is not None and newest.path == names.new_journal:
            with contextlib.suppress(FileNotFoundError):
                newest.publish(names.journal)

    # --- writing ---

    @property
    def pending(self) -> bool:
        """Whether records are queued."""
        newest, following = self.newest, self.following
        return bool(
            (newest is not None and newest.queued)
            or (following is not None and following.queued)
        )

    def add(self, outcomes: list[tuple[Any, ...]]) -> None:
        """Queue one record for each journal."""
        journals = [journal for journal in self.open if not journal.sealed]
        if not journals:
            self.gap = True
            return
        try:
            payload = encode(outcomes)
        except (TypeError, ValueError, RecursionError) as e:
            # Our own mistake: the journal cannot go on, but a snapshot may.
            log.exception("an outcome cannot be written")
            for journal in journals:
                self._seal(journal)
            self._trouble.met("an outcome cannot be written to the journal", e)
            return
        for journal in journals:
            journal.queued.append(payload)
            if journal.stuck and sum(map(len, journal.queued)) > _MOST_QUEUED:
                self._seal(journal)

    def write(self, position: int) -> bool:
        """Write the records that are queued; whether there were any and none is left.

        Parameters
        ----------
        position : int
            Of the last outcome that was queued; rises.
        """
        wrote = False
        for journal in self.open:
            if journal.queued and (not journal.stuck or self._trouble.due):
                try:
                    count = journal.write_queued()
                except OSError as e:
                    self._trouble.met(f"cannot write the journal {self._names.journal}", e)
                    if journal.sealed:
                        self._seal(journal)
                else:
                    wrote = True
                    if journal is self.newest:
                        self.written += count
        if not wrote or self.pending:
            return False
        self._note_written(position)
        return True

    def _note_written(self, position: int) -> None:
        # Before the look at the flag: the thread lowers the flag, then reads the position.
        self._position = position
        if not self.dirty:
            with self.changed:
                self.dirty = True
                if self.unsynced_since is None:
                    self.unsynced_since = _clock.monotonic()
                self.changed.notify_all()

    def _seal(self, journal: Journal) -> None:
        """Add no more to a journal; only a snapshot saves the outcomes to come."""
        journal.seal()
        self.gap = True

    # --- on disk ---

    def begin_fsync(self) -> int:
        """Return the position that an fsync from now on reaches; later writes need another."""
        with self.changed:
            self.dirty = False
            return self._position

    def end_fsync(self, position: int) -> None:
        """Note that everything up to a position is on disk: the journals were fsynced."""
        with self.changed:
            self.synced = max(self.synced, position)
            self.last_fsync = _clock.monotonic()
            # Records written during the fsync have waited less long than that.
            self.unsynced_since = self.last_fsync if self.dirty else None

    def note_synced(self, position: int) -> None:
        """Note that everything up to a position is on disk: a snapshot has it."""
        with self.changed:
            self.synced = max(self.synced, position)
            if self._position <= position:
                self.dirty = False
                self.unsynced_since = None
                self.last_fsync = _clock.monotonic()

    def close_over(self) -> None:
        """Close the journals that are over; their files stay."""
        with self.changed:
            over = list(self.over)
        for journal in over:
            journal.close()
        with self.changed:
            del self.over[: len(over)]

    # --- the last chance ---

    def try_at_once(self) -> None:
        """Have the next `write` try, however lately the disk has failed."""
        for journal in self.open:
            journal.stuck = False

    def save_the_rest(self, complete: bool, on_failure: Callable[[Exception], object]) -> None:
        """Have as much on disk as it takes, although the last generation failed.

        Parameters
        ----------
        complete : bool
            Whether the last snapshot is there for all that.
        on_failure : callable
            Told why the journal is not safe.
        """
        journal = self.newest
        lost = True
        if journal is not None:
            if not complete:
                self._write_what_fits(journal)
            try:
                journal.sync()
            except OSError as e:
                on_failure(e)
            lost = journal.sealed or bool(journal.queued)
        if complete:
            return
        if lost:
            log.error("everything since the state was last saved is lost")
        else:
            log.warning("the journal has the rest: the next start goes on from there")

    def _write_what_fits(self, journal: Journal) -> None:
        """Write the oldest of the queued records, as many as the disk takes."""
        try:
            while journal.queued and not journal.sealed:
                journal.append(journal.queued[:1])
                self.written += 1
                del journal.queued[0]
        except OSError as e:
            self._trouble.met(f"cannot write the journal {self._names.journal}", e)
