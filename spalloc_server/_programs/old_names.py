"""Names past their day in one server: which words, which files, when, and for whom.

Owns the days for which names are kept, and the way from the thread that looks through files
to the loop, which looks through the ended jobs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

from spalloc_server._jobs import job_log
from spalloc_server._jobs.pseudonyms import Forgetter, Pseudonyms
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.forgetting import Forgetting, Words
from spalloc_server._saved.saved_file import Names

if TYPE_CHECKING:
    from spalloc_server._saved.event_log import EventLog
    from spalloc_server._saved.store import Store
    from spalloc_server.controller import Controller


class OldNames:
    """Has names forgotten.

    Parameters
    ----------
    wake : callable
        Called without arguments, from any thread, when the loop has to look.

    Attributes
    ----------
    days : int or None
        Days for which names are kept; None for ever.
    learned : deque
        Names that the loop has to forget, too, see `see_to`.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self.days: int | None = None
        self._wake = wake
        # From the thread of the events file.
        self.learned: deque[Forgetter] = deque()

    def forgetting(
        self, directory: Path, config_name: str, label: str, disk: Disk | None
    ) -> Forgetting:
        """Return the forgetting of names in the files of a server, see `SpallocServer`."""
        key_file = Names(directory, config_name, label).pseudonym_key
        return Forgetting(
            key_file, disk or Disk(), _make_words, job_log.past_files, self._note_words
        )

    def keep(self, days: int | None, events: EventLog | None) -> None:
        """Keep names for so many days from now on."""
        self.days = days
        if events is not None:
            events.keep_names(days)

    def _note_words(self, words: Words) -> None:
        """Have the loop forget names, too; in the thread of the events file."""
        self.learned.append(cast(Forgetter, words))
        self._wake()

    def see_to(self, controller: Controller, store: Store) -> None:
        """Forget the names of ended jobs if it is time; in the loop."""
        if self.learned:
            controller.upkeep.forget_names(self.learned.popleft())
            store.renew()


def _make_words(key: bytes, until: float, log_until: float) -> Words:
    return Forgetter(Pseudonyms(key), until, log_until)
