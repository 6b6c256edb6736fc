"""The durable store: one configuration's state on disk, kept up to date.

A *snapshot* is a whole state; the *journal* beside it holds what happened since.
Both carry a generation.  Beginning the next one (*rotation*) goes like this; a
crash or a power cut after any step leaves a pair that belongs together and
holds everything that was promised::

    1  write new snapshot, temporary name     fsync
    2  write new journal, temporary name      fsync
    3  rename the snapshot into place         fsync of the directory
    4  rename the journal into place          fsync of the directory
    5  remove older versions' snapshots       fsync of the directory

Until 3 is on disk the old pair counts; from then on the old journal, still
there, belongs to no snapshot and is passed over.  At a clean stop there is no
new journal: step 4 removes the old one.

Disk trouble is never the caller's: it is logged, told by `Store.trouble`, and
met by trying again.  Must not know what a state or an outcome means.

Threads: `append` from any, under the controller's lock; `position` likewise;
all else from the loop.  `Syncer` has a thread of its own.
"""

from __future__ import annotations

import functools
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spalloc_server._saved import journal as _journal
from spalloc_server._saved import state_file
from spalloc_server._saved.disk import Disk, discard
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.journal import Journal, Syncer
from spalloc_server._saved.leftovers import Leftovers
from spalloc_server._saved.lock_file import LockFile
from spalloc_server._saved.recovery import Book, recover
from spalloc_server._saved.saved_file import Header, Names, StoreError
from spalloc_server._saved.state_file import State

__all__ = ("DURABILITIES", "Loaded", "Store", "StoreError")

log = logging.getLogger(__name__)

#: What is on disk when a reply goes out: nothing, what a crash of the process
#: leaves (and within a second also a power cut), or what a power cut leaves.
DURABILITIES = ("process", "always", "none")

# A journal is replaced when it has grown to so many times its snapshot, within
# these bounds (bytes): rarely enough to cost nothing, soon enough for a quick start.
_JOURNAL_PER_SNAPSHOT = 4
_SMALLEST_LIMIT = 2 << 20
_LARGEST_LIMIT = 16 << 20

# Outcomes that wait for a full disk to have room again; beyond that a whole
# snapshot is cheaper than all of them.
_MOST_UNWRITTEN = 4 << 20

# With "none" nothing tells which ids were given out before a crash: so many are left out after
# one.  More than any server gives out between two stops; arbitrary.
_RESERVED_IDS = 1_000_000


@dataclass(frozen=True)
class Loaded:
    """What a start found.

    `state` is None if there is none to go on from; `clean` tells whether the
    last server stopped in order, so that the hardware is as the state says;
    `next_id` is above every job id that anything readable tells; `notes` are
    sentences for the log.
    """

    state: State | None
    clean: bool
    next_id: int
    notes: list[str]


class Store:
    """Saved state of one configuration.

    Use: `lock`, `load`, `begin`, then `append` ... `commit` ..., now and then
    `snapshot`, at last `close`.

    Parameters
    ----------
    directory : Path
        Where the files are.
    config_name : str
        The configuration's file name, without directory.
    version : str
        The program's, part of the state file's name.
    durability : str
        One of `DURABILITIES`.
    label : str
        Sets file names apart (``simulated``).
    book : Book
        How outcomes change states.
    disk : Disk, optional
        What reads and writes.

    Attributes
    ----------
    snapshots, records : int
        How many were written, for metrics.
    on_trouble : callable or None
        Called without arguments, from the fsync thread, when `wants_snapshot`
        has changed there.

    Raises
    ------
    ValueError
        If there is no such durability.
    """

    def __init__(
        self,
        directory: Path | str,
        config_name: str,
        version: str,
        durability: str = "process",
        label: str = "",
        *,
        book: Book,
        disk: Disk | None = None,
    ) -> None:
        self._names = Names(Path(directory), config_name, label)
        self._version = version
        self._own = self._names.state(version)
        self._durability = _checked(durability)
        self._book = book
        self._disk = disk if disk is not None else Disk()
        self.snapshots = 0
        self.records = 0
        self.on_trouble: Callable[[], object] | None = None
        self._lock = LockFile(self._disk, self._names.lock)
        self._about: str | None = None
        self._trouble = DiskTrouble()
        self._leftovers: Leftovers | None = None
        self._begun = False
        self._closed = False
        self._generation = 0
        self._limit = _SMALLEST_LIMIT
        self._journal: Journal | None = None
        # Set by any thread when journal and last snapshot do not suffice any more.
        self._needs_snapshot = False
        # Outcomes not yet taken by the loop, and how many it has taken.
        self._appended: list[tuple[Any, ...]] = []
        self._taken = 0
        # Payloads of records not yet in the journal; held back while the disk is in trouble.
        self._unwritten: list[bytes] = []
        self._held = False
        self._syncer = Syncer(self._on_fsync_failure)

    # --- starting ---

    def lock(self, about: str) -> None:
        """Take the state for this process, or change what the lock says.

        Parameters
        ----------
        about : str
            Who holds it, for whoever finds it locked: process, host, port.

        Raises
        ------
        StoreError
            If another server holds it; the text names that one.
        """
        self._about = about
        try:
            self._lock.acquire(about)
        except OSError as e:
            self._trouble.met(f"cannot write the lock {self._names.lock}", e)

    def load(self, *, cold: bool = False) -> Loaded:
        """Find the newest state; no file is changed until `begin`.

        Parameters
        ----------
        cold : bool
            Do not read the state, only make sure that a new one may take its place.

        Raises
        ------
        StoreError
            If a file is of a newer format, or not to be trusted.
        """
        found = recover(self._names, self._version, self._book, self._disk, cold=cold)
        self._leftovers = Leftovers(self._disk, self._names, self._own, found, self._book.FORMAT)
        self._generation = found.generation
        return Loaded(found.state, found.clean, found.next_id, list(found.notes))

    def reject(self) -> None:
        """Have the files that `load` made its state of kept aside: that makes no sense."""
        assert self._leftovers is not None, "load() comes first"
        assert not self._begun
        self._leftovers.reject_state()

    def begin(self, state: State, position: int | None = None) -> None:
        """Begin a generation of our own: from here on outcomes are saved.

        Parameters
        ----------
        state : dict
            The whole state after recovery and configuration.
        position : int, optional
            `position` when it was taken; all appended so far if not given.

        Raises
        ------
        TypeError
            If the state holds anything but plain builtins.
        """
        assert self._leftovers is not None, "load() comes first"
        assert not self._begun
        self._begun = True
        self._needs_snapshot = True
        self._syncer.start()
        self._take(self._count(position))
        self._unwritten.clear()
        self._encoded(state)  # raise here, while there is somebody to hear it
        self._rotate(state)

    # --- running ---

    @property
    def durability(self) -> str:
        """Which of `DURABILITIES`; may be set (loop thread)."""
        return self._durability

    @durability.setter
    def durability(self, durability: str) -> None:
        if _checked(durability) == self._durability:
            return
        self.commit()
        if "none" in (durability, self._durability):
            # The journal ends here, or has a gap.
            self._drop_journal()
            self._needs_snapshot = self._begun
        self._durability = durability

    @property
    def trouble(self) -> str | None:
        """What keeps the state from being saved, if anything."""
        return self._trouble.text

    @property
    def journal_bytes(self) -> int:
        """Size of the journal."""
        return self._journal.size if self._journal is not None else 0

    @property
    def last_fsync(self) -> float:
        """When everything written was last known to be on disk (monotonic seconds)."""
        return self._syncer.last_fsync

    @property
    def unsynced_since(self) -> float | None:
        """Since when something written is not known to be on disk (monotonic); None if all is."""
        return self._syncer.unsynced_since

    @property
    def position(self) -> int:
        """How many outcomes were appended so far."""
        return self._taken + len(self._appended)

    @property
    def pending(self) -> bool:
        """Whether `commit` has something to do."""
        return bool(self._appended or self._unwritten)

    @property
    def wants_snapshot(self) -> bool:
        """Whether `snapshot` should be called soon."""
        if not self._begun:
            return False
        grown = self._journal is not None and self._journal.size > self._limit
        return (grown or self._needs_snapshot) and self._trouble.due

    @property
    def lacks_journal(self) -> bool:
        """Whether nothing but a snapshot, which may be tried now, saves what is committed."""
        if self._journal is not None and not self._journal.sealed:
            return False
        return self._durability != "none" and self.wants_snapshot

    def append(self, outcome: tuple[Any, ...]) -> None:
        """Note what happened, to be saved by the next `commit`.

        Parameters
        ----------
        outcome : tuple
            ``(kind, ...)``, of what JSON can say; not to be changed afterwards.
        """
        self._appended.append(outcome)

    def commit(self) -> None:
        """Write all that was appended, as one record; all of it counts or nothing.

        When this returns, it survives the death of the process (and with
        ``always`` a power cut), unless `trouble` says otherwise.
        """
        if self._appended:
            self._take(len(self._appended))
        if self._unwritten:
            self._write()

    def snapshot(self, state: State, position: int | None = None) -> None:
        """Begin the next generation.

        Parameters
        ----------
        state : dict
            The whole state.
        position : int, optional
            `position` when it was taken, so that outcomes appended since are
            kept; all appended so far if not given.
        """
        if not self._begun or (self._durability == "none" and not self._needs_snapshot):
            return
        self._take(self._count(position))
        if self._unwritten:
            self._write()  # into this generation, should the next one fail
        self._rotate(state)

    # --- stopping ---

    def close(self, state: State, clean: bool = True) -> None:
        """Save the whole state, remove the journal, let the lock go.

        Parameters
        ----------
        state : dict
            The whole state.
        clean : bool
            False if the hardware is not as the state says.

        Notes
        -----
        If the disk does not take it, `trouble` says so, and journal and
        snapshot stay for the next start.
        """
        if self._closed:
            return
        if self._begun:
            self._take(len(self._appended))
            if self._unwritten:
                self._held = False  # the last chance
                self._write()
            before = self.snapshots
            if not self._rotate(state, last=True, clean=clean):
                log.error("the state could not be saved as a whole: %s", self.trouble)
                saved = self.snapshots > before
                if not saved:
                    self._write_what_fits()
                self._sync()
                if not saved:
                    self._say_what_is_left()
        self.abandon()

    def _say_what_is_left(self) -> None:
        """Tell what a start will find although the last snapshot could not be written."""
        journal = self._journal
        if journal is None or journal.sealed or self._unwritten:
            log.error("what was done since the state was last saved is lost")
        else:
            log.warning("the journal has the rest: the next start goes on from there")

    def abandon(self) -> None:
        """Let go of everything and write nothing; harmless twice."""
        self._closed = True
        self._syncer.stop()
        self._drop_journal()
        self._lock.release()

    # --- the journal ---

    def _count(self, position: int | None) -> int:
        """Return how many of the outcomes appended are in a state of that position."""
        count = len(self._appended) if position is None else position - self._taken
        if not 0 <= count <= len(self._appended):
            raise ValueError(f"position {position} is not from {self._taken} to {self.position}")
        return count

    def _take(self, count: int) -> None:
        """Make a record of the oldest outcomes, if there is a journal for it."""
        # Both lines are safe beside append() in another thread: only the loop removes.
        batch = self._appended[:count]
        del self._appended[:count]
        self._taken += count
        if not batch or not self._begun or self._durability == "none":
            return
        journal = self._journal
        if journal is None or journal.sealed:
            self._needs_snapshot = True
            return
        try:
            self._unwritten.append(_journal.encode(batch))
        except (TypeError, ValueError, RecursionError) as e:
            # Our own mistake: the journal cannot go on, but a snapshot may.
            log.exception("an outcome cannot be written")
            self._seal(journal)
            self._trouble.met("an outcome cannot be written to the journal", e)
        if self._held and sum(map(len, self._unwritten)) > _MOST_UNWRITTEN:
            self._seal(journal)

    def _write(self) -> None:
        """Write the records that wait."""
        journal = self._journal
        if journal is None or (self._held and not self._trouble.due):
            return
        try:
            journal.append(self._unwritten)
        except OSError as e:
            self._held = True
            self._trouble.met(f"cannot write the journal {self._names.journal}", e)
            if journal.sealed:
                self._seal(journal)
            return
        self.records += len(self._unwritten)
        self._unwritten.clear()
        self._held = False
        if self._durability == "always":
            self._sync()
        else:
            self._syncer.dirty()
        if not self._needs_snapshot:
            self._trouble.over()

    def _write_what_fits(self) -> None:
        """Write the oldest of the records that wait, as many as the disk takes."""
        journal = self._journal
        try:
            while journal is not None and self._unwritten and not journal.sealed:
                journal.append(self._unwritten[:1])
                self.records += 1
                del self._unwritten[0]
        except OSError as e:
            self._trouble.met(f"cannot write the journal {self._names.journal}", e)

    def _seal(self, journal: Journal) -> None:
        """Add no more to a journal; only a snapshot saves what comes."""
        journal.sealed = True
        self._unwritten.clear()
        self._held = False
        self._needs_snapshot = True

    def _sync(self) -> None:
        if self._journal is not None:
            try:
                self._journal.sync()
                self._syncer.synced()
            except OSError as e:
                self._on_fsync_failure(e)

    def _on_fsync_failure(self, error: Exception) -> None:
        # Also from the fsync thread.  Linux tells of a lost page once and forgets it: a later
        # fsync that succeeds means nothing.
        self._needs_snapshot = True
        self._trouble.met(f"cannot fsync the journal {self._names.journal}", error)
        if self.on_trouble is not None:
            self.on_trouble()

    def _drop_journal(self) -> None:
        """Close the journal, whose file stays."""
        if self._journal is not None:
            self._syncer.detach()
            self._journal.close()
            self._journal = None
        self._unwritten.clear()
        self._held = False

    # --- the next generation ---

    def _rotate(self, state: State, *, last: bool = False, clean: bool = False) -> bool:
        """Begin the next generation; False if the disk does not take it."""
        try:
            self._write_generation(state, last=last, clean=clean)
        except (OSError, StoreError) as e:
            self._needs_snapshot = True
            self._trouble.met(f"cannot write a snapshot {self._own}", e)
            return False
        except (TypeError, ValueError, RecursionError) as e:
            # Our own mistake: the journal goes on, which a crashed loop would not.
            log.exception("the state cannot be written")
            self._needs_snapshot = True
            self._trouble.met("the state cannot be written", e)
            return False
        self._trouble.over()
        return True

    def _header(self, kind: str, pair: str, state: State, last: bool, clean: bool) -> Header:
        reserved = _RESERVED_IDS if self._durability == "none" and not last else 0
        return Header(
            kind,
            self._book.FORMAT,
            self._generation + 1,
            pair,
            state["next_id"] + reserved,
            self._version,
            clean,
        )

    def _encoded(
        self, state: State, pair: str = "", *, last: bool = False, clean: bool = False
    ) -> bytes:
        return state_file.encode(state, self._header("state", pair, state, last, clean))

    def _write_generation(self, state: State, *, last: bool, clean: bool) -> None:
        """Carry out the steps that the module's text shows; OSError if one fails."""
        names, disk, leftovers = self._names, self._disk, self._leftovers
        assert leftovers is not None
        if self._about is not None and not self._lock.held:
            # Could not be had at the start, or is gone with the folder.
            self._lock.acquire(self._about)
        pair = secrets.token_hex(8)
        data = self._encoded(state, pair, last=last, clean=clean)
        temporary = names.new_state(self._version)
        state_file.write(disk, temporary, data)
        journal = None
        try:
            if not last and self._durability != "none":
                header = self._header("journal", pair, state, last, clean)
                journal = Journal(disk, names.new_journal, header)
            self._generation = max(self._generation, leftovers.make_room())
            disk.rename(temporary, self._own)
        except (OSError, StoreError):
            if journal is not None:
                journal.discard()
            discard(disk, temporary)
            raise
        # The new snapshot counts from here, so the old journal is over, whatever comes.
        self._generation += 1
        leftovers.pair = pair
        self.snapshots += 1
        self._drop_journal()
        self._limit = min(max(_JOURNAL_PER_SNAPSHOT * len(data), _SMALLEST_LIMIT), _LARGEST_LIMIT)
        self._needs_snapshot = True
        self._replace_journal(journal)
        leftovers.clear_up()
        self._needs_snapshot = False

    def _replace_journal(self, journal: Journal | None) -> None:
        """Put the new journal, or none, into the old one's place."""
        names, disk = self._names, self._disk
        failure = None
        try:
            disk.sync_directory(names.directory)
        except OSError as e:
            failure = e  # the journal all the same: it serves if only the process dies
        if journal is None:
            disk.unlink(names.journal)
        else:
            try:
                journal.publish(names.journal)
            except OSError:
                journal.discard()
                raise
            self._journal = journal
            self._syncer.attach(journal)
        disk.sync_directory(names.directory)
        if failure is not None:
            raise failure
        self._syncer.synced()


@functools.cache
def _checked(durability: str) -> str:
    if durability not in DURABILITIES:
        raise ValueError(f"no durability {durability!r}; there are {', '.join(DURABILITIES)}")
    return durability
