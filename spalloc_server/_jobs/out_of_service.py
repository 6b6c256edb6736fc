"""Boards that are not handed out, as an operator is told of them.

Pure: makes rows for a running server, or of a saved book.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from spalloc_server._jobs.plain_machine import from_plain
from spalloc_server._jobs.quarantine import Case, Quarantine
from spalloc_server._jobs.records import MachineMap
from spalloc_server._places import Board, Place, frame_of

if TYPE_CHECKING:
    from spalloc_server._jobs.book import Book

#: Boards named in one line of text. # arbitrary
_MOST_NAMED = 4

#: The kind of a board on a frame that does not answer.
SILENT = "silent"


class OutOfService(NamedTuple):
    """A board that is not handed out.

    Attributes
    ----------
    machine : str
    board : (x, y, z)
    physical : (cabinet, frame, board)
    bmp : str
        Host of its frame's BMP.
    address : str or None
        The board's own host.
    kind : str
        "power_on", "fpga", "link", "power_off", "silent" or "operator".
    what : str
        The last event.
    since : float
        Unix time.
    faults : int
        How often it failed in the last day.
    tests : int
        How many tests it failed since it was taken out.
    next_test : float or None
        Seconds until the next test; None if there is none to come.
    job_id : int or None
        The job that still has it.
    """

    machine: str
    board: Board
    physical: Board
    bmp: str
    address: str | None
    kind: str
    what: str
    since: float
    faults: int
    tests: int
    next_test: float | None
    job_id: int | None


def rows(where: MachineMap, quarantine: Quarantine, now: float) -> Iterator[OutOfService]:
    """Yield the boards of one machine that are out of service, by board.

    Parameters
    ----------
    where : MachineMap
    quarantine : Quarantine
        Of the same machine.
    now : float
        Monotonic seconds.
    """
    cases = dict(quarantine.cases)
    for frame, since in quarantine.silent.items():
        for board in where.frame_boards(frame):
            if board not in cases:
                cases[board] = Case(board, SILENT, "its frame does not answer", since)
    for board, case in sorted(cases.items()):
        place = where.locate(board)
        if place is not None:
            yield _row(where, case, place, quarantine.faults_of(board, now), now)


def _row(where: MachineMap, case: Case, place: Place, faults: int, now: float) -> OutOfService:
    machine = where.machine
    return OutOfService(
        machine.name,
        case.board,
        place,
        machine.bmp_ips[frame_of(place)],
        machine.spinnaker_ips.get(case.board),
        case.kind,
        case.what,
        case.since,
        faults,
        case.tests,
        None if case.due is None else max(0.0, case.due - now),
        where.job_ids.get(case.board),
    )


def rows_of_book(book: Book, wall: float) -> list[OutOfService]:
    """Return the boards of a saved book that are out of service.

    Parameters
    ----------
    book : dict
        See `_jobs.book`.
    wall : float
        Unix time.
    """
    maps = {name: MachineMap(from_plain(plain)) for name, plain in book["machines"].items()}
    _note_owners(maps, book)
    found: list[OutOfService] = []
    for name, plain in book["quarantine"].items():
        found += rows(maps[name], Quarantine.from_plain(plain, 0.0, wall), 0.0)
    return found


def _note_owners(maps: Mapping[str, MachineMap], book: Mapping[str, Any]) -> None:
    for job_id, job in book["jobs"].items():
        if job["allocation"] is not None:
            boards = [(x, y, z) for x, y, z in job["allocation"]["boards"]]
            maps[job["allocation"]["machine"]].job_ids.update(dict.fromkeys(boards, job_id))


def counted(boards: Collection[Board]) -> str:
    """Name some boards in a line of text that is never long."""
    names = [str(board) for board in sorted(boards)]
    if len(names) == 1:
        return f"board {names[0]}"
    more = "" if len(names) <= _MOST_NAMED else ", ..."
    return f"{len(names)} boards {', '.join(names[:_MOST_NAMED])}{more}"
