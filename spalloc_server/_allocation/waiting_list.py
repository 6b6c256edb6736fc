"""Boards that rest after use.

Owns the resting allocations and the times at which they began to rest.  Must not
know boards; time is read through `_clock`.
"""

from bisect import insort
from collections import deque
from typing import NamedTuple

from spalloc_server import _clock

#: The boards of an allocation: ("triads" or "boards", x, y, width, height) for a
#: block, ("board", x, y, z) for a single board.
Footprint = tuple[str, int, int, int] | tuple[str, int, int, int, int]


class _Entry(NamedTuple):
    """An allocation that rests; entries sort by the time it began."""

    since: float
    allocation_id: int
    footprint: Footprint


class WaitingList:
    """Allocations that rest.

    Attributes
    ----------
    entries : deque
        The allocations, longest resting first; to be looked at only.
    """

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()

    def add(self, allocation_id: int, footprint: Footprint, rested: float = 0.0) -> None:
        """Put an allocation on the list.

        Parameters
        ----------
        allocation_id : int
            Not on the list.
        footprint : tuple
            Its boards.
        rested : float
            Seconds that it has been resting already.
        """
        entry = _Entry(_clock.monotonic() - rested, allocation_id, footprint)
        if self.entries and entry < self.entries[-1]:
            insort(self.entries, entry)
        else:
            self.entries.append(entry)

    def take_due(self, seconds: float) -> list[tuple[int, Footprint]]:
        """Remove allocations that have rested long enough.

        Parameters
        ----------
        seconds : float
            How long that is.

        Returns
        -------
        list of (allocation_id, footprint)
            Longest resting first.
        """
        due: list[tuple[int, Footprint]] = []
        if not self.entries:
            return due
        now = _clock.monotonic()
        while self.entries and now - self.entries[0].since >= seconds:
            _, allocation_id, footprint = self.entries.popleft()
            due.append((allocation_id, footprint))
        return due

    def next_due(self, seconds: float) -> float | None:
        """When the next allocation is due.

        Parameters
        ----------
        seconds : float
            How long allocations rest.

        Returns
        -------
        float or None
            Monotonic seconds; None if nothing rests.
        """
        return self.entries[0].since + seconds if self.entries else None

    def find(self, allocation_id: int) -> Footprint | None:
        """Return the boards of a resting allocation; None if it is not here."""
        for entry in self.entries:
            if entry.allocation_id == allocation_id:
                return entry.footprint
        return None

    def listing(self) -> list[tuple[int, Footprint, float]]:
        """List (allocation_id, footprint, seconds rested), longest first."""
        now = _clock.monotonic()
        return [
            (allocation_id, footprint, now - since)
            for since, allocation_id, footprint in self.entries
        ]
