"""The cost of a round of a saturated queue, in processor time."""

from __future__ import annotations

import functools
import gc
import itertools
import random
from typing import NamedTuple

from spalloc_server._history.simulation import Costs, Simulation, server_queue
from spalloc_server._history.submissions import Served, Shape, Submission
from spalloc_server._history.traces import MEAN_LIFE

#: Side of the machine in triads: the mean and the longest round allowed, ms; None for any.
LIMITS: dict[int, tuple[float | None, float | None]] = {
    20: (3.0, 10.0),
    60: (None, 50.0),
    200: (25.0, None),
}
#: So many jobs wait all the time.
_WAITING = 300
#: Rounds that are measured, once the machine is full.
_ROUNDS = {20: 6000, 60: 3000, 200: 600}
_SEED = 1


class Cost(NamedTuple):
    """The cost of rounds.

    Attributes
    ----------
    mean, longest : float
        Seconds of processor time.  The mean is over the rounds after boards came back, in which
        all waiting jobs are gone through; the longest is of all calls.
    note : str
        Each of the queue's methods by itself.
    """

    mean: float
    longest: float
    note: str


@functools.cache
def measure(side: int, quick: bool = False) -> Cost:
    """Keep a machine full and 300 jobs waiting: a new job comes for each that starts.

    Parameters
    ----------
    side : int
        Width and height of the machine, triads.
    quick : bool
        Whether a fifth of the rounds will do.

    Returns
    -------
    Cost
    """
    numbers = random.Random(_SEED)
    most = side * side * 3 // 4
    simulation: Simulation

    def come(served: Served | None) -> None:
        size = int(most ** numbers.random())
        args = () if size <= 1 else (size,)
        life = numbers.expovariate(1 / MEAN_LIFE)
        now = 0.0 if served is None else simulation.clock.now
        simulation.submit(Submission(next(ids), now, args, {}, life))

    ids = itertools.count(1)
    machine = Shape("m", side, side)
    simulation = Simulation([machine], server_queue("overtaking"), on_started=come)
    for _ in range(_WAITING):
        come(None)
    rounds = _ROUNDS[side] // (5 if quick else 1)
    _run(simulation, rounds // 4)
    simulation.costs.clear()
    # As the server's program does when it has started.
    gc.freeze()
    try:
        _run(simulation, rounds)
    finally:
        gc.unfreeze()
    costs = simulation.costs
    return Cost(
        costs["check_free"].mean,
        max(cost.longest for cost in costs.values()),
        f'"overtaking", {simulation.waiting} waiting; mean and longest in ms: '
        + ", ".join(f"{name} {_shown(cost)}" for name, cost in costs.items()),
    )


def _run(simulation: Simulation, rounds: int) -> None:
    """Go on until boards came back so many times more."""
    costs = simulation.costs
    enough = costs["check_free"].calls + rounds
    until = simulation.clock.now
    while costs["check_free"].calls < enough:
        until += MEAN_LIFE / 10
        simulation.run(until=until)


def _shown(cost: Costs) -> str:
    return f"{cost.mean * 1e3:.2f} / {cost.longest * 1e3:.1f}"
