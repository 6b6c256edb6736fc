"""Who has which boards: jobs, machines, and what is taken or rests.

Owns the records of a `JobQueue`, how they are told as plain builtins and put back after
a restart.  Decides nothing: who gets what, and when, is the queue's business.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

from spalloc_server._allocation.kinds import Request, understand
from spalloc_server._places import Board
from spalloc_server._queueing.machine_queue import _Job, _Machine
from spalloc_server.allocator import Allocator, Footprint

OnRested = Callable[[str, list[int]], object]


class Holdings:
    """The jobs and machines of a queue.

    Parameters
    ----------
    seconds_before_free : float
        Seconds that boards rest after use; may be assigned.

    Attributes
    ----------
    on_rested : callable or None
        Called with (machine_name, allocation_ids) when boards came back from
        resting.
    """

    def __init__(self, seconds_before_free: float) -> None:
        self.on_rested: OnRested | None = None
        self._seconds_before_free = seconds_before_free
        self._full_measure = False
        self._machines: dict[str, _Machine] = {}
        self._jobs: dict[int, _Job] = {}
        self._arrivals = 0

    @property
    def seconds_before_free(self) -> float:
        """Seconds that boards rest after use, those resting already too."""
        return self._seconds_before_free

    @seconds_before_free.setter
    def seconds_before_free(self, seconds: float) -> None:
        self._seconds_before_free = seconds
        for machine in self._machines.values():
            machine.allocator.seconds_before_free = seconds

    @property
    def full_measure(self) -> bool:
        """Whether jobs wait for as many live boards as they want, see `Allocator`."""
        return self._full_measure

    @full_measure.setter
    def full_measure(self, full: bool) -> None:
        self._full_measure = full
        for machine in self._machines.values():
            machine.allocator.full_measure = full

    # --- what there is ---

    def allocation_of(self, job_id: int) -> tuple[str, int] | None:
        """Where a job's boards are.

        Parameters
        ----------
        job_id : int
            Of any job.

        Returns
        -------
        (machine_name, allocation_id) or None
            None if it has no boards or is not known.
        """
        job = self._jobs.get(job_id)
        if job is None or job.machine is None or job.allocation_id is None:
            return None
        return job.machine.name, job.allocation_id

    def machines_for(self, job_id: int) -> list[str]:
        """Tell which machines could ever run a job, by priority; none if it is not known."""
        job = self._jobs.get(job_id)
        return [] if job is None else [each.name for each in self._suitable_machines(job)]

    def waiting(self) -> list[tuple[int, Request, tuple[str, ...]]]:
        """Tell which jobs wait: (job id, request, names of its machines), by arrival."""
        machines: dict[int, list[str]] = {}
        for name, machine in self._machines.items():
            for job in machine.queue:
                if job.pending:
                    machines.setdefault(job.id, []).append(name)
        jobs = [job for job in self._jobs.values() if job.pending]
        jobs.sort(key=lambda job: job.order)
        return [(job.id, job.request, tuple(machines.get(job.id, ()))) for job in jobs]

    def first_in_line(self, machine_name: str) -> int | None:
        """Return the waiting job that a machine serves next; None if none is before all others.

        Jobs that wait for boards in quarantine let others pass.
        """
        machine = self._machines[machine_name]
        for job in machine.queue:
            if job.pending and not machine.allocator.awaited_boards(job.request):
                return job.id
        return None

    def awaited_boards(self, machine_name: str, request: Request) -> frozenset[Board]:
        """Tell for which boards in quarantine a request waits, see `Allocator.awaited_boards`."""
        return self._machines[machine_name].allocator.awaited_boards(request)

    def outcome_of(self, machine_name: str, allocation_id: int) -> Footprint:
        """Tell what an allocation took, see `Allocator.describe`."""
        return self._machines[machine_name].allocator.describe(allocation_id)

    def resting(self) -> dict[str, dict[int, list[Any]]]:
        """Tell what rests: {machine name: {allocation id: [outcome, seconds rested]}}."""
        return {
            name: {number: [list(outcome), rested] for number, outcome, rested in resting}
            for name, machine in self._machines.items()
            if (resting := machine.allocator.resting)
        }

    def next_rested(self) -> float | None:
        """When the next boards will have rested (monotonic seconds); None if none rest."""
        earliest = None
        for machine in self._machines.values():
            time = machine.allocator.next_rested
            if time is not None and (earliest is None or time < earliest):
                earliest = time
        return earliest

    # --- put back after a restart, deciding nothing ---

    def restore_resting(
        self, machine_name: str, allocation_id: int, outcome: Footprint, rested: float
    ) -> None:
        """Put boards back that were resting, see `Allocator.restore`."""
        self._machines[machine_name].allocator.restore(allocation_id, outcome, rested)

    def restore_boards(self, machine_name: str, allocation_id: int, outcome: Footprint) -> None:
        """Put boards back that were taken though no job had them, see `free_boards`."""
        self._machines[machine_name].allocator.restore(allocation_id, outcome)

    def restore_job(
        self,
        job_id: int,
        request: Request,
        *,
        machine: str | None = None,
        tags: Iterable[str] | None = None,
        allocation: tuple[str, int, Footprint] | None = None,
        going: bool = False,
    ) -> None:
        """Put a job back as it was, deciding nothing.

        Jobs are to be put back in the order of their arrival.

        Parameters
        ----------
        job_id, request, machine, tags
            As in `JobQueue.add_job`.
        allocation : (machine_name, allocation_id, outcome), optional
            Its boards; None if it waits for some.
        going : bool
            Whether it was destroyed and only its boards are not back yet.

        Raises
        ------
        KeyError
            If there is no such machine.
        ValueError
            If `job_id` is in use, or its boards are.
        """
        if allocation is None:
            job = self._enter(job_id, request, machine, tags)
            for suitable in self._suitable_machines(job):
                suitable.enqueue(job)
            return
        machine_name, allocation_id, outcome = allocation
        home = self._machines[machine_name]
        job = self._enter(job_id, request, machine, tags)
        try:
            home.allocator.restore(allocation_id, outcome)
        except ValueError:
            del self._jobs[job_id]
            raise
        job.pending = False
        job.going = going
        job.machine = home
        job.allocation_id = allocation_id

    # --- helpers ---

    def _suitable_machines(self, job: _Job) -> list[_Machine]:
        if job.machine_name is not None:
            machine = self._machines.get(job.machine_name)
            candidates = [] if machine is None else [machine]
        else:
            candidates = list(self._machines.values())
        return [machine for machine in candidates if machine.suits(job)]

    def _attach(self, name: str, tags: set[str], allocator: Allocator) -> _Machine:
        allocator.on_rested = partial(self._boards_rested, name)
        allocator.full_measure = self._full_measure
        machine = self._machines[name] = _Machine(name, tags, allocator)
        return machine

    def _boards_rested(self, machine_name: str, allocation_ids: list[int]) -> None:
        if self.on_rested is not None:
            self.on_rested(machine_name, allocation_ids)

    def _enter(
        self,
        job_id: int,
        request: Request,
        machine: str | None,
        tags: Iterable[str] | None,
    ) -> _Job:
        if job_id in self._jobs:
            raise ValueError(f"job_id {job_id} is in use already")
        job = _Job(job_id, request, machine_name=machine, tags=tags, order=self._arrivals)
        self._arrivals += 1
        self._jobs[job_id] = job
        return job

    def __getstate__(self) -> dict[str, Any]:
        return {
            "seconds_before_free": self._seconds_before_free,
            "full_measure": self._full_measure,
            "machines": [machine.plain() for machine in self._machines.values()],
            "jobs": [job.plain() for job in self._jobs.values()],
        }

    def _put_back(self, state: Mapping[str, Any]) -> None:
        """Take over what `__getstate__` told."""
        self._full_measure = state["full_measure"]
        for told in state["jobs"]:
            request = understand(told["args"], told["kwargs"])
            job = self._enter(told["id"], request, told["machine_name"], told["tags"])
            job.args, job.kwargs = told["args"], told["kwargs"]
            job.pending = told["pending"]
            job.going = told["going"]
            job.allocation_id = told["allocation_id"]
        for told in state["machines"]:
            allocator = Allocator.__new__(Allocator)
            allocator.__setstate__(told["allocator"])
            machine = self._attach(told["name"], set(told["tags"]), allocator)
            machine.queue.extend(self._jobs[job_id] for job_id in told["queue"])
        for told in state["jobs"]:
            if told["machine"] is not None:
                self._jobs[told["id"]].machine = self._machines[told["machine"]]
