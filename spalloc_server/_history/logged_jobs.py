"""The jobs of an old log, while it is read: turns its lines into events.

Knows no log's format.  A log tells of the boards of a job line by line, so an allocation is
told when the next thing happens to the job, or anything a second later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from spalloc_server._history.places import FORGOTTEN, place_of

Board = tuple[int, int, int]
Event = dict[str, Any]

#: The machine of boards that nobody knows any more.
UNKNOWN_MACHINE = "(unknown)"
#: Seconds within which all boards of an allocation are switched on.
_TOGETHER = 1.0


@dataclass
class _Logged:
    """A job that has not ended."""

    state: int
    had_boards: bool = False
    began: float | None = None
    machine: str = UNKNOWN_MACHINE
    boards: set[Board] = field(default_factory=set)
    # Boards of which nobody knows where they are.
    elsewhere: set[tuple[str, int]] = field(default_factory=set)
    moves: int = 0


class LoggedJobs:
    """The jobs that have not ended yet, by number.

    Parameters
    ----------
    find_state : callable
        Called with the number of a job that this log has not told of, and the time: returns its
        state if another log did, else None.
    """

    def __init__(self, find_state: Callable[[int, float], int | None]) -> None:
        self._find_state = find_state
        self._open: dict[int, _Logged] = {}
        self._gathering: dict[int, _Logged] = {}

    def __contains__(self, job: int) -> bool:
        return job in self._open

    def created(self, when: float, job: int, about: Event) -> Iterator[Event]:
        """Tell of a new job; an old one of its number was lost."""
        if job in self._open:
            yield from self.ended(when, job, FORGOTTEN, "server", None)
        yield from self.settle(when)
        state = -max(1, round(when * 1e6))
        self._open[job] = _Logged(state)
        yield {"event": "created", "state": state, "job": job, "time": when, **about}

    def powered(
        self,
        when: float,
        job: int,
        machine: str | None,
        boards: Sequence[Board],
        elsewhere: Sequence[tuple[str, int]] = (),
    ) -> Iterator[Event]:
        """Gather boards that are switched on; only the first time is an allocation."""
        yield from self.settle(when)
        logged = self._known(when, job)
        if logged is None or (logged.had_boards and logged.began is None):
            return
        if logged.began is None:
            logged.began = when
            logged.had_boards = True
            self._gathering[job] = logged
        if machine is not None:
            logged.machine = machine
        logged.boards.update(boards)
        logged.elsewhere.update(elsewhere)

    def ready(self, when: float, job: int) -> Iterator[Event]:
        """Tell that a job's boards are ready."""
        yield from self._told(when, job, {"event": "ready"})

    def moved(self, when: float, job: int, fault: str) -> Iterator[Event]:
        """Tell that a job waits for other boards."""
        logged = self._known(when, job)
        if logged is not None:
            logged.moves += 1
            about = {"event": "moved", "attempt": logged.moves, "fault": fault}
            yield from self._told(when, job, about)
            logged.had_boards = False

    def ended(
        self, when: float, job: int, reason: str | None, by: str | None, host: str | None
    ) -> Iterator[Event]:
        """Tell that a job ended."""
        about = {"event": "ended", "reason": reason, "by": by, "by_host": host}
        yield from self._told(when, job, about)
        self._open.pop(job, None)

    def lost(self, when: float, first: int) -> Iterator[Event]:
        """Tell that the server forgot its jobs from a number on."""
        for job in [job for job in self._open if job >= first]:
            yield from self.ended(when, job, FORGOTTEN, "server", None)

    def settle(self, when: float | None = None) -> Iterator[Event]:
        """Tell of allocations of which no more boards can be heard at a time; None for all."""
        for job, logged in list(self._gathering.items()):
            began = logged.began
            if began is not None and (when is None or when - began > _TOGETHER):
                yield from self._allocated(job, logged)

    def _told(self, when: float, job: int, event: Event) -> Iterator[Event]:
        yield from self.settle(when)
        logged = self._known(when, job)
        if logged is None:
            return
        if job in self._gathering:
            yield from self._allocated(job, logged)
        yield {**event, "state": logged.state, "job": job, "time": when}

    def _known(self, when: float, job: int) -> _Logged | None:
        if job not in self._open:
            state = self._find_state(job, when)
            if state is None:
                return None
            self._open[job] = _Logged(state)
        return self._open[job]

    def _allocated(self, job: int, logged: _Logged) -> Iterator[Event]:
        del self._gathering[job]
        number = len(logged.boards) + len(logged.elsewhere)
        about: Event = {"place": None, "boards": number}
        if logged.boards and not logged.elsewhere:
            about = place_of(sorted(logged.boards))
        if number:
            yield {
                "event": "allocated",
                "state": logged.state,
                "job": job,
                "time": logged.began,
                "machine": logged.machine,
                **about,
            }
        logged.began = None
        logged.boards.clear()
        logged.elsewhere.clear()
