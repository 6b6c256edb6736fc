"""A controller counted: jobs by state, the queue, boards by state.

Takes the controller's tables as they are, under its lock, and gives numbers.
Changes nothing; knows neither metrics' names nor where the numbers go.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from spalloc_server._jobs.stand_in_frames import figure
from spalloc_server._jobs.waits import BOUNDS, SIZES, WaitTally

if TYPE_CHECKING:
    from spalloc_server._bmp.frame_hardware import FrameStatistics
    from spalloc_server._jobs.board_states import BoardStates
    from spalloc_server._jobs.job_life import JobLife
    from spalloc_server._jobs.records import Records
    from spalloc_server._places import Frame
    from spalloc_server.async_bmp_controller import AsyncBMPController
    from spalloc_server.job_queue import JobQueue

#: The states of boards in the first metrics; the first that holds counts.
BOARD_STATES = ("dead", "used", "cooling", "quarantined", "free")
#: Names of the states of jobs that have not ended.
JOB_STATES = ("queued", "power", "ready")


class MachineCensus(NamedTuple):
    """One machine: its boards by old and new states, and the number of jobs on it.

    `boards` has the words of `BOARD_STATES`, `states` those of `_jobs.board_states`.
    """

    boards: dict[str, int]
    states: dict[str, int]
    jobs: int


class FrameCensus(NamedTuple):
    """One frame: its requests since its thread started, and those that wait.

    Figures that a stand-in for the frame's thread does not tell are None.
    """

    machine: str
    frame: Frame
    host: str
    statistics: FrameStatistics | None
    queue_length: int | None
    answering: bool | None


class SharingCensus(NamedTuple):
    """How one machine is shared out; see `_queueing.measures.Measures`."""

    first_overtaken: int
    region_age: float | None
    region_closed: bool
    region_idle_boards: int
    free_triads: int | None
    largest_block: int | None


class WaitCensus(NamedTuple):
    """The waits of jobs of one size: cumulative counts by upper bound, and the sum of all."""

    counts: list[tuple[float, int]]
    total: float


class Census(NamedTuple):
    """All that is counted.

    `spans_judged` jobs started that had been given a span of waits of similar requests;
    `spans_held` of them started within it.  `oldest_queued` is the Unix time at which
    the job that waits longest was created, None if none waits.
    """

    jobs: dict[str, int]
    jobs_created: int
    jobs_retired: int
    jobs_on_grace: int
    spans_judged: int
    spans_held: int
    oldest_queued: float | None
    waits: dict[str, WaitCensus]
    machines: dict[str, MachineCensus]
    sharing: dict[str, SharingCensus]
    frames: list[FrameCensus]


def take_census(
    records: Records,
    boards: BoardStates,
    life: JobLife,
    queue: JobQueue,
) -> Census:
    """Count a controller's jobs, boards and requests; see `Controller.census`."""
    jobs, waits = records.jobs, life.waits
    waits.count_starts()
    states = Counter(job.state.name for job in jobs.values())
    waiting = (job.start_time for job in jobs.values() if job.state.name == "queued")
    holders: Counter[str] = Counter()
    for job in jobs.values():
        if job.allocated_machine is not None:
            holders[job.allocated_machine.name] += 1
    return Census(
        jobs={state: states[state] for state in JOB_STATES},
        jobs_created=records.next_id - records.first_id,
        jobs_retired=len(records.ended.reasons),
        jobs_on_grace=len(life.grace),
        spans_judged=waits.judged,
        spans_held=waits.held,
        oldest_queued=min(waiting, default=None),
        waits=_waits(waits.tally),
        sharing={name: SharingCensus(*each) for name, each in queue.measures().items()},
        machines={
            name: MachineCensus(_old_words(counts), counts, holders[name])
            for name, counts in ((name, boards.of(name).counts) for name in records.maps)
        },
        frames=[
            _frame(name, frame, bmp)
            for name, its_frames in records.frames.items()
            for frame, bmp in its_frames.items()
        ],
    )


def _waits(tally: WaitTally) -> dict[str, WaitCensus]:
    bounds = (*BOUNDS, float("inf"))
    return {
        size: WaitCensus(
            list(zip(bounds, accumulate(tally.counts[size]), strict=True)), tally.totals[size]
        )
        for size in SIZES
    }


def _old_words(counts: Mapping[str, int]) -> dict[str, int]:
    """Count boards by `BOARD_STATES`."""
    return {
        "dead": counts["dead"],
        "used": counts["used"],
        "cooling": counts["resting"],
        "quarantined": counts["out"] + counts["unknown"],
        "free": counts["free"] + counts["draining"] + counts["reserved"],
    }


def _frame(name: str, frame: Frame, bmp: AsyncBMPController) -> FrameCensus:
    return FrameCensus(
        name,
        frame,
        str(bmp.hostname),
        figure(bmp, "statistics"),
        figure(bmp, "queue_length"),
        figure(bmp, "answering"),
    )
