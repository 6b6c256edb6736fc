"""The figures by which schedulings are compared: waits, utilisation, overtakes.

Pure arithmetic over the results of a simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from spalloc_server._history.submissions import Served, Submission


class Waits(NamedTuple):
    """How long some jobs waited.

    Attributes
    ----------
    jobs : int
    mean, p95, longest : float
        Seconds; 0 without jobs.  Of the jobs, 95 % waited no longer than `p95`.
    """

    jobs: int
    mean: float
    p95: float
    longest: float


class Figures(NamedTuple):
    """A run in numbers.

    Attributes
    ----------
    all, small, big : Waits
    utilisation : float
        Part of the boards' time that was used, from the first job counted to the last
        arrival; 0 to 1.
    overtakes : int
        Jobs that got boards while an older request waited for the same machine.
    refused : int
        Jobs that never got boards.
    """

    all: Waits
    small: Waits
    big: Waits
    utilisation: float
    overtakes: int
    refused: int


def waits_of(seconds: Iterable[float]) -> Waits:
    """Sum up waits, given in seconds."""
    ordered = sorted(seconds)
    if not ordered:
        return Waits(0, 0.0, 0.0, 0.0)
    number = len(ordered)
    p95 = ordered[-(-number * 95 // 100) - 1]
    return Waits(number, sum(ordered) / number, p95, ordered[-1])


def figures(
    served: Collection[Served],
    live_boards: int,
    is_big: Callable[[Submission], bool],
    counted: Callable[[Submission], bool] = lambda _: True,
) -> Figures:
    """Sum up a run.

    Parameters
    ----------
    served : collection of Served
    live_boards : int
        Of all machines.
    is_big : callable
        Whether a request is a big one.
    counted : callable
        Whether a job counts at all, e.g. to leave out those of the beginning.

    Returns
    -------
    Figures
    """
    chosen = [each for each in served if counted(each.submission)]
    started = [each for each in chosen if each.wait is not None]
    small = [each.wait or 0.0 for each in started if not is_big(each.submission)]
    big = [each.wait or 0.0 for each in started if is_big(each.submission)]
    return Figures(
        waits_of([*small, *big]),
        waits_of(small),
        waits_of(big),
        _utilisation(served, [each.submission.arrival for each in chosen], live_boards),
        sum(each.overtook for each in started),
        len(chosen) - len(started),
    )


def _utilisation(
    served: Iterable[Served], arrivals: Collection[float], live_boards: int
) -> float:
    """Part of the time of all boards, between the first and the last arrival, that was used."""
    if not arrivals or live_boards < 1:
        return 0.0
    first, last = min(arrivals), max(arrivals)
    if first == last:
        return 0.0
    used = 0.0
    for each in served:
        if each.start is not None:
            end = each.start + each.submission.life
            used += each.boards * max(0.0, min(last, end) - max(first, each.start))
    return used / (live_boards * (last - first))
