"""Machines and requests as a simulation knows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Board = tuple[int, int, int]


class Shape(NamedTuple):
    """A machine, as far as a queue knows one.

    Attributes
    ----------
    name : str
    width, height : int
        Triads.
    tags : frozenset of str
    dead_boards : frozenset of (x, y, z)
    dead_links : frozenset of (x, y, z, link)
    """

    name: str
    width: int
    height: int
    tags: frozenset[str] = frozenset({"default"})
    dead_boards: frozenset[Board] = frozenset()
    dead_links: frozenset[Any] = frozenset()

    @property
    def live_boards(self) -> int:
        """Number of boards that are not dead."""
        return self.width * self.height * 3 - len(self.dead_boards)


class Submission(NamedTuple):
    """A request, the time at which it is made, and the time its user needs.

    Attributes
    ----------
    job_id : int
    arrival : float
        Seconds, on the clock of the simulation.
    args : tuple of int
        As in ``create_job``.
    kwargs : dict
        Machine, tags and limits, as in ``create_job``.
    life : float
        Seconds from getting boards to giving them back.
    owner : str
    gives_up : float or None
        Seconds after which its user withdraws a request that still waits; None never.
    """

    job_id: int
    arrival: float
    args: tuple[int, ...]
    kwargs: dict[str, Any]
    life: float
    owner: str = ""
    gives_up: float | None = None


class Served(NamedTuple):
    """A submission and its fate.

    Attributes
    ----------
    submission : Submission
    start : float or None
        When it got boards, seconds; None if it never did.
    machine : str or None
    boards : int
        Number of boards it got.
    overtook : bool
        Whether an older request, which this machine suits, was still waiting then.
    reason : str or None
        Why it never got boards.
    """

    submission: Submission
    start: float | None
    machine: str | None
    boards: int
    overtook: bool
    reason: str | None

    @property
    def wait(self) -> float | None:
        """Seconds from the request to the boards; None if it never got any."""
        return None if self.start is None else self.start - self.submission.arrival


def boards_asked(args: Sequence[int | None]) -> int:
    """Return how many boards a request takes, those of blocks rounded up to triads.

    Parameters
    ----------
    args : sequence of int or None
        As in ``create_job``: nothing, a number of boards, width and height, or a board's
        x, y and z.

    Returns
    -------
    int
        At least 1.
    """
    given = [number for number in args if number is not None]
    if len(given) == 2:
        return max(1, given[0] * given[1] * 3)
    if len(given) == 1 and given[0] > 1:
        return -(-given[0] // 3) * 3
    return 1
