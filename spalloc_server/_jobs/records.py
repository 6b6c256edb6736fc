"""The jobs and machines of a controller, the lock that guards them, and their changes.

Owns the tables, with the record of each machine (that of a job is in `_jobs.job`): where its
boards are, and which job has which of them.  Owns, too, all that goes out of the tables: the sets
of changes for watchers, lines of the job log, and through the outlet the outcomes and the
requests to frames (see `_jobs.book` and `_jobs.outlet`).  Must not know why anything
changes: the objects beside this one do, and all of them share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from spalloc_server import _clock
from spalloc_server._jobs import job_log
from spalloc_server._jobs.ended_jobs import EndedJobs
from spalloc_server._places import Board, Frame, Place, frame_of
from spalloc_server.configuration import Machine
from spalloc_server.coordinates import WrapAround, board_to_chip
from spalloc_server.coordinates import triad_dimensions_to_chips as to_chips

if TYPE_CHECKING:
    from spalloc_server._bmp.requests import AtomicRequests
    from spalloc_server._jobs.job import _Job
    from spalloc_server._jobs.outlet import Outlet
    from spalloc_server.async_bmp_controller import AsyncBMPController

Frames = dict[Frame, "AsyncBMPController"]

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


class Records:
    """Jobs and machines as they are now.

    Parameters
    ----------
    next_id : int
        Id of the next job.
    max_retired_jobs : int
        Number of ended jobs that are remembered.
    outlet : Outlet
        Takes the outcomes and the requests.
    on_background_state_change : callable or None
        Called without arguments, from a frame's thread without the lock, when a job has
        become ready.

    Attributes
    ----------
    first_id, next_id : int
        Ids of the first job since the start, and of the next one.
    lock : RLock
        Guards everything here, and the queue, health and fleet beside it.  Re-entrant, since
        the queue calls back.
    jobs : dict
        {id: _Job}, oldest first.
    ended : EndedJobs
        The jobs that have ended.
    machines : dict
        {name: Machine}, highest priority first.
    maps : dict
        {name: MachineMap} of the same machines.
    frames : dict
        {name: {(cabinet, frame): AsyncBMPController}} of the same machines.
    changed_jobs, changed_machines : set
        Ids and names, to be told to watchers.
    outcomes_told : int
        Number of outcomes; the same number means the same state.
    due_is_stale : bool
        Whether anything has changed since `Controller.next_due` worked out its time.
    """

    def __init__(
        self,
        next_id: int,
        max_retired_jobs: int,
        outlet: Outlet,
        on_background_state_change: Callable[[], None] | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.first_id = self.next_id = next_id
        self.outlet = outlet
        self.on_background_state_change = on_background_state_change
        self.jobs: dict[int, _Job] = {}
        self.ended = EndedJobs(max_retired_jobs)
        self.machines: dict[str, Machine] = {}
        self.maps: dict[str, MachineMap] = {}
        self.frames: dict[str, Frames] = {}
        self.changed_jobs: set[int] = set()
        self.changed_machines: set[str] = set()
        self.outcomes_told = 0
        self.due_is_stale = True

    def tell(self, *outcome: Any) -> None:
        """Tell an outcome, see `_jobs.book`."""
        self.due_is_stale = True
        self.outcomes_told += 1
        self.outlet.note(outcome)

    def log(self, job_id: int, words: Callable[[], Sequence[str]]) -> None:
        """Have something told in the job log that happens to a job now.

        Parameters
        ----------
        job_id : int
        words : callable
            Makes the lines, in the thread of the job log's file: a function of
            `_jobs.job_log`, with facts that nobody changes afterwards.
        """
        for writer in job_log.writers:
            writer.put(partial(job_log.text_of, _clock.wall(), job_id, words))

    def ask(self, machine_name: str, requests: Mapping[Frame, AtomicRequests]) -> None:
        """Ask frames of a machine, each for one thing."""
        frames = self.frames[machine_name]
        for frame, request in requests.items():
            self.outlet.send(frames[frame], request)

    def take_changed_jobs(self) -> set[int]:
        """Hand over the ids of the jobs that changed since the last call."""
        if not self.changed_jobs:
            return set()
        with self.lock:
            changed, self.changed_jobs = self.changed_jobs, set()
            return changed

    def take_changed_machines(self) -> set[str]:
        """Hand over the names of the machines that changed since the last call."""
        if not self.changed_machines:
            return set()
        with self.lock:
            changed, self.changed_machines = self.changed_machines, set()
            return changed

    def take_changes(self) -> tuple[set[int], set[str]] | None:
        """Hand over both sets of changes at once; None if there are none."""
        if not self.changed_jobs and not self.changed_machines:
            return None
        with self.lock:
            return self.take_changed_jobs(), self.take_changed_machines()
