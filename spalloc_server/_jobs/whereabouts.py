"""Answers ``where_is``: one board or chip, in every way of naming it.

Looks into the machines' maps and the jobs that it is given; owns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spalloc_server._checks.values import MAX_TEXT, shown, whole_number
from spalloc_server._jobs.job import _Job
from spalloc_server._jobs.machine_map import MachineMap
from spalloc_server._places import Board, Place

Maps = Mapping[str, MachineMap]
Jobs = Mapping[int, _Job]
Answer = dict[str, Any]


def where_is(maps: Maps, jobs: Jobs, keywords: Mapping[str, Any]) -> Answer | None:
    """Find a board or chip.

    Parameters
    ----------
    maps : mapping
        {machine name: its map}.
    jobs : mapping
        {job id: job}.
    keywords : mapping
        One of the sets of `_FINDERS`; None means not given.

    Returns
    -------
    dict or None
        machine, logical, physical, chip, board_chip, job_id, job_chip; None if
        there is no such thing.

    Raises
    ------
    TypeError
        For any other set of keywords, or a value that is not a whole number.
    """
    keywords = {name: value for name, value in keywords.items() if value is not None}
    finder = _FINDERS.get(frozenset(keywords))
    if finder is None:
        names = ", ".join(keywords)
        if len(names) > MAX_TEXT:
            names = f"{names[:MAX_TEXT]}..."
        raise TypeError(f"Invalid arguments: {names}")
    for name, value in keywords.items():
        if name not in ("machine", "address"):
            whole_number(name, value)
        elif not isinstance(value, str):
            raise TypeError(f"{name} must be text, not {shown(value)}")
    if "machine" in keywords and keywords["machine"] not in maps:
        return None
    return finder(maps, jobs, **keywords)


def _logical(maps: Maps, jobs: Jobs, *, machine: str, x: int, y: int, z: int) -> Answer | None:
    where = maps[machine]
    board = (x % where.machine.width, y % where.machine.height, z)
    return _describe(where, jobs, board)


def _physical(
    maps: Maps, jobs: Jobs, *, machine: str, cabinet: int, frame: int, board: int
) -> Answer | None:
    where = maps[machine]
    found = where.at(Place((cabinet, frame, board)))
    return None if found is None else _describe(where, jobs, found)


def _chip(maps: Maps, jobs: Jobs, *, machine: str, chip_x: int, chip_y: int) -> Answer | None:
    where = maps[machine]
    return _describe(where, jobs, where.board_of_chip(chip_x, chip_y), (chip_x, chip_y))


def _address(maps: Maps, jobs: Jobs, *, machine: str, address: str) -> Answer | None:
    """Find a board by its host name or address, or the first board of a BMP."""
    where = maps[machine]
    board = where.board_of_address(address) or where.first_board_of_bmp(address)
    return None if board is None else _describe(where, jobs, board)


def _job_chip(maps: Maps, jobs: Jobs, *, job_id: int, chip_x: int, chip_y: int) -> Answer | None:
    job = jobs.get(job_id)
    if job is None or job.boards is None or job.allocated_machine_name is None:
        return None
    where = maps[job.allocated_machine_name]
    chip = (chip_x + job.origin[0], chip_y + job.origin[1])
    board = where.board_of_chip(*chip)
    return _describe(where, jobs, board, chip) if board in job.boards else None


def _describe(
    where: MachineMap, jobs: Jobs, board: Board, chip: tuple[int, int] | None = None
) -> Answer | None:
    job_id = where.job_ids.get(board)
    origin = None if job_id is None else jobs[job_id].origin
    return where.describe(board, chip, job_id, origin)


#: The sets of keywords that where_is takes, and the function that answers each.
_FINDERS: dict[frozenset[str], Callable[..., Answer | None]] = {
    frozenset({"machine", "x", "y", "z"}): _logical,
    frozenset({"machine", "cabinet", "frame", "board"}): _physical,
    frozenset({"machine", "chip_x", "chip_y"}): _chip,
    frozenset({"machine", "address"}): _address,
    frozenset({"job_id", "chip_x", "chip_y"}): _job_chip,
}
