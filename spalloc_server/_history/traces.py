"""Seven kinds of made-up days, to compare schedulings by.

Owns the distributions.  A trace is made of its kind, load and seed alone, and is the same
with every version of Python.

======  ========  ===============================================================  ============
kind    triads    requests                                                         lives
======  ========  ===============================================================  ============
class   20 x 20   70 % single boards, 1 % of 100-300 boards, the others of 2-48    lognormal
batch   20 x 20   1-300 boards                                                     heavy tail
bursty  20 x 20   1-300 boards, 19 of 20 by day, in clumps of equal jobs           lognormal
dead    20 x 20   1-48 boards without dead ones; 3 % of the boards are dead        lognormal
frame   4 x 2     1-24 boards, 5 % the whole machine                               lognormal
three   4 x 6     1-72 boards                                                      lognormal
torus   20 x 20   1-48 boards; 0.1 % whole machine as a torus, 0.3 % full width    lognormal
======  ========  ===============================================================  ============

Ranges are log-uniform.  Lives are 750 s in the mean: lognormal of sigma 1, or Weibull of
shape 0.55 for the heavy tail.  The load is the boards asked for (those of blocks rounded up
to triads) times the lives, divided by the live boards and the time of the arrivals.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from spalloc_server._history.submissions import Board, Shape, Submission, boards_asked

#: Mean time that a job needs its boards, seconds.
MEAN_LIFE = 750.0
#: Width of the lognormal lives, in units of e; arbitrary.
_SIGMA = 1.0
#: Shape of the heavy-tailed lives.
_WEIBULL = 0.55
#: How many days a bursty trace has, the part of its jobs that come by day, and the jobs of
#: a clump.
_DAYS, _BY_DAY, _CLUMP = 4, 0.95, (2, 12)
#: The part of the boards that are dead in a trace with dead ones.
_DEAD = 0.03


#: Positional arguments and keywords of ``create_job``.
Request = tuple[tuple[int, ...], dict[str, Any]]


class Trace(NamedTuple):
    """Jobs to come, and the machine that they come to.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    load : float
        0 to 1, see the module.
    seed : int
    machine : Shape
    jobs : list of Submission
        By arrival.
    """

    kind: str
    load: float
    seed: int
    machine: Shape
    jobs: list[Submission]


class Kind(NamedTuple):
    """A kind of trace.

    Attributes
    ----------
    width, height : int
        Of its machine, triads.
    jobs : int
        Number of jobs.
    load : float
        Unless another is asked for.
    requests : callable
        Draws (args, kwargs) of all jobs; called with the random numbers, the machine and
        the number of jobs.
    life : callable
        Draws seconds.
    big : int
        Requests for so many boards or more are called big.
    title : str
        One line for people.
    """

    width: int
    height: int
    jobs: int
    load: float
    requests: Callable[[random.Random, Shape, int], list[Request]]
    life: Callable[[random.Random], float]
    big: int
    title: str


def make_trace(kind: str, seed: int, load: float | None = None, jobs: int | None = None) -> Trace:
    """Make a trace.

    Parameters
    ----------
    kind : str
        One of `KINDS`.
    seed : int
        Other seeds give other jobs of the same kind.
    load : float, optional
        Above 0; None for the kind's own.
    jobs : int, optional
        Number of jobs, at least 1; None for the kind's own.

    Returns
    -------
    Trace

    Raises
    ------
    ValueError
        If there is no such kind, or `load` or `jobs` is too small.
    """
    if kind not in KINDS:
        raise ValueError(f"kind of trace is {kind!r}, there are {', '.join(KINDS)}")
    about = KINDS[kind]
    load = about.load if load is None else load
    jobs = about.jobs if jobs is None else jobs
    if not load > 0:
        raise ValueError(f"load is {load!r}, it must be above 0")
    if jobs < 1:
        raise ValueError(f"number of jobs is {jobs!r}, it must be at least 1")
    numbers = random.Random(f"{kind} {seed}")
    machine = _machine(kind, about, numbers)
    clumps = [[each] for each in about.requests(numbers, machine, jobs)]
    if kind == "bursty":
        clumps = _clumps(numbers, [request for (request,) in clumps])
    drawn = [[(*each, about.life(numbers)) for each in clump] for clump in clumps]
    work = sum(boards_asked(job[0]) * job[2] for clump in drawn for job in clump)
    span = work / (machine.live_boards * load)
    draw_time = _by_day if kind == "bursty" else random.Random.random
    times = sorted(draw_time(numbers) * span for _ in drawn)
    jobs_in_order = [
        (when, *job) for when, clump in zip(times, drawn, strict=True) for job in clump
    ]
    submissions = [
        Submission(number, arrival, args, kwargs, life, "user")
        for number, (arrival, args, kwargs, life) in enumerate(jobs_in_order, 1)
    ]
    return Trace(kind, load, seed, machine, submissions)


def to_lines(trace: Trace) -> Iterator[str]:
    """Write a trace as JSON lines: the machine first, then the jobs by arrival."""
    machine = trace.machine
    yield json.dumps(
        {
            "trace": trace.kind,
            "load": trace.load,
            "seed": trace.seed,
            "machine": machine.name,
            "width": machine.width,
            "height": machine.height,
            "dead_boards": sorted(machine.dead_boards),
        }
    )
    for job in trace.jobs:
        yield json.dumps(
            {
                "job": job.job_id,
                "arrival": round(job.arrival, 3),
                "owner": job.owner,
                "args": job.args,
                "kwargs": job.kwargs,
                "life": round(job.life, 3),
            }
        )


# --- drawing ---


def _machine(kind: str, about: Kind, numbers: random.Random) -> Shape:
    boards = [
        (x, y, z) for x in range(about.width) for y in range(about.height) for z in range(3)
    ]
    dead: frozenset[Board] = frozenset()
    if kind == "dead":
        dead = frozenset(numbers.sample(boards, round(len(boards) * _DEAD)))
    return Shape(kind, about.width, about.height, dead_boards=dead)


def _log_uniform(numbers: random.Random, low: int, high: int) -> int:
    """Draw a whole number, each octave as often as the next."""
    return int(math.exp(numbers.uniform(math.log(low), math.log(high + 1))))


def _lognormal(numbers: random.Random) -> float:
    return numbers.lognormvariate(math.log(MEAN_LIFE) - _SIGMA**2 / 2, _SIGMA)


def _heavy_tailed(numbers: random.Random) -> float:
    return numbers.weibullvariate(MEAN_LIFE / math.gamma(1 + 1 / _WEIBULL), _WEIBULL)


def _boards(number: int) -> tuple[int, ...]:
    return () if number == 1 else (number,)


def _class(numbers: random.Random, _: Shape, jobs: int) -> list[Request]:
    def draw() -> tuple[int, ...]:
        drawn = numbers.random()
        if drawn < 0.7:
            return ()
        if drawn < 0.71:
            return (numbers.randint(100, 300),)
        return (_log_uniform(numbers, 2, 48),)

    return [(draw(), {}) for _ in range(jobs)]


def _up_to(most: int, **limits: Any) -> Callable[[random.Random, Shape, int], list[Request]]:
    """Draw numbers of boards up to a greatest one; the limits are for more than one board."""

    def draw(numbers: random.Random, _: Shape, jobs: int) -> list[Request]:
        sizes = [_log_uniform(numbers, 1, most) for _ in range(jobs)]
        return [(_boards(size), dict(limits) if size > 1 else {}) for size in sizes]

    return draw


def _frame(numbers: random.Random, machine: Shape, jobs: int) -> list[Request]:
    requests = _up_to(24)(numbers, machine, jobs)
    for place in numbers.sample(range(jobs), round(0.05 * jobs)):
        requests[place] = ((machine.width, machine.height), {})
    return requests


def _torus(numbers: random.Random, machine: Shape, jobs: int) -> list[Request]:
    """Draw small requests, and put the rare ones among them, so many in every trace."""
    requests = _up_to(48)(numbers, machine, jobs)
    whole, wide = max(1, round(0.001 * jobs)), max(1, round(0.003 * jobs))
    # The last fifth is left out, so that others go on arriving while they wait.
    places = numbers.sample(range(max(1, jobs * 4 // 5)), min(jobs * 4 // 5, whole + wide))
    for place in places[:whole]:
        requests[place] = ((machine.width, machine.height), {"require_torus": True})
    for place in places[whole:]:
        requests[place] = ((machine.width, numbers.randint(1, machine.height // 2)), {})
    return requests


def _clumps(numbers: random.Random, requests: list[Request]) -> list[list[Request]]:
    """Let several equal jobs come at a time: those of a clump are like its first."""
    clumps = []
    left = list(requests)
    while left:
        size = min(numbers.randint(*_CLUMP), len(left))
        clumps.append([left[0]] * size)
        del left[:size]
    return clumps


def _by_day(numbers: random.Random) -> float:
    """Draw a time, 0 to 1, by day mostly; days begin at midnight, so first comes the night."""
    hour = numbers.random() / 2 + (0.5 if numbers.random() < _BY_DAY else 0.0)
    return (numbers.randrange(_DAYS) + hour) / _DAYS


#: All kinds of traces by name.
KINDS: dict[str, Kind] = {
    "class": Kind(20, 20, 2500, 0.8, _class, _lognormal, 100, "single boards, few big jobs"),
    "batch": Kind(20, 20, 2500, 0.8, _up_to(300), _heavy_tailed, 100, "batch jobs of all sizes"),
    "bursty": Kind(20, 20, 1500, 0.8, _up_to(300), _lognormal, 100, "day and night, in clumps"),
    "dead": Kind(
        20,
        20,
        2500,
        0.8,
        _up_to(48, max_dead_boards=0),
        _lognormal,
        24,
        "3 % dead boards, none allowed",
    ),
    "frame": Kind(4, 2, 1500, 0.8, _frame, _lognormal, 24, "one frame, 5 % want all of it"),
    "three": Kind(4, 6, 1500, 0.6, _up_to(72), _lognormal, 36, "three frames"),
    "torus": Kind(20, 20, 2500, 0.6, _torus, _lognormal, 60, "rarely the whole torus"),
}
