"""Boards and chips in every way of naming them, as ``where_is`` and ``list_places`` answer.

Looks into the machines' maps and the jobs that it is given; owns nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spalloc_server._checks.values import MAX_TEXT, shown, whole_number
from spalloc_server._jobs.job import _Job
from spalloc_server._jobs.records import MachineMap
from spalloc_server._places import Board, Place
from spalloc_server.coordinates import board_to_chip, chip_to_board

#: Chips along the side of a triad.
_TRIAD_CHIPS = 12

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
    return _describe(where, jobs, _board_of_chip(where, chip_x, chip_y), (chip_x, chip_y))


def _address(maps: Maps, jobs: Jobs, *, machine: str, address: str) -> Answer | None:
    """Find a board by its host name or address, or the first board of a BMP."""
    where = maps[machine]
    board = board_of_address(where, address) or _first_board_of_bmp(where, address)
    return None if board is None else _describe(where, jobs, board)


def _job_chip(maps: Maps, jobs: Jobs, *, job_id: int, chip_x: int, chip_y: int) -> Answer | None:
    job = jobs.get(job_id)
    if job is None or job.boards is None or job.allocated_machine_name is None:
        return None
    where = maps[job.allocated_machine_name]
    chip = (chip_x + job.origin[0], chip_y + job.origin[1])
    board = _board_of_chip(where, *chip)
    return _describe(where, jobs, board, chip) if board in job.boards else None


def _describe(
    where: MachineMap, jobs: Jobs, board: Board, chip: tuple[int, int] | None = None
) -> Answer | None:
    """Return where a board is, and a chip on it; by default its Ethernet chip."""
    place = where.locate(board)
    if place is None:
        return None
    width, height = _chips(where)
    ethernet_x, ethernet_y = board_to_chip(*board)
    x, y = (ethernet_x, ethernet_y) if chip is None else chip
    job_id = where.job_ids.get(board)
    job_chip = None
    if job_id is not None:
        # As seen by the job's user.
        job_x, job_y = jobs[job_id].origin
        job_chip = (x - job_x) % width, (y - job_y) % height
    return {
        "machine": where.machine.name,
        "logical": board,
        "physical": place,
        "chip": (x % width, y % height),
        "board_chip": ((x - ethernet_x) % width, (y - ethernet_y) % height),
        "job_id": job_id,
        "job_chip": job_chip,
    }


#: The sets of keywords that where_is takes, and the function that answers each.
_FINDERS: dict[frozenset[str], Callable[..., Answer | None]] = {
    frozenset({"machine", "x", "y", "z"}): _logical,
    frozenset({"machine", "cabinet", "frame", "board"}): _physical,
    frozenset({"machine", "chip_x", "chip_y"}): _chip,
    frozenset({"machine", "address"}): _address,
    frozenset({"job_id", "chip_x", "chip_y"}): _job_chip,
}


def all_places(where: MachineMap) -> list[tuple[int, int, int, int, int, int, str | None]]:
    """Return each board's place and address, by x, y and z; see `list_places`."""
    machine = where.machine
    return [
        (*board, *machine.board_locations[board], machine.spinnaker_ips.get(board))
        for board in sorted(machine.board_locations)
    ]


def board_of_address(where: MachineMap, address: str) -> Board | None:
    """Return the board with a host name or address, None if there is none."""
    for board, host in where.machine.spinnaker_ips.items():
        if host == address:
            return board
    return None


def _first_board_of_bmp(where: MachineMap, address: str) -> Board | None:
    """Return the board with the lowest number of a BMP's frame, None if there is no such."""
    for frame, host in where.hosts.items():
        if host == address:
            boards = where.frame_boards(frame)
            return min(boards, key=lambda board: where.in_frame(board)[1], default=None)
    return None


def _board_of_chip(where: MachineMap, x: int, y: int) -> Board:
    """Return the board that holds a chip of the whole machine; wraps around."""
    width, height = _chips(where)
    return chip_to_board(x % width, y % height, width, height)


def _chips(where: MachineMap) -> tuple[int, int]:
    """Return width and height of the machine's torus, in chips."""
    return where.machine.width * _TRIAD_CHIPS, where.machine.height * _TRIAD_CHIPS
