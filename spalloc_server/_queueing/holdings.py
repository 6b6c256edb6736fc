"""The records of jobs, machines, and boards that are taken or rest.

Owns the records of a `JobQueue`, how they are told as plain builtins and put back after
a restart.  Decides nothing: the queue does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from spalloc_server import _clock
from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.free_room import UnfinishedError
from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.kinds import Request, understand
from spalloc_server._places import Board
from spalloc_server._queueing.machine_queue import _Job, _Machine
from spalloc_server._queueing.region import Region, RegionRecord
from spalloc_server.allocator import Allocator, Footprint

OnRested = Callable[[str, list[int]], object]

#: The orders in which jobs are served, and the kind of allocator for each.
KINDS: dict[str, type[Allocator | GridAllocator]] = {
    "fcfs": Allocator,
    "fcfs-grid": GridAllocator,
    "overtaking": GridAllocator,
}


#: Different requests of which it is remembered that they are equal; arbitrary.
_MOST_WISHES = 10_000


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
        self._scheduling = "fcfs"
        self._machines: dict[str, _Machine] = {}
        self._jobs: dict[int, _Job] = {}
        self._arrivals = 0
        self._wishes: dict[Request, int] = {}

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

    # --- looking ---

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

        Jobs that wait for boards in quarantine let others pass; where jobs overtake, all are
        tried.
        """
        if self._scheduling == "overtaking":
            return None
        machine = self._machines[machine_name]
        for job in machine.queue:
            if job.pending and not self.awaited_boards(machine_name, job.request):
                return job.id
        return None

    def awaited_boards(self, machine_name: str, request: Request) -> frozenset[Board] | None:
        """Tell for which boards in quarantine a request waits, see `Allocator.awaited_boards`.

        None if that would take too long to find out in this round.
        """
        try:
            return self._machines[machine_name].allocator.awaited_boards(request)
        except UnfinishedError:
            return None

    def quarantined_on(self, machine_name: str) -> frozenset[Board]:
        """Return the boards of a machine that are in quarantine."""
        return self._machines[machine_name].allocator.quarantined

    def outcome_of(self, machine_name: str, allocation_id: int) -> Footprint:
        """Return the footprint of an allocation, see `Allocator.describe`."""
        return self._machines[machine_name].allocator.describe(allocation_id)

    def resting(self) -> dict[str, dict[int, list[Any]]]:
        """Tell the resting boards: {machine name: {allocation id: [outcome, seconds rested]}}."""
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

    def region_on(self, machine_name: str) -> tuple[int, Sequence[int]] | None:
        """Tell which job has a region on a machine, and its place; None if none has."""
        region = self._machines[machine_name].region
        return None if region is None else (region.job.id, region.place)

    def region_of(self, job_id: int) -> RegionRecord | None:
        """Tell which place is kept for a job; None if none is."""
        now = _clock.monotonic()
        for machine in self._machines.values():
            region = machine.region
            if region is not None and region.job.id == job_id:
                return RegionRecord(machine.name, region.place, region.age(now), region.closed)
        return None

    def region_age(self, job_id: int) -> float | None:
        """Seconds since a job first got a region; None if it has never had one."""
        job = self._jobs.get(job_id)
        if job is None or job.region_since is None:
            return None
        return _clock.monotonic() - job.region_since

    def allocated_for(self, job_id: int) -> float | None:
        """Seconds that a job has had its boards; None if it has none."""
        job = self._jobs.get(job_id)
        if job is None or job.allocation_id is None:
            return None
        return _clock.monotonic() - job.allocated_at

    def blocked(self) -> dict[int, dict[str, frozenset[Board]]]:
        """Tell which queued jobs wait for boards in quarantine.

        Returns
        -------
        dict
            {job id: {machine name: boards}}, in order of arrival per machine.
        """
        found: dict[int, dict[str, frozenset[Board]]] = {}
        for name, machine in self._machines.items():
            for job_id, missing in machine.blocked().items():
                found.setdefault(job_id, {})[name] = missing
        return found

    # --- put back after a restart, deciding nothing ---

    def restore_resting(
        self, machine_name: str, allocation_id: int, footprint: Footprint, rested: float
    ) -> None:
        """Put boards back that were resting, see `Allocator.restore`."""
        self._machines[machine_name].allocator.restore(allocation_id, footprint, rested)

    def restore_boards(self, machine_name: str, allocation_id: int, footprint: Footprint) -> None:
        """Put boards back that were taken though no job had them, see `free_boards`."""
        self._machines[machine_name].allocator.restore(allocation_id, footprint)

    def restore_job(
        self,
        job_id: int,
        request: Request,
        *,
        machine: str | None = None,
        tags: Iterable[str] | None = None,
        allocation: tuple[str, int, Footprint] | None = None,
        going: bool = False,
        allocated_for: float = 0.0,
        region_age: float | None = None,
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
        allocated_for : float
            Seconds that it has had its boards.
        region_age : float, optional
            Seconds since it first got a region.

        Raises
        ------
        KeyError
            If there is no such machine.
        ValueError
            If `job_id` is in use, or its boards are.
        """
        if allocation is None:
            job = self._enter(job_id, request, machine, tags)
            self._set_region_age(job, region_age)
            job.waits_for = self._suitable_machines(job)
            for suitable in job.waits_for:
                suitable.enqueue(job)
            return
        machine_name, allocation_id, footprint = allocation
        home = self._machines[machine_name]
        job = self._enter(job_id, request, machine, tags)
        try:
            home.allocator.restore(allocation_id, footprint)
        except ValueError:
            del self._jobs[job_id]
            raise
        home.settle(job, allocation_id, allocated_for)
        job.going = going
        self._set_region_age(job, region_age)

    def restore_region(
        self, job_id: int, machine_name: str, place: Sequence[int], *, closed: bool = False
    ) -> None:
        """Put the region of a job that waits back, deciding nothing.

        Nothing happens unless the queue has regions.

        Parameters
        ----------
        job_id : int
            Of a job that waits.
        machine_name : str
            The machine that has the place.
        place : (x, y, width, height) or (x, y, z)
            A block of triads or a given board.
        closed : bool
            Whether it was known to be closed.

        Raises
        ------
        KeyError
            If there is no such job or machine.
        ValueError
            If the job does not wait, or the machine has a region already.
        """
        job, machine = self._jobs[job_id], self._machines[machine_name]
        if self._scheduling != "overtaking":
            return
        if not job.pending or machine.region is not None:
            raise ValueError(f"no place on {machine_name!r} can be kept for job {job_id}")
        x, y, *rest = place
        now = _clock.monotonic()
        kept = (x, y, rest[0]) if len(rest) == 1 else (x, y, rest[0], rest[1])
        if job.region_since is None:
            job.region_since = now
        machine.region = Region(job, kept, machine.grid, now)
        machine.region.closed = closed

    # --- helpers ---

    def _suitable_machines(self, job: _Job) -> list[_Machine]:
        if job.machine_name is not None:
            machine = self._machines.get(job.machine_name)
            candidates = [] if machine is None else [machine]
        else:
            candidates = list(self._machines.values())
        return [machine for machine in candidates if machine.suits(job)]

    @staticmethod
    def _set_region_age(job: _Job, region_age: float | None) -> None:
        if region_age is not None:
            job.region_since = _clock.monotonic() - region_age

    def _new_allocator(
        self, width: int, height: int, dead_boards: DeadSet, dead_links: DeadSet
    ) -> Allocator | GridAllocator:
        kind = KINDS[self._scheduling]
        seconds = self._seconds_before_free
        return kind(width, height, dead_boards, dead_links, seconds_before_free=seconds)

    def _change_kinds(self) -> None:
        """Give each machine an allocator of the kind that the order needs."""
        for machine in self._machines.values():
            old = machine.allocator
            if type(old) is not KINDS[self._scheduling]:
                new = self._new_allocator(old.width, old.height, old.dead_boards, old.dead_links)
                new.take_over(old)
                machine.allocator = new
                machine.faults_seen = -1

    def _attach(self, name: str, tags: set[str], allocator: Allocator | GridAllocator) -> _Machine:
        allocator.on_rested = partial(self._boards_rested, name)
        allocator.full_measure = self._full_measure
        machine = self._machines[name] = _Machine(name, tags, allocator)
        return machine

    def _boards_rested(self, machine_name: str, allocation_ids: list[int]) -> None:
        self._machines[machine_name].note_free_boards()
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
        job = _Job(
            job_id,
            request,
            machine_name=machine,
            tags=tags,
            order=self._arrivals,
            wish=self._wish(request),
        )
        self._arrivals += 1
        self._jobs[job_id] = job
        return job

    def _wish(self, request: Request) -> int:
        """Return a number for a request, the same one for equal requests lately."""
        if len(self._wishes) >= _MOST_WISHES:
            self._wishes.clear()
        # Numbers are never used again for another request.
        return self._wishes.setdefault(request, self._arrivals)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "seconds_before_free": self._seconds_before_free,
            "full_measure": self._full_measure,
            "scheduling": self._scheduling,
            "machines": [machine.plain() for machine in self._machines.values()],
            "jobs": [job.plain() for job in self._jobs.values()],
        }

    def _put_back(self, state: Mapping[str, Any]) -> None:
        """Take over a state from `__getstate__`."""
        self._full_measure = state["full_measure"]
        self._scheduling = state["scheduling"]
        for told in state["jobs"]:
            request = understand(told["args"], told["kwargs"])
            job = self._enter(told["id"], request, told["machine_name"], told["tags"])
            job.args, job.kwargs = told["args"], told["kwargs"]
            job.pending = told["pending"]
            job.going = told["going"]
            self._set_region_age(job, told["region_age"])
        for told in state["machines"]:
            kind = KINDS[self._scheduling]
            allocator = kind.__new__(kind)
            allocator.__setstate__(told["allocator"])
            machine = self._attach(told["name"], set(told["tags"]), allocator)
            for job_id in told["queue"]:
                machine.queue.append(self._jobs[job_id])
                self._jobs[job_id].waits_for.append(machine)
            if told["region"] is not None:
                job_id, place = told["region"]
                self.restore_region(job_id, told["name"], place)
        for told in state["jobs"]:
            if told["machine"] is not None:
                home = self._machines[told["machine"]]
                home.settle(self._jobs[told["id"]], told["allocation_id"], told["allocated_for"])
