"""How long jobs waited for boards: counted, and as a span for jobs that still wait.

Spans are made of the waits of similar requests lately.  Similar are requests for the same
machine and the same size class (boards to the next power of two).  The span of a job leaves out
the waits that are shorter than its own so far.

The ends of the span are quantiles: 10 % of the waits lie below it, 10 % above.  Each job that
starts shows whether its span held, and moves the quantiles a little, so that in the long run
80 % of the spans hold (adaptive conformal inference, Gibbs and Candès 2021).

A span takes some 6 us, and 36 us where waits are sorted anew, at most once a minute for each
kind of request: that needs no process of its own.  Knows no clock.

A job's start is only put on a list, `ExpectedWaits.starts`, since nobody waits for the figures
then; it is counted when somebody asks for them, or a job ends.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

#: Waits that are remembered for each machine and size class. # arbitrary
MOST_WAITS = 200
#: Fewer waits than this are no history. # arbitrary
LEAST_WAITS = 10
#: The share of spans that should not hold, and the step by which one job moves the quantiles.
MISSES, STEP = 0.2, 0.02
#: Seconds for which sorted waits are used again (protocol: at most once a minute).
SECONDS_FRESH = 60.0
#: Upper bounds of the classes of waits, seconds; one more class is open above.
BOUNDS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 3 * 86400.0)
#: Upper bounds of the classes of sizes, boards; one more class is open above.
_SIZES = (1, 3, 24, 120)
#: Words for the classes of sizes.
SIZES = ("1", "2-3", "4-24", "25-120", "121+")


class Start(NamedTuple):
    """A job got its first boards: so many, of this machine, after so many seconds."""

    job_id: int
    machine: str
    boards: int
    waited: float


class Span(NamedTuple):
    """Seconds that similar requests waited, and the Unix time at which that was worked out."""

    low: float
    high: float
    made: float


class ExpectedWaits:
    """The waits of jobs that started, and spans for those that wait.

    Attributes
    ----------
    starts : list of Start
        Jobs that started, to be counted by `count_starts`.
    tally : WaitTally
        All waits that were counted.
    judged, held : int
        Number of counted jobs that had a span, and of those with a wait within it.
    """

    def __init__(self) -> None:
        self.starts: list[Start] = []
        self.tally = WaitTally()
        self.judged = self.held = 0
        self._misses = MISSES
        self._waits: dict[tuple[str, int], deque[float]] = {}
        # {(machines, size class): (Unix time, sorted waits)}.
        self._sorted: dict[tuple[frozenset[str], int], tuple[float, list[float]]] = {}
        # The first span of each job that waits.
        self._given: dict[int, Span] = {}

    def __bool__(self) -> bool:
        return bool(self._waits or self.starts)

    def count_starts(self) -> None:
        """Count the jobs in `starts`."""
        for start in self.starts:
            self._count(start)
        self.starts.clear()

    def note(self, machine: str, boards: int, waited: float) -> None:
        """Remember the wait of a job, seconds from its creation to its boards."""
        waits = self._waits.setdefault((machine, _size_class(boards)), deque(maxlen=MOST_WAITS))
        waits.append(max(0.0, waited))

    def _count(self, start: Start) -> None:
        """Remember a job's wait, and judge the span that it was given."""
        span = self._given.pop(start.job_id, None)
        if span is not None:
            held = span.low <= start.waited <= span.high
            self.judged += 1
            self.held += held
            self._misses += STEP * (MISSES - (not held))
            self._misses = min(0.5, max(0.0, self._misses))
        self.note(start.machine, start.boards, start.waited)
        self.tally.note(start.boards, start.waited)

    def forget(self, job_id: int) -> None:
        """Forget the span of a job that ends without having started."""
        self.count_starts()
        self._given.pop(job_id, None)

    def span(
        self, job_id: int, machines: Iterable[str], boards: int, waited: float, wall: float
    ) -> Span | None:
        """Return the span of a job that has waited for some seconds; None without history."""
        self.count_starts()
        made, waits = self._similar(frozenset(machines), _size_class(boards), wall)
        longer = waits[bisect_right(waits, waited) :]
        if len(longer) < LEAST_WAITS:
            return None
        tail = self._misses / 2
        low, high = _quantile(longer, tail), _quantile(longer, 1 - tail)
        span = Span(low, high, made)
        self._given.setdefault(job_id, span)
        return span

    def _similar(
        self, machines: frozenset[str], size_class: int, wall: float
    ) -> tuple[float, list[float]]:
        key = (machines, size_class)
        known = self._sorted.get(key)
        if known is None or not 0 <= wall - known[0] < SECONDS_FRESH:
            if len(self._sorted) > MOST_WAITS:
                self._sorted.clear()
            waits = sorted(
                wait for name in machines for wait in self._waits.get((name, size_class), ())
            )
            known = self._sorted[key] = wall, waits
        return known


def _size_class(boards: int) -> int:
    return max(0, boards - 1).bit_length()


def _quantile(ordered: list[float], share: float) -> float:
    """Return the value below which a share of some sorted values lies."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class WaitTally:
    """Counts of waits.

    Attributes
    ----------
    counts : dict
        {word of `SIZES`: [number for each of `BOUNDS`, and for all above]}.
    totals : dict
        {word of `SIZES`: seconds of all waits together}.
    """

    def __init__(self) -> None:
        self.counts = {size: [0] * (len(BOUNDS) + 1) for size in SIZES}
        self.totals = dict.fromkeys(SIZES, 0.0)

    def note(self, boards: int, seconds: float) -> None:
        """Count the wait of a job for some boards."""
        size = SIZES[bisect_left(_SIZES, boards)]
        self.counts[size][bisect_left(BOUNDS, max(0.0, seconds))] += 1
        self.totals[size] += max(0.0, seconds)
