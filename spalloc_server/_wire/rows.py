"""The objects of the protocol, made from the controller's tuples.

The rows of jobs and machines are asked for again and again: each is kept, with
its JSON, as long as the tuple that it was made from stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from spalloc_server._wire.messages import Row, Rows

if TYPE_CHECKING:
    from spalloc_server.controller import (
        JobMachineInfoTuple,
        JobStateTuple,
        JobTuple,
        MachineTuple,
    )

#: Rows that are kept one by one. # arbitrary, more than there can be jobs
_MOST_KEPT = 16_384

Told = TypeVar("Told", bound="tuple[Any, ...]")


def state_row(state: JobStateTuple) -> Row:
    """Return the answer of ``get_job_state``."""
    return Row(state._asdict())


def info_row(info: JobMachineInfoTuple) -> dict[str, Any]:
    """Return the answer of ``get_job_machine_info``."""
    row = info._asdict()
    if row["connections"] is not None:
        row["connections"] = sorted(row["connections"].items())
        row["boards"] = sorted(row["boards"])
    return row


def job_row(job: JobTuple) -> Row:
    """Return an object of ``list_jobs``."""
    row = Row(job._asdict())
    row["kwargs"] = {
        name: sorted(value) if name == "tags" else value for name, value in job.kwargs.items()
    }
    if job.boards is not None:
        row["boards"] = sorted(job.boards)
    return row


def machine_row(machine: MachineTuple) -> Row:
    """Return an object of ``list_machines``."""
    row = Row(machine._asdict())
    for name in ("tags", "dead_boards", "dead_links"):
        row[name] = sorted(row[name])
    return row


class RowCache(Generic[Told]):
    """Rows that are made anew only if their tuple is another one.

    Parameters
    ----------
    make : callable
        tuple → row.
    """

    def __init__(self, make: Callable[[Told], Row]) -> None:
        self._make = make
        self._kept: dict[Any, tuple[Told, Row]] = {}
        self._rows = Rows()

    def row(self, key: Any, told: Told) -> Row:
        """Return the row of one tuple, the last one's if `key` had that very tuple before."""
        known = self._kept.get(key)
        if known is None or known[0] is not told:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            known = self._kept[key] = told, self._make(told)
        return known[1]

    def rows(self, told: Iterable[Told]) -> Rows:
        """Return the rows of some tuples, known by their first fields; others are forgotten.

        As long as all of them stay the same it is the same array, so that its JSON is made
        once, however many ask.
        """
        kept, before = {}, self._kept
        rows, made = Rows(), 0
        for each in told:
            known = before.get(each[0])
            if known is None or (known[0] is not each and known[0] != each):
                known = each, self._make(each)
                made += 1
            kept[each[0]] = known
            rows.append(known[1])
        if made or len(rows) != len(self._rows) or list(kept) != list(before):
            self._rows = rows
        self._kept = kept
        return self._rows
