"""How many board-seconds the machines offered, from their sizes over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, select

from spalloc_server._history.tables import sizes


class Size(NamedTuple):
    """A machine's live boards from a time on."""

    since: float
    live: int


class Capacity:
    """The sizes of all machines over time.

    Parameters
    ----------
    by_machine : mapping
        {machine's key: sizes, oldest first}.
    until : float
        Unix time after which nothing is known.
    """

    def __init__(self, by_machine: Mapping[int, Sequence[Size]], until: float) -> None:
        self._by_machine = by_machine
        self._until = until

    @classmethod
    def read(cls, connection: Connection, until: float) -> Capacity:
        """Read the sizes from the database."""
        found: dict[int, list[Size]] = {}
        for row in connection.execute(select(sizes).order_by(sizes.c.since, sizes.c.id)):
            found.setdefault(row.machine_id, []).append(Size(row.since, row.live))
        return cls(found, until)

    def board_seconds(self, began: float, ended: float, machine: int | None = None) -> float:
        """Sum up the live boards' time.

        Parameters
        ----------
        began, ended : float
            Unix times.
        machine : int, optional
            Key of one machine; None for all.

        Returns
        -------
        float
            0 of times of which nothing is known.
        """
        ended = min(ended, self._until)
        keys = self._by_machine if machine is None else [machine]
        return sum(_one(self._by_machine.get(key, ()), began, ended) for key in keys)


def _one(sizes_of_machine: Sequence[Size], began: float, ended: float) -> float:
    total = 0.0
    for number, size in enumerate(sizes_of_machine):
        last = number + 1 == len(sizes_of_machine)
        until = ended if last else min(ended, sizes_of_machine[number + 1].since)
        total += size.live * max(0.0, until - max(began, size.since))
    return total
