"""Job ids of a time when the disk takes no records, left where the next start finds them.

A full disk takes no record of a job, but a note in the lock's file, whose block is there already.
A server that ends then without a stop has lost these jobs; their ids must not come again, since
clients may still ask for them.  Ids are noted many at a time: a disk in trouble is not asked for
each.  Must not know why the disk takes no records.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

from spalloc_server._saved.lock_file import LockFile
from spalloc_server._saved.recovery import Book, next_id_of

#: Ids that one note is for; those that are not given out are left out. # arbitrary
IDS_AT_A_TIME = 1000

_NOTE = "next id {}"
_IN_NOTE = re.compile(r"next id ([0-9]{1,15})")


class UnsavedIds:
    """The ids that were given out while the disk took no records.

    Parameters
    ----------
    lock : LockFile
        Its note tells of them; one of the last server stays until it is cleared.
    book : Book
        Tells which ids outcomes give out.
    """

    def __init__(self, lock: LockFile, book: Book) -> None:
        self._lock = lock
        self._book = book

    @property
    def next_id(self) -> int:
        """An id above all of them; 1 if there are none."""
        found = _IN_NOTE.fullmatch(self._lock.note)
        return int(found[1]) if found else 1

    def note(self, outcomes: Sequence[tuple[Any, ...]]) -> None:
        """Note the ids that outcomes give out, unless the disk does not take that either."""
        next_id = next_id_of(outcomes, self._book)
        if next_id > self.next_id:
            self._leave(_NOTE.format(next_id + IDS_AT_A_TIME))

    def clear(self) -> None:
        """Forget them: a state or a record on disk has the next id."""
        if self._lock.note:
            self._leave("")

    def _leave(self, note: str) -> None:
        with contextlib.suppress(OSError):  # the disk's trouble is known
            self._lock.leave_note(note)
