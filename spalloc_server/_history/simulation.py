"""Run a list of jobs through the server's own queue, under a clock moved by hand.

Owns the simulated time and the simulated lives of jobs.  Knows nothing of policies: the
queue decides as it does in the server.  Nothing is random here.

::

    arrival ---> create_job --on_allocate--> runs for `life` seconds
                     |                              |
                 on_cancel                     destroy_job --on_free--> off after 5 s
                                                                          |
                 check_free <--- rests 30 s <--- free  <------------------+
"""

from __future__ import annotations

import heapq
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from spalloc_server import _clock
from spalloc_server._history.submissions import Board, Served, Shape, Submission
from spalloc_server.job_queue import JobQueue

#: Seconds from a job's end until its boards are off, as a frame takes them.
POWER_OFF = 5.0
#: Seconds that boards rest after that, the server's default.
REST = 30.0

@dataclass
class Costs:
    """Time that the queue took for the calls made to it.

    Attributes
    ----------
    calls : int
    total, longest : float
        Seconds of this thread's processor time, which other processes disturb little.
    """

    calls: int = 0
    total: float = 0.0
    longest: float = 0.0

    @property
    def mean(self) -> float:
        """Seconds a call."""
        return self.total / self.calls if self.calls else 0.0

    def add(self, seconds: float) -> None:
        """Count a call."""
        self.calls += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)


class HandClock:
    """A clock that stands still until it is moved.

    Attributes
    ----------
    now : float
        Seconds.
    """

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    @contextmanager
    def installed(self) -> Iterator[HandClock]:
        """Be the clock of all models of this process until the end."""
        before = _clock.monotonic
        _clock.monotonic = self
        try:
            yield self
        finally:
            _clock.monotonic = before


class Queue(Protocol):
    """The part of `JobQueue` that a simulation uses."""

    def add_machine(  # noqa: PLR0917 - as JobQueue has it
        self,
        name: str,
        width: int,
        height: int,
        tags: Any = None,
        dead_boards: Any = frozenset(),
        dead_links: Any = frozenset(),
    ) -> None:
        """Add a machine."""

    def create_job(self, *what: int, job_id: int, **limits: Any) -> None:
        """Queue a job."""

    def destroy_job(self, job_id: int, reason: str | None = None) -> None:
        """End a job."""

    def free(self, job_id: int) -> None:
        """Let the boards of an ended job rest."""

    def check_free(self) -> None:
        """Use again the boards that have rested."""

    def next_rested(self) -> float | None:
        """Tell when boards will have rested."""

    def machines_for(self, job_id: int) -> list[str]:
        """Tell which machines suit a job."""


#: Makes a queue of (on_allocate, on_free, on_cancel, seconds_before_free).
MakeQueue = Callable[..., Queue]


class SchedulingError(ValueError):
    """A kind of scheduling that this version's queue does not have."""


def server_queue(scheduling: str = "fcfs", patience: float = 7200.0) -> MakeQueue:
    """Return a maker of queues set up as the server sets up its own.

    Parameters
    ----------
    scheduling : str
        See `JobQueue`.
    patience : float
        Seconds, see `JobQueue`.

    Raises
    ------
    SchedulingError
        When the queue is made, if the queue of this version has no such scheduling.
    """

    def make(*args: Any) -> Queue:
        queue = JobQueue(*args)
        queue.full_measure = True
        try:
            queue.scheduling = scheduling
            queue.patience = patience
        except ValueError as e:
            raise SchedulingError(str(e)) from e
        return queue

    return make


_ARRIVES, _GIVES_UP, _ENDS, _OFF = range(4)


def exact(seconds: float) -> float:
    """Round up to 1/1024 s, so that sums and differences of times are exact.

    Else boards could be due by the sum and not by the difference, for ever.
    """
    return math.ceil(seconds * 1024) / 1024


class _Waiting:
    """A request that waits, and the machines that suit it."""

    def __init__(self, submission: Submission, order: int) -> None:
        self.submission = submission
        self.order = order
        self.machines: frozenset[str] = frozenset()


class Simulation:
    """Machines with their queue, to which jobs are submitted over time.

    Parameters
    ----------
    machines : sequence of Shape
        Highest priority first.
    make_queue : callable
        See `server_queue`.
    power_off, rest : float
        Seconds that boards take to go off, and then rest.
    on_started : callable or None
        Called with each `Served` that got boards; it may call `submit`.

    Attributes
    ----------
    clock : HandClock
    served : list of Served
        In the order in which they got boards, or were refused.
    costs : dict
        {name of the queue's method: Costs}.
    """

    def __init__(
        self,
        machines: Sequence[Shape],
        make_queue: MakeQueue,
        *,
        power_off: float = POWER_OFF,
        rest: float = REST,
        on_started: Callable[[Served], None] | None = None,
    ) -> None:
        self.clock = HandClock()
        self.served: list[Served] = []
        self.costs: dict[str, Costs] = defaultdict(Costs)
        self._power_off = exact(power_off)
        self._on_started = on_started
        self._events: list[tuple[float, int, int, int]] = []
        self._count = self._arrived = 0
        self._to_come: dict[int, Submission] = {}
        self._waiting: dict[int, _Waiting] = {}
        with self.clock.installed():
            callbacks = self._on_allocate, self._on_free, self._on_cancel
            self._queue = make_queue(*callbacks, exact(rest))
            for machine in machines:
                self._queue.add_machine(*machine)

    @property
    def waiting(self) -> int:
        """Number of jobs that wait for boards."""
        return len(self._waiting)

    def submit(self, submission: Submission) -> None:
        """Let a job come at its time of arrival, which must not be over."""
        submission = submission._replace(
            arrival=exact(submission.arrival), life=exact(submission.life)
        )
        self._to_come[submission.job_id] = submission
        self._at(submission.arrival, _ARRIVES, submission.job_id)

    def run(self, submissions: Iterable[Submission] = (), until: float | None = None) -> None:
        """Run until nothing is left to happen, or until a time.

        Parameters
        ----------
        submissions : iterable of Submission
        until : float, optional
            Seconds on the simulation's clock.
        """
        for submission in submissions:
            self.submit(submission)
        with self.clock.installed():
            while (due := self._next()) is not None and (until is None or due <= until):
                self.clock.now = max(self.clock.now, due)
                self._turn()

    # --- events ---

    def _next(self) -> float | None:
        rested = self._queue.next_rested()
        if not self._events:
            # Boards that rest matter only to jobs that wait.
            return rested if self._waiting else None
        return self._events[0][0] if rested is None else min(rested, self._events[0][0])

    def _turn(self) -> None:
        rested = self._queue.next_rested()
        if rested is not None and rested <= self.clock.now:
            self._call(self._queue.check_free)
        while self._events and self._events[0][0] <= self.clock.now:
            _, _, kind, job_id = heapq.heappop(self._events)
            self._happen(kind, job_id)

    def _happen(self, kind: int, job_id: int) -> None:
        if kind == _ARRIVES:
            self._arrive(self._to_come.pop(job_id))
        elif kind == _GIVES_UP:
            if job_id in self._waiting:
                self._call(self._queue.destroy_job, job_id, "given up")
        elif kind == _ENDS:
            self._call(self._queue.destroy_job, job_id)
        else:
            self._call(self._queue.free, job_id)

    def _arrive(self, submission: Submission) -> None:
        self._arrived += 1
        waiting = self._waiting[submission.job_id] = _Waiting(submission, self._arrived)
        about = {**submission.kwargs, "job_id": submission.job_id}
        try:
            self._call(self._queue.create_job, *submission.args, **about)
        except (TypeError, ValueError) as e:
            # A request of bad form, which another server may have taken.
            self._on_cancel(submission.job_id, str(e))
        if submission.job_id in self._waiting:
            waiting.machines = frozenset(self._queue.machines_for(submission.job_id))
            if submission.gives_up is not None:
                at = self.clock.now + exact(submission.gives_up)
                self._at(at, _GIVES_UP, submission.job_id)

    def _call(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        began = time.thread_time()
        function(*args, **kwargs)
        self.costs[function.__name__].add(time.thread_time() - began)

    def _at(self, when: float, kind: int, job_id: int) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, kind, job_id))

    # --- callbacks of the queue ---

    def _on_allocate(self, job_id: int, machine: str, boards: set[Board], *_: object) -> None:
        started = self._waiting.pop(job_id)
        submission, now = started.submission, self.clock.now
        overtook = self._older_one_waits(started, machine)
        served = Served(submission, now, machine, len(boards), overtook, None)
        self.served.append(served)
        self._at(now + submission.life, _ENDS, job_id)
        if self._on_started is not None:
            self._on_started(served)

    def _older_one_waits(self, started: _Waiting, machine: str) -> bool:
        """Whether a job that came before waits for this machine."""
        for other in self._waiting.values():
            if other.order > started.order:
                return False
            if machine in other.machines:
                return True
        return False

    def _on_free(self, job_id: int, _reason: str | None) -> None:
        self._at(self.clock.now + self._power_off, _OFF, job_id)

    def _on_cancel(self, job_id: int, reason: str | None) -> None:
        submission = self._waiting.pop(job_id).submission
        self.served.append(Served(submission, None, None, 0, False, reason))
