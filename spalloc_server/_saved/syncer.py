"""The thread that fsyncs the journal, so that the loop never waits for the disk.

It also notices files that others removed or changed, and closes the journals that are
over.  Must not know what a record holds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from spalloc_server import _clock
from spalloc_server._saved.journal import Journal

log = logging.getLogger(__name__)

#: Seconds from a write until its fsync begins; half of the promised second.
SECONDS_UNTIL_FSYNC = 0.5

#: Seconds between two looks at the files while nothing is written. # arbitrary
_SECONDS_BETWEEN_LOOKS = 20.0


def _nothing() -> None:
    """Tell nobody."""


def check_all(journals: Sequence[Journal]) -> None:
    """Check that all journals would be found."""
    for journal in journals:
        journal.check()


class Syncer:
    """The thread that fsyncs journals soon after each write.

    Parameters
    ----------
    on_failure : callable
        Called with the error, from this thread.  After a failure nobody knows which
        records are on disk, whatever later fsyncs say: the journal must be
        replaced.
    on_synced : callable
        Called without arguments, from this thread, when `synced` has risen.
    check : callable
        Called with the journals, from this thread, after each fsync; OSError if
        the saved state would not be found any more.
    delay : float
        Seconds from the first unsynced write until the fsync begins; may be set.

    Attributes
    ----------
    synced : int
        The position (see `dirty`) up to which everything is on disk.
    last_fsync : float
        When everything written was last known to be on disk (monotonic seconds).
    unsynced_since : float or None
        Since when something written waits for an fsync (monotonic seconds).
    """

    def __init__(
        self,
        on_failure: Callable[[Exception], None],
        on_synced: Callable[[], None] = _nothing,
        check: Callable[[Sequence[Journal]], None] = check_all,
        delay: float = SECONDS_UNTIL_FSYNC,
    ) -> None:
        self._on_failure = on_failure
        self._on_synced = on_synced
        self._check = check
        self.delay = delay
        self.synced = 0
        self.last_fsync = _clock.monotonic()
        self.unsynced_since: float | None = None
        self._written = 0
        # Guards all below; also tells of any change to them.
        self._changed = threading.Condition()
        self._journals: tuple[Journal, ...] = ()
        # Journals to be closed.
        self._over: list[Journal] = []
        self._dirty = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, without a last fsync; harmless twice or before `start`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._close_over()

    # --- by one thread at a time ---

    def watch(self, *journals: Journal) -> None:
        """Fsync these journals from now on, and no others; returns at once."""
        with self._changed:
            self._journals = journals

    def retire(self, journal: Journal) -> None:
        """Have a journal closed when it is not being fsynced; its file stays."""
        with self._changed:
            self._journals = tuple(kept for kept in self._journals if kept is not journal)
            self._over.append(journal)
            self._changed.notify_all()

    def dirty(self, position: int) -> None:
        """Note that something was written.

        Parameters
        ----------
        position : int
            Of the last outcome that was written; rises.
        """
        # Before the look at the flag: the thread lowers the flag, then reads the position.
        self._written = position
        if not self._dirty:
            with self._changed:
                self._dirty = True
                if self.unsynced_since is None:
                    self.unsynced_since = _clock.monotonic()
                self._changed.notify_all()

    def note_synced(self, position: int) -> None:
        """Note that everything up to a position is on disk: a snapshot has it."""
        with self._changed:
            self.synced = max(self.synced, position)
            if self._written <= position:
                self._dirty = False
                self.unsynced_since = None
                self.last_fsync = _clock.monotonic()

    # --- the thread ---

    def _run(self) -> None:
        while not self._stopping:
            journals, position = self._next()
            try:
                self._sync(journals, position)
            except Exception as e:
                if not isinstance(e, OSError):
                    log.exception("the fsync of the journal failed")
                self._on_failure(e)
            self._close_over()

    def _next(self) -> tuple[tuple[Journal, ...], int | None]:
        """Wait for something to do; returns the journals, and the position if they are dirty."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._dirty or self._stopping or self._over, _SECONDS_BETWEEN_LOOKS
            )
            if self._dirty and self.delay:
                self._changed.wait_for(lambda: self._stopping, self.delay)
            if self._stopping:
                return (), None
            if not self._dirty:
                return self._journals, None
            # Before the fsync: later writes are for the next one.
            self._dirty = False
            return self._journals, self._written

    def _sync(self, journals: tuple[Journal, ...], position: int | None) -> None:
        if not journals:
            return
        if position is not None:
            for journal in journals:
                journal.fsync()
        self._check(journals)
        if position is None:
            return
        with self._changed:
            self.synced = max(self.synced, position)
            self.last_fsync = _clock.monotonic()
            # Records written during the fsync have waited less long than that.
            self.unsynced_since = self.last_fsync if self._dirty else None
        self._on_synced()

    def _close_over(self) -> None:
        with self._changed:
            over = list(self._over)
        for journal in over:
            journal.close()
        with self._changed:
            del self._over[: len(over)]
