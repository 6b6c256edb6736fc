"""One generation, a snapshot and its journal, on its way into place.

A crash or a power cut after any step leaves a pair that belongs together and
holds everything that was promised::

    1  write the new snapshot, temporary name       fsync
    2  the new journal has a temporary name         fsync, also of the directory
    3  rename the snapshot into place               fsync of the directory
    4  rename the journal into place                fsync of the directory
    5  remove older versions' snapshots             fsync of the directory

Until 3 the old pair counts; from then on the new one does, wherever its journal
lies.  Meanwhile each record is written to both journals.  At a clean stop there is
no new journal: step 4 removes the old one.

Owns these steps, and the thread that takes them while the loop goes on.  Must not
know what a state means.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from spalloc_server._saved import state_file
from spalloc_server._saved.disk import Disk, discard
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.leftovers import Leftovers
from spalloc_server._saved.lock_file import LockFile
from spalloc_server._saved.saved_file import Header, Names, StoreError
from spalloc_server._saved.state_file import State

log = logging.getLogger(__name__)


# A journal is replaced when it has grown to so many times its snapshot, within
# these bounds (bytes): rarely enough to cost nothing, soon enough for a quick start.
_JOURNAL_PER_SNAPSHOT = 4
SMALLEST_LIMIT = 2 << 20
LARGEST_LIMIT = 16 << 20


@dataclass(frozen=True)
class Place:
    """Where one configuration's generations go.

    `about` is the text of the lock, None if there is none.
    """

    disk: Disk
    names: Names
    version: str
    lock: LockFile
    about: str | None
    leftovers: Leftovers

    @property
    def own(self) -> Path:
        """The state file."""
        return self.names.state(self.version)


class Generation:
    """A snapshot and its journal, on their way into place.

    Parameters
    ----------
    place : Place
        Where they go.
    state : dict
        The whole state; not changed any more.
    header : Header
        The snapshot's.
    journal : Journal or None
        The new journal; None at a clean stop.
    position : int
        How many outcomes are in the state.

    Attributes
    ----------
    done : bool
        Whether `write` has ended.
    counts : bool
        Whether the snapshot is in place, so that this generation is the newest.
    failure : tuple or None
        What could not be done, as the beginning of a sentence, and the error.
    newest_seen : int
        Number of a generation that somebody put there meanwhile; 0 if none.
    size : int
        Bytes of the snapshot.
    file : tuple or None
        Inode and size of the snapshot.
    """

    def __init__(
        self,
        place: Place,
        state: State,
        header: Header,
        journal: Journal | None,
        position: int,
    ) -> None:
        self._place = place
        self._state = state
        self.header = header
        self.journal = journal
        self.position = position
        self.done = self.counts = False
        self.failure: tuple[str, Exception] | None = None
        self.newest_seen = 0
        self.size = 0
        self.file: tuple[int, int] | None = None

    @property
    def journal_limit(self) -> int:
        """Bytes at which its journal has grown long enough for another snapshot."""
        return min(max(_JOURNAL_PER_SNAPSHOT * self.size, SMALLEST_LIMIT), LARGEST_LIMIT)

    def write(self) -> None:
        """Take all steps, in any one thread; `failure` tells if that did not succeed."""
        try:
            self._write()
        except (OSError, StoreError) as e:
            self.failure = (f"cannot write a snapshot {self._place.own}", e)
        except Exception as e:
            # Our own mistake: the old generation goes on, which a crashed thread would not.
            log.exception("the state cannot be written")
            self.failure = ("the state cannot be written", e)
        if self.journal is not None and not self.counts:
            self.journal.remove()  # its name is the next generation's
        self.done = True

    def _write(self) -> None:
        place = self._place
        if place.about is not None and not place.lock.held:
            # Could not be had at the start, or is gone with the folder.
            place.lock.acquire(place.about)
        data = state_file.encode(self._state, self.header)
        self.size = len(data)
        self._put_snapshot(data)
        self.counts = True
        place.leftovers.pair = self.header.pair
        self._put_journal()
        place.leftovers.clear_up()

    def _put_snapshot(self, data: bytes) -> None:
        """Take steps 1 to 3, but for the last fsync."""
        place = self._place
        temporary = place.names.new_state(place.version)
        state_file.write(place.disk, temporary, data)
        try:
            if self.journal is not None:
                self.journal.fsync()
                # Its name, too, for it has records that are in no snapshot.
                place.disk.sync_directory(place.names.directory)
            self.newest_seen = place.leftovers.make_room()
            self.file = place.disk.look(temporary)
            if self.journal is not None and self.journal.sealed:
                # It has a gap: the generation must not count.
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            place.disk.rename(temporary, place.own)
        except (OSError, StoreError):
            discard(place.disk, temporary)
            raise

    def _put_journal(self) -> None:
        """Take the last fsync of step 3, and step 4."""
        names, disk = self._place.names, self._place.disk
        failure = None
        try:
            disk.sync_directory(names.directory)
        except OSError as e:
            failure = e  # the journal all the same: it serves if only the process dies
        if self.journal is None:
            disk.unlink(names.journal)
        else:
            self.journal.publish(names.journal)
        disk.sync_directory(names.directory)
        if failure is not None:
            raise failure


class SnapshotWriter:
    """The thread that writes generations.

    Parameters
    ----------
    on_done : callable
        Called without arguments, from this thread, when a generation is done.
    """

    def __init__(self, on_done: Callable[[], None]) -> None:
        self._on_done = on_done
        # Guards all below; also tells of any change to them.
        self._changed = threading.Condition()
        self._generation: Generation | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="snapshot-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def write(self, generation: Generation) -> None:
        """Have a generation written; the one before must be done."""
        with self._changed:
            assert self._generation is None
            self._generation = generation
            self._changed.notify_all()

    def stop(self) -> None:
        """End the thread when the generation that it writes is done; harmless twice."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._generation is not None or self._stopping)
                generation = self._generation
            if generation is None:
                return
            generation.write()
            with self._changed:
                self._generation = None
            self._on_done()
