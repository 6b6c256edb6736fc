"""Records on their way into the journals.

Owns which journals get each record: the newest generation's and, while the next one is put
into place, that one's too; and the records that a full disk has yet to take.  Calls come one
at a time.  Must not know what an outcome means.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import Any

from spalloc_server._saved import journal as _journal
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.journal import Journal
from spalloc_server._saved.saved_file import Names

log = logging.getLogger(__name__)

# Bytes of outcomes that wait for a full disk to have room again; beyond that a whole
# snapshot is cheaper than all of them.
_MOST_QUEUED = 4 << 20


class RecordQueue:
    """The journals that are written, with the records that are queued for them.

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
    written : int
        Records that were written to the newest journal.
    gap : bool
        Whether a record is in no journal, so that only a snapshot saves it; to be reset.
    """

    def __init__(self, names: Names, trouble: DiskTrouble) -> None:
        self._names = names
        self._trouble = trouble
        self.newest: Journal | None = None
        self.following: Journal | None = None
        self.written = 0
        self.gap = False

    @property
    def journals(self) -> list[Journal]:
        """The journals that get each record."""
        return [journal for journal in (self.newest, self.following) if journal is not None]

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
        journals = [journal for journal in self.journals if not journal.sealed]
        if not journals:
            self.gap = True
            return
        try:
            payload = _journal.encode(outcomes)
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

    def write(self) -> bool:
        """Write the records that are queued; whether there were any and none is left."""
        wrote = False
        for journal in self.journals:
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
        return wrote and not self.pending

    def write_what_fits(self) -> None:
        """Write the oldest of the queued records, as many as the disk takes."""
        journal = self.newest
        try:
            while journal is not None and journal.queued and not journal.sealed:
                journal.append(journal.queued[:1])
                self.written += 1
                del journal.queued[0]
        except OSError as e:
            self._trouble.met(f"cannot write the journal {self._names.journal}", e)

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
                self.write_what_fits()
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

    def publish_newest(self) -> None:
        """Give the newest journal its name, if it still has the temporary one.

        One that others have removed has no name any more: the generation that wants the temporary
        name takes its place, too.
        """
        newest, names = self.newest, self._names
        if newest is not None and newest.path == names.new_journal:
            with contextlib.suppress(FileNotFoundError):
                newest.publish(names.journal)

    def try_at_once(self) -> None:
        """Have the next `write` try, however lately the disk has failed."""
        for journal in self.journals:
            journal.stuck = False

    def _seal(self, journal: Journal) -> None:
        """Add no more to a journal; only a snapshot saves the outcomes to come."""
        journal.seal()
        self.gap = True
