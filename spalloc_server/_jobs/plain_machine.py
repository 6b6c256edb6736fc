"""A machine of the configuration as plain builtins, as the book has it, and back.

Must not know what a server does with a machine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from spalloc_server.configuration import Machine
from spalloc_server.links import Links


def to_plain(machine: Machine) -> dict[str, Any]:
    """Return a machine as plain builtins that survive JSON (see `_jobs.book`).

    A configuration is a program: its numbers may be numpy's, its texts of any kind.
    """
    return {
        "name": str(machine.name),
        "tags": sorted(map(str, machine.tags)),
        "width": int(machine.width),
        "height": int(machine.height),
        "dead_boards": sorted(map(_numbers, machine.dead_boards)),
        "dead_links": sorted(map(_numbers, machine.dead_links)),
        "board_locations": [
            [_numbers(board), _numbers(place)] for board, place in machine.board_locations.items()
        ],
        "bmp_ips": [[_numbers(frame), str(host)] for frame, host in machine.bmp_ips.items()],
        "spinnaker_ips": [
            [_numbers(board), str(host)] for board, host in machine.spinnaker_ips.items()
        ],
    }


def _numbers(place: Iterable[int]) -> list[int]:
    return list(map(int, place))


def from_plain(plain: dict[str, Any]) -> Machine:
    """Return the machine that `to_plain` described.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the description is not of a machine.
    """
    return Machine(
        name=plain["name"],
        tags=frozenset(plain["tags"]),
        width=plain["width"],
        height=plain["height"],
        dead_boards=frozenset((x, y, z) for x, y, z in plain["dead_boards"]),
        dead_links=frozenset((x, y, z, Links(n)) for x, y, z, n in plain["dead_links"]),
        board_locations={
            (x, y, z): (c, f, b) for (x, y, z), (c, f, b) in plain["board_locations"]
        },
        bmp_ips={(c, f): host for (c, f), host in plain["bmp_ips"]},
        spinnaker_ips={(x, y, z): host for (x, y, z), host in plain["spinnaker_ips"]},
    )
