"""The thread that fsyncs the journal, so that the loop never waits for the disk.

It also notices files that others removed or changed, and closes the journals that are
over.  Must not know what a record holds.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from spalloc_server._saved.journal import Journal, Journals

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
    journals : Journals
        The journals, and what was written to them.
    on_failure : callable
        Called with the error, from this thread.  After a failure nobody knows which
        records are on disk, whatever later fsyncs say: the journal must be
        replaced.
    on_synced : callable
        Called without arguments, from this thread, when `Journals.synced` has
        risen.
    check : callable
        Called with the journals, from this thread, after each fsync; OSError if
        the saved state would not be found any more.
    delay : float
        Seconds from the first unsynced write until the fsync begins; may be set.
    """

    def __init__(
        self,
        journals: Journals,
        on_failure: Callable[[Exception], None],
        on_synced: Callable[[], None] = _nothing,
        check: Callable[[Sequence[Journal]], None] = check_all,
        delay: float = SECONDS_UNTIL_FSYNC,
    ) -> None:
        self._journals = journals
        self._on_failure = on_failure
        self._on_synced = on_synced
        self._check = check
        self.delay = delay
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, without a last fsync; harmless twice or before `start`."""
        with self._journals.changed:
            self._stopping = True
            self._journals.changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self._journals.close_over()

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
            self._journals.close_over()

    def _next(self) -> tuple[tuple[Journal, ...], int | None]:
        """Wait for something to do; returns the journals, and the position if they are dirty."""
        journals = self._journals
        changed = journals.changed
        with changed:
            changed.wait_for(
                lambda: journals.dirty or self._stopping or journals.over, _SECONDS_BETWEEN_LOOKS
            )
            if journals.dirty and self.delay:
                changed.wait_for(lambda: self._stopping, self.delay)
            if self._stopping:
                return (), None
            # Before the fsync: later writes are for the next one.
            position = journals.begin_fsync() if journals.dirty else None
            return journals.open, position

    def _sync(self, journals: tuple[Journal, ...], position: int | None) -> None:
        if not journals:
            return
        if position is not None:
            for journal in journals:
                journal.fsync()
        self._check(journals)
        if position is not None:
            self._journals.end_fsync(position)
            self._on_synced()
