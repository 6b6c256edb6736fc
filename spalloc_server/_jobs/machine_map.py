"""Where the boards of one machine are: by place, by frame and by job.

Owns the indexes of one machine of the configuration and which job has which of
its boards.  Knows nothing of allocation, threads or hardware.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, cast

from spalloc_server._places import Board, Frame, Place, frame_of
from spalloc_server.configuration import Machine
from spalloc_server.coordinates import WrapAround, board_to_chip
from spalloc_server.coordinates import triad_dimensions_to_chips as to_chips
from spalloc_server.links import Links

#: Chips along the side of a board's box.
_BOARD_CHIPS = 8


#: Jobs get the same boards again and again.
_chip_of = lru_cache(maxsize=4096)(board_to_chip)


@lru_cache(maxsize=1024)
def _size_of(width: int, height: int, torus: int) -> tuple[int, int]:
    """Return the size in chips of a block of triads."""
    return to_chips(width, height, WrapAround(torus))


class Network(NamedTuple):
    """The network that a job's boards form; sizes in chips."""

    width: int
    height: int
    connections: dict[tuple[int, int], str]
    origin: tuple[int, int]


class MachineMap:
    """The boards of one machine, found by logical place, physical place or frame.

    Parameters
    ----------
    machine : Machine
        Its board locations and addresses are read once, here.

    Attributes
    ----------
    machine : Machine
    job_ids : dict
        {board: id of the job that has it}.
    """

    def __init__(self, machine: Machine) -> None:
        self.replace(machine)
        self.job_ids: dict[Board, int] = {}
        self._places = {board: Place(at) for board, at in machine.board_locations.items()}
        self._boards = {place: board for board, place in self._places.items()}
        # Each board's frame and its number there.
        self._frames = {board: (frame_of(at), at[2]) for board, at in self._places.items()}
        self._by_frame: dict[Frame, set[Board]] = {}
        for board, (frame, _) in self._frames.items():
            self._by_frame.setdefault(frame, set()).add(board)

    def replace(self, machine: Machine) -> None:
        """Take over a machine of the same layout with other tags, dead boards or links."""
        self.machine = machine
        self._dead = _copies(machine)

    def dead_changed(self) -> bool:
        """Whether dead boards or links were changed in place since this was last asked."""
        machine = self.machine
        if not self.is_dead_stale():
            return False
        self._dead = _copies(machine)
        return True

    def is_dead_stale(self) -> bool:
        """Whether `dead_changed` has something to tell."""
        machine = self.machine
        return self._dead != (machine.dead_boards, machine.dead_links)

    def locate(self, board: Board) -> Place | None:
        """Return the physical place of a board, None if there is no such board."""
        return self._places.get(board)

    def at(self, place: Place) -> Board | None:
        """Return the board at a physical place, None if there is none."""
        return self._boards.get(place)

    @property
    def hosts(self) -> Mapping[Frame, str]:
        """The host name of each frame's BMP."""
        return cast("Mapping[Frame, str]", self.machine.bmp_ips)

    def in_frame(self, board: Board) -> tuple[Frame, int]:
        """Return the frame of a board that is in the map, and its number there."""
        return self._frames[board]

    def by_frame(self, boards: Iterable[Board]) -> dict[Frame, list[tuple[Board, int]]]:
        """Sort boards by frame: {(cabinet, frame): [(board, its number there), ...]}."""
        frames: dict[Frame, list[tuple[Board, int]]] = {}
        for board in sorted(boards):
            frame, number = self._frames[board]
            frames.setdefault(frame, []).append((board, number))
        return frames

    def frame_boards(self, frame: Frame) -> set[Board]:
        """Return the live boards of a frame."""
        return {
            board
            for board in self._by_frame.get(frame, ())
            if board not in self.machine.dead_boards
        }

    @property
    def live_count(self) -> int:
        """Number of boards that are not dead."""
        return sum(board not in self.machine.dead_boards for board in self._places)

    def unowned(self) -> list[Board]:
        """Return the boards with a place that no job has."""
        return [board for board in self._places if board not in self.job_ids]

    def network(self, boards: Collection[Board], torus: int) -> Network:
        """Return the network formed by some boards, as seen by the user who boots it.

        A board alone is 8 by 8 chips; otherwise the block of triads that holds
        the boards, whose bottom-left chip becomes (0, 0).
        """
        if len(boards) == 1:
            width = height = _BOARD_CHIPS
            origin = _chip_of(*next(iter(boards)))
        else:
            xs, ys = {x for x, _, _ in boards}, {y for _, y, _ in boards}
            origin = _chip_of(min(xs), min(ys), 0)
            width, height = _size_of(max(xs) - min(xs) + 1, max(ys) - min(ys) + 1, torus)
        hosts = self.machine.spinnaker_ips
        connections = {}
        for board in sorted(boards):
            x, y = _chip_of(*board)
            connections[(x - origin[0], y - origin[1])] = hosts[board]
        return Network(width, height, connections, origin)


def _copies(machine: Machine) -> tuple[frozenset[object], frozenset[object]]:
    """Return the dead boards and links; the very objects where they can never change."""
    return frozenset(machine.dead_boards), frozenset(machine.dead_links)


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
