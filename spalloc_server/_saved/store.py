"""The durable store: one configuration's state on disk, kept up to date.

A *snapshot* is a whole state; the *journal* beside it holds the outcomes since then.
Both carry a generation.  `_saved.generation` puts the next one into place while the
loop goes on: the loop writes records, and waits for no fsync.

Disk trouble is never the caller's: it is logged, told by `Store.trouble`, and
met by trying again.  Must not know what a state or an outcome means.

Threads: `append` and `position` from any, under the controller's lock, and so all
else while a server runs; `Syncer` and `SnapshotWriter` have threads of their own,
and tell by `on_news` that `settle` has something to do.
"""

from __future__ import annotations

import errno
import functools
import logging
import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from spalloc_server._saved import state_file
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.generation import Generation, Place, SnapshotWriter
from spalloc_server._saved.journal import Journal, Journals
from spalloc_server._saved.leftovers import Leftovers
from spalloc_server._saved.lock_file import LockFile
from spalloc_server._saved.recovery import Book, Loaded, recover
from spalloc_server._saved.saved_file import ChangedError, Header, Names, StoreError
from spalloc_server._saved.state_file import State
from spalloc_server._saved.syncer import SECONDS_UNTIL_FSYNC, Syncer
from spalloc_server._saved.unsaved_ids import UnsavedIds

__all__ = ("DURABILITIES", "Loaded", "Store", "StoreError")

log = logging.getLogger(__name__)

#: What is on disk when a reply goes out: nothing, what a crash of the process
#: leaves (and within a second also a power cut), or what a power cut leaves.
DURABILITIES = ("process", "always", "none")

# With "none" nothing tells which ids were given out before a crash: so many are left out after
# one.  More than any server gives out between two stops; arbitrary.
_RESERVED_IDS = 1_000_000


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
        The file system.

    Attributes
    ----------
    snapshots : int
        How many were written, for metrics.
    news : bool
        Whether `settle` has something to do.
    on_news : callable or None
        Called without arguments, from one of the store's threads, when `news`
        has become true.

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
        self.on_news: Callable[[], object] | None = None
        self._lock = LockFile(self._disk, self._names.lock)
        self._unsaved_ids = UnsavedIds(self._lock, book)
        self._about: str | None = None
        self._trouble = DiskTrouble()
        self._leftovers: Leftovers | None = None
        self._begun = False
        self._closed = False
        # Number of the newest generation.
        self._number = 0
        self._limit = 0  # until the first generation
        self._journals = Journals(self._names, self._trouble)
        # The generation that is being put into place.
        self._next: Generation | None = None
        # Inode and size of the newest snapshot.
        self._file: tuple[int, int] | None = None
        # Set by any thread when journal and last snapshot do not suffice any more.
        self._needs_snapshot = False
        # How often that was found since the last one was begun; whether replies wait for the next.
        self._alarms = 0
        self._doubtful = False
        # Outcomes not yet taken by the loop, and how many it has taken.
        self._appended: list[tuple[Any, ...]] = []
        self._taken = 0
        # The value of `safe` before the last commit; and its value while only the next
        # generation can raise it.
        self._safe_before = 0
        self._frozen: int | None = None
        self.news = False
        # Notified when there is news, and when it was settled.
        self._changed = threading.Condition()
        self._syncer = Syncer(
            self._journals,
            self._on_fsync_failure,
            self._on_synced,
            self._check_files,
            self._sync_delay(),
        )
        self._writer = SnapshotWriter(self._tell_news)

    # --- starting ---

    def lock(self, about: str) -> None:
        """Take the state for this process, or change the text of the lock.

        Parameters
        ----------
        about : str
            The holder, for a second server that finds it locked: process, host, port.

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
        found.skip_unsaved(self._unsaved_ids.next_id)
        self._leftovers = Leftovers(self._disk, self._names, self._own, found, self._book.FORMAT)
        self._number = found.generation
        before = found.state if found.before is None else found.before
        traces = [path.name for path in found.traces]
        if self._lock.left_behind and found.state is None and found.next_id == 1:
            traces.append(self._names.lock.name)
        notes = list(found.notes)
        return Loaded(
            found.state, found.clean, found.next_id, notes, traces, before, found.records
        )

    def reject(self) -> None:
        """Set aside the files that `load` read: their state is inconsistent."""
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
        self._writer.start()
        self._take(self._count(position))
        # Raise here, while there is somebody to hear it.
        state_file.encode(state, self._header("state", "", state))
        self._write_now(state)

    # --- running ---

    @property
    def durability(self) -> str:
        """Which of `DURABILITIES`; may be set."""
        return self._durability

    @durability.setter
    def durability(self, durability: str) -> None:
        if _checked(durability) == self._durability:
            return
        self.commit()
        if "none" in (durability, self._durability):
            # The journal ends here, or has a gap.
            self._journals.end_newest()
            self.renew()
        self._durability = durability
        self._syncer.delay = self._sync_delay()

    def _sync_delay(self) -> float:
        return 0.0 if self._durability == "always" else SECONDS_UNTIL_FSYNC

    @property
    def trouble(self) -> str | None:
        """Why the state cannot be saved now; None if it can."""
        return self._trouble.text

    @property
    def records(self) -> int:
        """How many records were written, for metrics."""
        return self._journals.written

    @property
    def journal_bytes(self) -> int:
        """Size of the journal."""
        journal = self._journals.newest
        return 0 if journal is None else journal.size

    @property
    def last_fsync(self) -> float:
        """When everything written was last known to be on disk (monotonic seconds)."""
        return self._journals.last_fsync

    @property
    def unsynced_since(self) -> float | None:
        """Since when something written is not known to be on disk (monotonic); None if all is."""
        return self._journals.unsynced_since

    @property
    def position(self) -> int:
        """How many outcomes were appended so far."""
        return self._taken + len(self._appended)

    @property
    def safe(self) -> int:
        """How many outcomes, the oldest first, may be told and acted upon.

        They are saved as `durability` promises; or `trouble` says that the disk
        does not take them, and the server runs on at that risk.
        """
        if self._frozen is not None:
            return self._frozen
        if self._durability == "always" and self._begun and self._trouble.text is None:
            return self._journals.synced
        return self._taken

    @property
    def pending(self) -> bool:
        """Whether `commit` has something to do."""
        return bool(self._appended) or self._journals.pending

    @property
    def wants_snapshot(self) -> bool:
        """Whether `snapshot` should be called soon."""
        if not self._begun or self._next is not None:
            return False
        grown = self.journal_bytes > self._limit
        return (grown or self._needs_snapshot) and self._trouble.due

    @property
    def lacks_journal(self) -> bool:
        """Whether nothing but a snapshot, which may be tried now, saves the outcomes."""
        return not self._journal_serves() and self._durability != "none" and self.wants_snapshot

    def _journal_serves(self) -> bool:
        journal = self._journals.newest
        return journal is not None and not journal.sealed and not self._doubtful

    def append(self, outcome: tuple[Any, ...]) -> None:
        """Note an outcome, to be saved by the next `commit`.

        Parameters
        ----------
        outcome : tuple
            ``(kind, ...)``, of values that JSON has; not to be changed afterwards.
        """
        self._appended.append(outcome)

    def commit(self) -> None:
        """Write all that was appended, as one record; all of it counts or nothing.

        `safe` tells from when on it survives the death of the process (and with
        ``always`` a power cut): at once, but for ``always``, or while only a
        snapshot can save it.
        """
        if self.news:
            self.settle()
        self._safe_before = self.safe
        outcomes = self._take(len(self._appended))
        self._write()
        if outcomes and self._trouble.text is not None:
            self._unsaved_ids.note(outcomes)

    def snapshot(self, state: State, position: int | None = None) -> None:
        """Begin the next generation, which is put into place while the caller goes on.

        Parameters
        ----------
        state : dict
            The whole state; not to be changed afterwards.
        position : int, optional
            `position` when it was taken, so that outcomes appended since are
            kept; all appended so far if not given.
        """
        if not self._begun or self._next is not None:
            return
        if self._durability == "none" and not self._needs_snapshot:
            return
        self._take(self._count(position))
        self._write()  # into this generation, should the next one fail
        if not self._journal_serves() and self._durability != "none":
            self._frozen = min(self._safe_before, self.safe)
        generation = self._new_generation(state)
        if generation is None:
            self._frozen = None
        else:
            self._writer.write(generation)

    def settle(self) -> None:
        """Take over what the store's threads have done since."""
        self.news = False
        generation = self._next
        if generation is not None and generation.done:
            self._finish(generation)
        with self._changed:
            self._changed.notify_all()

    def wait_for_news(self, position: int, seconds: float) -> None:
        """Wait until `safe` has reached a position, or `settle` has something to do.

        Parameters
        ----------
        position : int
            To be reached.
        seconds : float
            To wait at most.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.news or self.safe >= position, seconds)

    def renew(self) -> None:
        """Have a generation begun soon, after the one that may be under way."""
        self._needs_snapshot = self._begun
        self._alarms += 1

    # --- stopping ---

    def close(self, state: State, clean: bool = True) -> None:
        """Save the whole state, remove the journal, release the lock.

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
            self._writer.stop()
            self.settle()
            self._syncer.stop()  # closes journals that are over, which gives room
            self._take(len(self._appended))
            self._journals.try_at_once()  # the last chance
            self._write()
            before = self.snapshots
            if not self._write_now(state, last=True, clean=clean):
                log.error("the state could not be saved as a whole: %s", self.trouble)
                self._journals.save_the_rest(self.snapshots > before, self._on_fsync_failure)
        self.abandon()

    def abandon(self) -> None:
        """Release everything and write nothing; harmless twice."""
        self._closed = True
        self._writer.stop()
        self.settle()
        self._journals.end_newest()
        self._syncer.stop()
        self._lock.release()

    # --- the journal ---

    def _count(self, position: int | None) -> int:
        """Return how many of the outcomes appended are in a state of that position."""
        count = len(self._appended) if position is None else position - self._taken
        if not 0 <= count <= len(self._appended):
            raise ValueError(f"position {position} is not from {self._taken} to {self.position}")
        return count

    def _take(self, count: int) -> list[tuple[Any, ...]]:
        """Make a record of the oldest outcomes, for each journal; returns them."""
        # Both lines are safe beside append() in another thread: only this one removes.
        batch = self._appended[:count]
        del self._appended[:count]
        self._taken += count
        if batch and self._begun and self._durability != "none":
            self._journals.add(batch)
            self._note_gap()
        return batch

    def _write(self) -> None:
        """Write the records that are queued."""
        wrote = self._journals.write(self._taken)
        if wrote and self._trouble.text and not self._needs_snapshot and self._next is None:
            self._trouble.over()
            self._unsaved_ids.clear()
        self._note_gap()

    def _note_gap(self) -> None:
        if self._journals.gap:
            self._journals.gap = False
            self._needs_snapshot = True

    # --- from the store's own threads ---

    def _tell_news(self) -> None:
        self.news = True
        with self._changed:
            self._changed.notify_all()
        if self.on_news is not None:
            self.on_news()

    def _on_synced(self) -> None:
        if self._durability == "always":
            self._tell_news()

    def _on_fsync_failure(self, error: Exception) -> None:
        # Linux tells of a lost page once and forgets it: a later fsync that succeeds means
        # nothing.
        self._alarms += 1
        self._needs_snapshot = True
        if self._durability == "always" or isinstance(error, ChangedError):
            self._doubtful = True
        self._trouble.met(f"the saved state {self._own} is not safe on disk", error)
        self._tell_news()

    def _check_files(self, journals: Sequence[Journal]) -> None:
        """Check that a start would find the journals and the snapshot that were written."""
        for journal in journals:
            try:
                journal.check()
            except ChangedError:
                if not self._is_replaced(journal):
                    raise
        # Twice, since the loop may begin or finish a generation meanwhile.
        if not self._has_its_snapshot() and not self._has_its_snapshot():
            raise ChangedError(errno.ENOENT, "others removed or changed it", str(self._own))

    def _is_replaced(self, journal: Journal) -> bool:
        """Whether a newer generation's journal has taken, or takes, the name of this one."""
        # In this order: a journal is open until the generation after it is in place.
        following = self._next
        if following is not None and following.counts and journal is not following.journal:
            return True
        return journal not in self._journals.open

    def _has_its_snapshot(self) -> bool:
        following = self._next
        newest = self._file
        expected = {newest, None if following is None else following.file} - {None}
        return newest is None or self._disk.look(self._own) in expected

    # --- the next generation ---

    def _header(
        self, kind: str, pair: str, state: State, *, last: bool = False, clean: bool = False
    ) -> Header:
        reserved = _RESERVED_IDS if self._durability == "none" and not last else 0
        return Header(
            kind,
            self._book.FORMAT,
            self._number + 1,
            pair,
            state["next_id"] + reserved,
            self._version,
            clean,
        )

    def _new_generation(
        self, state: State, *, last: bool = False, clean: bool = False
    ) -> Generation | None:
        """Return the next generation, its journal begun; None if the disk does not take it."""
        leftovers = self._leftovers
        assert leftovers is not None
        header = self._header("state", secrets.token_hex(8), state, last=last, clean=clean)
        journal = None
        try:
            # Free the temporary name, under which the newest journal may still lie.
            self._journals.publish_newest()
            leftovers.publish_journal()
            if not last and self._durability != "none":
                journal = Journal(
                    self._disk, self._names.new_journal, replace(header, kind="journal")
                )
        except OSError as e:
            self._needs_snapshot = True
            self._trouble.met(f"cannot write a journal {self._names.new_journal}", e)
            return None
        place = Place(
            self._disk, self._names, self._version, self._lock, self._about, leftovers
        )
        self._next = Generation(place, state, header, journal, self._taken)
        self._alarms = 0
        self._journals.follow(journal)
        return self._next

    def _write_now(self, state: State, *, last: bool = False, clean: bool = False) -> bool:
        """Put the next generation into place before returning; False if that failed."""
        generation = self._new_generation(state, last=last, clean=clean)
        if generation is None:
            return False
        generation.write()
        self._finish(generation)
        return generation.failure is None

    def _finish(self, generation: Generation) -> None:
        """Go on with a generation that is in place, or without it."""
        if generation.counts:
            self._file = generation.file
        self._frozen = None
        self._number = max(self._number, generation.newest_seen)
        if generation.counts:
            # The old journal is over, whatever else failed.
            self._number += 1
            self.snapshots += 1
            self._journals.advance()
            self._limit = generation.journal_limit
            self._doubtful = self._doubtful and bool(self._alarms)
        else:
            self._journals.fall_back()
        self._next = None  # after the file and the journals, since threads look at all of them
        self._needs_snapshot = bool(generation.failure or self._alarms)
        if generation.failure is not None:
            self._trouble.met(*generation.failure)
        elif not self._needs_snapshot:
            self._journals.note_synced(generation.position)
            self._trouble.over()
            self._unsaved_ids.clear()


@functools.cache
def _checked(durability: str) -> str:
    if durability not in DURABILITIES:
        raise ValueError(f"no durability {durability!r}; there are {', '.join(DURABILITIES)}")
    return durability
