"""A letter and a colour for each job that has boards.

A job keeps its mark for life, so that nothing changes colour while people look; the lowest
free mark is given next.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection

#: How many colours the style sheet has: classes ``c0`` and up.
COLOURS = 8


class Marks:
    """Gives out marks: integers from 0, each held by one job at a time."""

    def __init__(self) -> None:
        self._marks: dict[int, int] = {}
        self._free: list[int] = []

    def update(self, job_ids: Collection[int]) -> None:
        """Give marks to the jobs that hold boards now, and take back all others.

        Parameters
        ----------
        job_ids
            Of the jobs that hold boards, in the order in which marks are given.
        """
        gone = self._marks.keys() - set(job_ids)
        for job_id in gone:
            heapq.heappush(self._free, self._marks.pop(job_id))
        for job_id in job_ids:
            if job_id not in self._marks:
                mark = heapq.heappop(self._free) if self._free else len(self._marks)
                self._marks[job_id] = mark

    def of(self, job_id: int) -> int | None:
        """Return a job's mark, or None if it holds no boards."""
        return self._marks.get(job_id)


def letters(mark: int) -> str:
    """Return a mark in letters: A to Z, then AA, AB and so on.

    Parameters
    ----------
    mark
        0 or more.
    """
    text = ""
    mark += 1
    while mark:
        mark, digit = divmod(mark - 1, 26)
        text = chr(ord("A") + digit) + text
    return text
