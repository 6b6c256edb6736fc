"""A controller counted: jobs by state, the queue, boards by what they are doing.

Takes the controller's tables as they are, under its lock, and gives numbers.
Changes nothing; knows neither metrics' names nor where the numbers go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from spalloc_server._bmp.frame_hardware import FrameStatistics
    from spalloc_server._jobs.fleet import Fleet
    from spalloc_server._jobs.machine_map import MachineMap
    from spalloc_server._jobs.records import Records
    from spalloc_server._jobs.release import Release
    from spalloc_server._places import Board, Frame
    from spalloc_server.async_bmp_controller import AsyncBMPController
    from spalloc_server.job_queue import JobQueue

#: What a board may be doing; the first that holds counts.
BOARD_STATES = ("dead", "used", "cooling", "quarantined", "free")
#: Names of the states of jobs that have not ended.
JOB_STATES = ("queued", "power", "ready")


class MachineCensus(NamedTuple):
    """One machine: its boards by state, and how many jobs have boards of it."""

    boards: dict[str, int]
    jobs: int


class FrameCensus(NamedTuple):
    """One frame: what it was asked since its thread started, and what waits.

    What a stand-in for the frame's thread does not tell is None.
    """

    machine: str
    frame: Frame
    host: str
    statistics: FrameStatistics | None
    queue_length: int | None
    answering: bool | None


class Census(NamedTuple):
    """All that is counted.

    `oldest_queued` is the Unix time at which the job that waits longest was
    created, None if none waits.
    """

    jobs: dict[str, int]
    jobs_created: int
    jobs_retired: int
    oldest_queued: float | None
    machines: dict[str, MachineCensus]
    frames: list[FrameCensus]


def take_census(
    records: Records,
    queue: JobQueue,
    fleet: Fleet,
    going: Collection[Release],
    quarantined: Iterable[tuple[str, Board]],
) -> Census:
    """Count a controller's jobs, boards and requests; see `Controller.census`."""
    jobs = records.jobs
    states = Counter(job.state.name for job in jobs.values())
    waiting = (job.start_time for job in jobs.values() if job.state.name == "queued")
    cooling = _cooling(going, queue)
    out: dict[str, set[Board]] = {}
    for name, board in quarantined:
        out.setdefault(name, set()).add(board)
    holders: Counter[str] = Counter()
    for job in jobs.values():
        if job.allocated_machine is not None:
            holders[job.allocated_machine.name] += 1
    return Census(
        jobs={state: states[state] for state in JOB_STATES},
        jobs_created=records.next_id - 1,
        jobs_retired=len(records.ended.reasons),
        oldest_queued=min(waiting, default=None),
        machines={
            name: MachineCensus(
                _boards(where, cooling.get(name, ()), out.get(name, ())),
                holders[name],
            )
            for name, where in records.maps.items()
        },
        frames=[
            _frame(name, frame, bmp)
            for name, its_frames in fleet.frames.items()
            for frame, bmp in its_frames.items()
        ],
    )


def _boards(
    where: MachineMap, cooling: Collection[Board], quarantined: Collection[Board]
) -> dict[str, int]:
    machine = where.machine
    boards = set(_block(0, 0, machine.width, machine.height))
    counts = {}
    left = boards - machine.dead_boards
    counts["dead"] = len(boards) - len(left)
    for state, those in (
        ("used", where.job_ids),
        ("cooling", cooling),
        ("quarantined", quarantined),
    ):
        before = len(left)
        left = left.difference(those)
        counts[state] = before - len(left)
    counts["free"] = len(left)
    return counts


def _cooling(going: Collection[Release], queue: JobQueue) -> dict[str, set[Board]]:
    """Boards of each machine that are on their way to off, or rest."""
    cooling: dict[str, set[Board]] = {}
    for release in going:
        cooling.setdefault(release.machine_name, set()).update(release.boards)
    for name, allocations in queue.resting().items():
        boards = cooling.setdefault(name, set())
        for outcome, _ in allocations.values():
            kind, *numbers = outcome
            boards.update([tuple(numbers)] if kind == "board" else _block(*numbers))
    return cooling


def _block(x: int, y: int, width: int, height: int) -> Iterator[Board]:
    return ((i, j, z) for i in range(x, x + width) for j in range(y, y + height) for z in range(3))


def _frame(name: str, frame: Frame, bmp: AsyncBMPController) -> FrameCensus:
    return FrameCensus(
        name,
        frame,
        str(bmp.hostname),
        getattr(bmp, "statistics", None),
        getattr(bmp, "queue_length", None),
        getattr(bmp, "answering", None),
    )
