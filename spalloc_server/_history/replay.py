"""Runs past jobs again, through the server's own queue with each kind of scheduling."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from spalloc_server._history.past_jobs import Past
from spalloc_server._history.simulation import REST, Simulation, server_queue
from spalloc_server._history.submissions import Served, Shape, Submission, boards_asked
from spalloc_server._history.waits import Figures, figures
from spalloc_server.configuration import Configuration

#: The part of the jobs that is left out: while the simulated machines fill, nobody waits.
WARM_UP = 0.1
#: The column of the log itself.
HAPPENED = "what happened"


class Order(NamedTuple):
    """A kind of scheduling, with its patience in seconds."""

    scheduling: str
    patience: float

    def __str__(self) -> str:
        if self.scheduling != "overtaking":
            return self.scheduling
        return f"{self.scheduling}, {self.patience:g} s"


class Comparison(NamedTuple):
    """The result of a replay.

    Attributes
    ----------
    columns : dict
        {name: Figures}; `HAPPENED` first, unless nothing happened yet.
    big : int
        Requests for so many boards or more are called big.
    jobs, compared : int
        All jobs, and those that are compared: that got boards in every column, the first tenth
        left out.
    """

    columns: dict[str, Figures]
    big: int
    jobs: int
    compared: int


def shapes_of(configuration: Configuration) -> list[Shape]:
    """Return the machines of a configuration as a simulation knows them."""
    return [
        Shape(
            machine.name,
            machine.width or 0,
            machine.height or 0,
            frozenset(machine.tags),
            frozenset((x, y, z) for x, y, z in machine.dead_boards),
            frozenset(machine.dead_links),
        )
        for machine in configuration.machines
    ]


def replay(
    past: Past, machines: Sequence[Shape], orders: Sequence[Order], rest: float = REST
) -> Comparison:
    """Run all jobs again in each order, several at a time.

    Parameters
    ----------
    past : Past
    machines : sequence of Shape
        Highest priority first.
    orders : sequence of Order
    rest : float
        Seconds that boards rest after use.

    Raises
    ------
    SchedulingError
        If the queue does not have one of them.
    """
    submissions = [each.submission for each in past.served]
    for order in orders:
        server_queue(*order)(None, None, None, rest)
    if len(orders) == 1:
        runs = {str(orders[0]): _run(submissions, list(machines), orders[0], rest)}
    else:
        with ProcessPoolExecutor(min(len(orders), os.cpu_count() or 1)) as pool:
            tasks = [
                pool.submit(_run, submissions, list(machines), order, rest) for order in orders
            ]
            runs = {str(order): task.result() for order, task in zip(orders, tasks, strict=True)}
    if not past.machines:
        runs = {HAPPENED: past.served, **runs}
    return _compare(runs, submissions, machines)


def _run(
    submissions: list[Submission], machines: list[Shape], order: Order, rest: float
) -> list[Served]:
    """Run all jobs in one order (a process of its own, if there are several orders)."""
    simulation = Simulation(machines, server_queue(*order), rest=rest)
    simulation.run(submissions)
    return simulation.served


def _compare(
    runs: dict[str, list[Served]], submissions: list[Submission], machines: Sequence[Shape]
) -> Comparison:
    live = sum(machine.live_boards for machine in machines)
    big = max(12, max(machine.live_boards for machine in machines) // 12)
    common = {job.job_id for job in submissions[int(len(submissions) * WARM_UP) :]}
    for served in runs.values():
        common &= {each.submission.job_id for each in served if each.start is not None}
    columns = {
        name: figures(
            served,
            live,
            lambda job: boards_asked(job.args) >= big,
            lambda job: job.job_id in common,
        )._replace(refused=sum(each.start is None for each in served))
        for name, served in runs.items()
    }
    return Comparison(columns, big, len(submissions), len(common))
