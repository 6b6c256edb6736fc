"""Numbers of events, by which readers know what they have heard already.

The first number of each commit is journalled with its outcomes, so that a start can make
the same events again, with the same numbers.  A start begins at the Unix time in
microseconds, or above the last number known if that is higher: a number never comes
twice, whatever was lost.

Guarded by the controller's lock.  Must not know files, threads or clients; the words of an
event are those of `_jobs.events`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from spalloc_server import __version__, _clock
from spalloc_server._jobs.book import Book, Outcome
from spalloc_server._jobs.events import Event, EventMaker

log = logging.getLogger(__name__)

#: Numbers stay below this: each has an exact double.
_MOST = 2**53


class EventNumbers:
    """Gives the events of a controller their numbers.

    Parameters
    ----------
    book : dict or None
        The state before `records`: that of the snapshot; None for a cold start.
    records : sequence of sequences
        The outcomes that the journal has since, one sequence for each commit.
    last_filed : int
        Number of the last event in the events file; 0 if there is none.

    Attributes
    ----------
    last : int
        Number of the last event so far.
    unfiled : list of dict
        Events of before the start that the file lacks, then those of the start.
    """

    def __init__(
        self, book: Book | None, records: Iterable[Sequence[Outcome]], last_filed: int
    ) -> None:
        self._cold = book is None
        plain = None if book is None else book.get("events")
        self._state: int | None = None if plain is None else plain["state"]
        self.last = max(last_filed, 0 if plain is None else plain["last"])
        self.unfiled: list[Event] = [] if plain is None else list(plain["unfiled"])
        if book is not None and plain is not None:
            self._tell_again(book, records)
        self.unfiled = [event for event in self.unfiled if event["number"] > last_filed]
        self._fresh: list[Event] = []
        self._first = 0
        self._maker: EventMaker

    def _tell_again(self, book: Book, records: Iterable[Sequence[Outcome]]) -> None:
        """Tell the events of the journal with the numbers that it has for them."""
        maker = EventMaker(book)
        for outcomes in records:
            made: list[Event] = []
            for outcome in outcomes:
                if outcome[0] != "events":
                    made += _made(maker, outcome, 0.0)
                    continue
                _, first, count, time = outcome
                for number, event in enumerate(made[:count], first):
                    event["time"] = event["time"] or time
                    self.unfiled.append(self._numbered(event, number))
                self.last = max(self.last, first + count - 1)
                made = []

    def begin(self, book: Book) -> None:
        """Tell of the start, on top of a whole state; from here on outcomes are noted."""
        self._maker = EventMaker(book)
        known = self.last or None
        now = _clock.wall()
        number = min(max(self.last + 1, int(now * 1e6)), _MOST - 1)
        first_of_all = self._state is None
        if self._state is None:
            self._state = number
        started = {
            "event": "started",
            "time": now,
            "last": known,
            "cold": self._cold,
            "version": __version__,
        }
        told = [started, *(self._maker.all_machines(now) if first_of_all else ())]
        for event in told:
            self.unfiled.append(self._numbered(event, number))
            self.last = number
            number += 1

    def _numbered(self, event: Event, number: int) -> Event:
        return {"number": number, "state": self._state, **event}

    def note(self, outcome: Outcome) -> None:
        """Give the events of an outcome the next numbers."""
        made = _made(self._maker, outcome, _clock.wall())
        if not made:
            return
        if not self._fresh:
            self._first = self.last + 1
        for event in made:
            self.last += 1
            self._fresh.append(self._numbered(event, self.last))

    def take(self) -> tuple[Outcome, list[Event]] | None:
        """Hand over the events since the last call, with the outcome that journals them.

        Returns
        -------
        (outcome, events) or None
            ``("events", first number, count, time)``; None if there are none.
        """
        fresh, self._fresh = self._fresh, []
        if not fresh:
            return None
        return ("events", self._first, len(fresh), _clock.wall()), fresh

    def plain(self, unfiled: list[Event]) -> dict[str, Any]:
        """Return the numbers, and the events that the file may lack, for the book."""
        return {"last": self.last, "state": self._state, "unfiled": unfiled}


def _made(maker: EventMaker, outcome: Outcome, wall: float) -> list[Event]:
    """Return the events of an outcome; none if our own mistake prevents it."""
    try:
        return maker.make(outcome, wall)
    except Exception:
        log.exception("nobody is told of an outcome: %.200r", outcome)
        return []
