"""Rows about scheduling: how long jobs wait, on made-up days, in simulated time.

The server's own queue runs under a clock moved by hand, with each kind of scheduling that it
has, and free overtaking beside them as a yardstick.  Only the rows ``round`` and ``longest`` with
a size are measured, in processor time.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from benchmarks import rounds
from benchmarks.bench import Bench
from benchmarks.free_overtaking import FreeOvertaking
from benchmarks.processes import OURS
from benchmarks.results import Work
from spalloc_server._history.simulation import (
    POWER_OFF,
    REST,
    MakeQueue,
    Queue,
    Simulation,
    server_queue,
)
from spalloc_server._history.submissions import Served, boards_asked
from spalloc_server._history.traces import KINDS, Trace, make_trace
from spalloc_server._history.waits import Figures, figures
from spalloc_server.job_queue import JobQueue

#: The orders compared; the last one is no order of the server's.
SCHEDULINGS = ("fcfs", "fcfs-grid", "overtaking", "free")
#: Each kind of trace is made with these seeds.
SEEDS = (1, 2, 3, 4, 5)
#: The server's default, seconds.
_PATIENCE = 7200.0
#: The part of a trace's jobs that is left out, while the machine fills.
_WARM_UP = 0.1


class Outcome(NamedTuple):
    """A trace, run in one order.

    Attributes
    ----------
    figures : Figures
        Over the jobs that every order let start.
    whole : int
        Requests for the whole machine that the scheduling promises to start before the last job
        comes: even if patience and the longest life have to pass for each older job that had a
        region after they came, and for themselves.
    whole_late : int
        Those of them that had not started when the last job came.
    """

    figures: Figures
    whole: int
    whole_late: int


Outcomes = dict[str, dict[str, list[Outcome]]]


def _works() -> list[Work]:
    works = []
    for kind in KINDS:
        works.append(Work(f"waits@{kind}", f"mean wait of first come's, {kind}", "x", limit=0.1))
        limit = None if kind == "torus" else 1.5
        works.append(
            Work(f"waits@{kind}-free", f"mean wait of free overtaking's, {kind}", "x", limit=limit)
        )
    works.append(Work("waits@longest", "kinds with no longer wait than free's", "", more=True))
    works.append(Work("waits@whole", "whole machines not started by the end", "", limit=0.0))
    for side, (mean, longest) in rounds.LIMITS.items():
        title = f"a round, {side} x {side} triads"
        works.append(Work(f"waits@round-{side}", f"{title}, mean", "ms", limit=mean))
        works.append(Work(f"waits@longest-{side}", f"{title}, longest", "ms", limit=longest))
    return works


WORKS = _works()


def run(bench: Bench) -> None:
    """Measure the chosen rows."""
    chosen = {work.name for work in bench.select(WORKS)}
    kinds = [kind for kind in KINDS if {f"waits@{kind}", f"waits@{kind}-free"} & chosen]
    if {"waits@longest", "waits@whole"} & chosen:
        kinds = list(KINDS)
    if kinds:
        bench.say(f"waits: {', '.join(kinds)} ...")
        outcomes = simulate(kinds, quick=bench.quick)
        bench.pages.append(table(outcomes))
        for work in bench.select(WORKS):
            _judge(bench, work, outcomes)
    for side in rounds.LIMITS:
        _rounds(bench, side)


def simulate(kinds: Sequence[str], *, quick: bool = False) -> Outcomes:
    """Run all kinds of traces with all seeds in all orders, on all cores.

    Returns
    -------
    dict
        {kind: {scheduling: [Outcome of each seed]}}.
    """
    tasks = [(kind, seed, quick) for kind in kinds for seed in (SEEDS[:2] if quick else SEEDS)]
    found: Outcomes = {kind: {} for kind in kinds}
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        runs = pool.map(_run, *zip(*tasks, strict=True))
        for (kind, _, _), by_order in zip(tasks, runs, strict=True):
            for scheduling, outcome in by_order.items():
                found[kind].setdefault(scheduling, []).append(outcome)
    return found


def _run(kind: str, seed: int, quick: bool) -> dict[str, Outcome]:
    """Run one trace in all orders (a process of its own)."""
    trace = make_trace(kind, seed, jobs=KINDS[kind].jobs // 3 if quick else None)
    served: dict[str, list[Served]] = {}
    had_region: dict[str, set[int]] = {scheduling: set() for scheduling in SCHEDULINGS}
    for scheduling in SCHEDULINGS:
        make = _queue_of(scheduling, had_region[scheduling])
        simulation = Simulation([trace.machine], make)
        simulation.run(trace.jobs)
        served[scheduling] = simulation.served
    common = {job.job_id for job in trace.jobs if job.job_id > len(trace.jobs) * _WARM_UP}
    for run in served.values():
        common &= {each.submission.job_id for each in run if each.start is not None}
    return {
        name: _outcome(trace, run, common, had_region[name]) for name, run in served.items()
    }


def _queue_of(scheduling: str, had_region: set[int]) -> MakeQueue:
    """Return a maker of queues, which note the jobs that ever had a region."""
    if scheduling == "free":
        return FreeOvertaking
    make = server_queue(scheduling)

    def noting(*args: object) -> Queue:
        queue = make(*args)
        assert isinstance(queue, JobQueue)
        queue.on_region = lambda job_id, _: had_region.add(job_id)
        return queue

    return noting


def _outcome(
    trace: Trace, served: list[Served], common: set[int], had_region: set[int]
) -> Outcome:
    machine, last = trace.machine, trace.jobs[-1].arrival
    boards = machine.width * machine.height * 3
    turn = _PATIENCE + max(job.life for job in trace.jobs) + POWER_OFF + REST
    older = [each for each in served if each.submission.job_id in had_region]
    whole = [
        each
        for each in served
        if boards_asked(each.submission.args) == boards
        and each.submission.arrival + turn * (1 + _regions_before(each, older)) < last
    ]
    return Outcome(
        figures(
            served,
            machine.live_boards,
            lambda job: boards_asked(job.args) >= KINDS[trace.kind].big,
            lambda job: job.job_id in common,
        ),
        len(whole),
        sum(each.start is not None and each.start >= last for each in whole),
    )


def _regions_before(job: Served, had_region: list[Served]) -> int:
    """Count the older jobs that had a region, and had not started when a job came."""
    came = job.submission
    return sum(
        other.submission.job_id < came.job_id
        and (other.start is None or other.start > came.arrival)
        for other in had_region
    )


# --- results ---


def _median(outcomes: Sequence[Outcome], of: Callable[[Figures], float]) -> float:
    return statistics.median(of(outcome.figures) for outcome in outcomes)


def _mean_wait(of: Figures) -> float:
    return of.all.mean


def _longest_wait(of: Figures) -> float:
    return of.all.longest


def _judge(bench: Bench, work: Work, outcomes: Outcomes) -> None:
    """Write a row from the medians of all seeds."""
    kind, _, other = work.name.removeprefix("waits@").partition("-")
    result = bench.result(work)
    if kind in KINDS:
        by_order = outcomes[kind]
        ours = _median(by_order["overtaking"], _mean_wait)
        beside = _median(by_order[other or "fcfs"], _mean_wait)
        result.samples[OURS].append(ours / max(beside, 1e-9))
    elif work.name == "waits@longest":
        better = [
            _median(each["overtaking"], _longest_wait) < _median(each["free"], _longest_wait)
            for each in outcomes.values()
        ]
        result.samples[OURS].append(sum(better))
        result.note = f"{sum(better)} of {len(better)}, to reach: 5 of 7"
    elif work.name == "waits@whole":
        runs = [run for each in outcomes.values() for run in each["overtaking"]]
        result.samples[OURS].append(sum(run.whole_late for run in runs))
        result.note = f"of {sum(run.whole for run in runs)} that came early enough"


def table(outcomes: Outcomes) -> str:
    """Return the waits as a table: seconds, medians of all seeds."""
    lines = [
        "Waits in seconds: mean, of big jobs, 95 %, longest; utilisation.  Medians of the seeds.",
        "",
    ]
    for kind, by_order in outcomes.items():
        about = KINDS[kind]
        lines.append(f"{kind} {about.load:g}: {about.title}")
        for scheduling, runs in by_order.items():
            cells = [
                _median(runs, _mean_wait),
                _median(runs, lambda of: of.big.mean),
                _median(runs, lambda of: of.all.p95),
                _median(runs, _longest_wait),
            ]
            late = f"  whole machines late: {sum(run.whole_late for run in runs)}" * any(
                run.whole for run in runs
            )
            lines.append(
                f"  {scheduling:11}"
                + "".join(f"{cell:9,.0f}" for cell in cells)
                + f"{_median(runs, lambda of: of.utilisation):7.0%}{late}"
            )
    return "\n".join(lines)


def _rounds(bench: Bench, side: int) -> None:
    """Measure the cost of a round in real time."""
    works = [w for w in WORKS if w.name in {f"waits@round-{side}", f"waits@longest-{side}"}]
    for work in bench.select(works):
        bench.say(f"{work.title} ...")
        result = bench.result(work)
        cost = rounds.measure(side, bench.quick)
        figure = cost.mean if "@round" in work.name else cost.longest
        result.samples[OURS].append(figure * 1e3)
        result.note = cost.note if "@round" in work.name else ""
