"""Overtaking: every job that fits starts, and one region a machine keeps that fair.

Owns rounds, and when a region is given, moves and ends.  Must not know how places
are found, nor callbacks of the queue's owner beside those it is handed.

In a round the jobs of each machine are tried in order of arrival, so that no job waits
before boards that it could use.  A job that would be overtaken for ever gets a
region in the end, see `region`.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from spalloc_server import _clock
from spalloc_server._allocation.board_allocator import Allocation
from spalloc_server._allocation.free_room import UnfinishedError
from spalloc_server._places import Block, Board
from spalloc_server._queueing.machine_queue import _Job, _Machine
from spalloc_server._queueing.region import (
    SECONDS_BETWEEN_MOVES,
    WORTH_MOVING,
    BestPlace,
    Region,
    best_place,
    can_have_region,
)


class Hooks(NamedTuple):
    """Functions that are told of decisions.

    Attributes
    ----------
    start
        A job has got boards.
    let_pass
        A job waits for boards in quarantine, while others may start.
    region_changed
        A job's region was given, moved or closed, or it has ended though
        the job still waits.
    """

    start: Callable[[_Machine, _Job, Allocation], object]
    let_pass: Callable[[_Machine, _Job, frozenset[Board]], object]
    region_changed: Callable[[_Job], object]


class Overtaking:
    """Decides which jobs start, and where regions are.

    Parameters
    ----------
    machines : callable
        Returns the machines, by priority.
    hooks : Hooks
    patience : float
        Seconds from which on a region is closed; may be assigned.
    """

    def __init__(
        self, machines: Callable[[], Iterable[_Machine]], hooks: Hooks, patience: float
    ) -> None:
        self._machines = machines
        self._hooks = hooks
        self.patience = patience
        self._now = 0.0
        self._leaks: dict[str, bool] = {}

    # --- rounds ---

    def run(self, newcomer: _Job | None = None) -> None:
        """Start all jobs that can start now, then give regions to those that cannot.

        Parameters
        ----------
        newcomer : _Job, optional
            If given, nothing has become free, and only this job is tried.
        """
        machines = list(self._machines())
        unreviewed = self._begin(machines)
        if newcomer is None or any(each.came_free or each.unfinished for each in machines):
            while self._round(machines):
                pass
            for machine in unreviewed:
                machine.unfinished = True
        elif self._try_newcomer(newcomer):
            # The others wait as before.
            return
        if not any(machine.unfinished for machine in machines):
            self._give_regions(machines)

    def _begin(self, machines: list[_Machine]) -> list[_Machine]:
        """Look at faults and regions; tell on which machines a region is to be looked at again."""
        unreviewed = []
        self._now = _clock.monotonic()
        self._leaks.clear()
        for machine in machines:
            version = machine.grid.start_searching()
            if version != machine.faults_seen:
                machine.faults_seen = version
                machine.note_free_boards()
            if machine.region is not None and not self._review(machine, machine.region):
                machine.unfinished = True
                unreviewed.append(machine)
        return unreviewed

    def _round(self, machines: list[_Machine]) -> bool:
        """Go through all queues; tell whether failures were forgotten underway."""
        return any(self._serve(machine) for machine in machines)

    def _serve(self, machine: _Machine) -> bool:
        """Go through a machine's queue; stop, and tell, if failures were forgotten."""
        machine.came_free = machine.unfinished = False
        failed, owner = self._skipped(machine)
        queue = machine.queue
        started = 0
        for job in list(queue):
            if not job.pending or (job.wish in failed and job is not owner):
                continue
            try:
                allocation = self._try(machine, job)
            except UnfinishedError:
                # Others behind it might take its boards.
                machine.unfinished = True
                break
            if allocation is not None:
                started += 1
                # Less is free, so all that failed before would fail again, unless
                # a region has ended.
                if self._start(machine, job, allocation):
                    machine.tidy()
                    return True
                failed, owner = self._skipped(machine)
        if started:
            machine.tidy()
        return False

    def _skipped(self, machine: _Machine) -> tuple[set[int], _Job | None]:
        """Wishes that would fail again, and the job that is tried all the same."""
        region = machine.region
        if region is None:
            return machine.failed[False], None
        return machine.failed[self._does_leak(machine, region)], self._job_of(region)

    def _try_newcomer(self, job: _Job) -> bool:
        """Start a job if it can start now; tell whether it did."""
        for machine in job.waits_for:
            try:
                allocation = self._try(machine, job)
            except UnfinishedError:
                machine.unfinished = True
                continue
            if allocation is not None:
                for each in job.waits_for:
                    each.leave_end(job)
                self._start(machine, job, allocation)
                return True
        return False

    def _try(self, machine: _Machine, job: _Job) -> Allocation | None:
        region, grid = machine.region, machine.grid
        inside = False
        if region is None:
            allocation = grid.allocate_beside(job.request)
        elif region.job is job:
            allocation = self._take_region(machine, region)
            return allocation or grid.allocate_beside(job.request)
        else:
            allocation = None
            if job.wish not in machine.failed[False]:
                allocation = grid.allocate_beside(job.request, region.kept)
            inside = allocation is None and self._does_leak(machine, region)
            if inside:
                allocation = grid.allocate_beside(job.request, region.kept, inside=True)
        if allocation is None:
            missing = grid.awaited_boards(job.request)
            machine.failed[False].add(job.wish)
            if inside:
                machine.failed[True].add(job.wish)
            if missing:
                self._hooks.let_pass(machine, job, missing)
        return allocation

    def _take_region(self, machine: _Machine, region: Region) -> Allocation | None:
        if len(region.place) == 3:
            return None
        return machine.grid.allocate_block_at(region.job.request, *region.place)

    def _start(self, machine: _Machine, job: _Job, allocation: Allocation) -> bool:
        """Let a job have its boards; tell whether failures were forgotten, as its region ends."""
        head = machine.head()
        if head is not None and head is not job:
            head.overtaken += 1
        freed = [each for each in self._machines() if self._has_region(each, job)]
        for each in freed:
            self._drop(each)
        self._leaks.pop(machine.name, None)
        self._hooks.start(machine, job, allocation)
        return bool(freed)

    # --- regions ---

    @staticmethod
    def _has_region(machine: _Machine, job: _Job) -> bool:
        return machine.region is not None and machine.region.job is job

    def _does_leak(self, machine: _Machine, region: Region) -> bool:
        """Whether others may use boards of a region, should they find none elsewhere."""
        leaks = self._leaks.get(machine.name)
        if leaks is None:
            rest = machine.allocator.seconds_before_free
            leaks = (
                region.age(self._now) < self.patience
                and machine.slowest(self._now) > machine.lifetimes.idle_at_most + rest
            )
            self._leaks[machine.name] = leaks
        return leaks

    def _review(self, machine: _Machine, region: Region) -> bool:
        """Move, close or end a region as need be; False if the search is to go on."""
        try:
            self._review_region(machine, region)
        except UnfinishedError:
            return False
        return True

    def _review_region(self, machine: _Machine, region: Region) -> None:
        closed = region.age(self._now) >= self.patience
        job = self._job_of(region)
        if not region.is_sound(machine.grid):
            best = best_place(machine.grid, job.request, machine.holders(self._now))
            if best is None:
                self._drop(machine)
                self._hooks.region_changed(job)
            else:
                self._place(machine, job, best.place, closed=closed)
        elif closed and not region.closed:
            region.closed = True
            machine.forget_failures()
            self._hooks.region_changed(job)
        elif not closed and machine.came_free:
            self._move(machine, region)

    def _move(self, machine: _Machine, region: Region) -> None:
        if self._now - region.looked_at < SECONDS_BETWEEN_MOVES:
            return
        job = self._job_of(region)
        best = best_place(machine.grid, job.request, machine.holders(self._now))
        region.looked_at = self._now
        if best is not None and best.slowest < WORTH_MOVING * machine.slowest(self._now):
            self._place(machine, job, best.place, closed=False)

    def _give_regions(self, machines: list[_Machine]) -> None:
        """Give regions to the first jobs that wait on machines that have none."""
        without = [machine for machine in machines if machine.region is None]
        waiting = {job.order: job for machine in without for job in machine.waiting()}
        for _, job in sorted(waiting.items()):
            if all(machine.region is not None for machine in without):
                return
            if can_have_region(job.request) and not self._any_region_of(job):
                self._give_region(job)

    @staticmethod
    def _any_region_of(job: _Job) -> bool:
        return any(Overtaking._has_region(machine, job) for machine in job.waits_for)

    def _give_region(self, job: _Job) -> None:
        best: tuple[BestPlace, _Machine] | None = None
        for machine in job.waits_for:
            if machine.region is not None or machine.grid.awaited_boards(job.request):
                continue
            try:
                found = best_place(machine.grid, job.request, machine.holders(self._now))
            except UnfinishedError:
                machine.unfinished = True
                return
            if found is not None and (best is None or found.slowest < best[0].slowest):
                best = found, machine
        if best is not None:
            if job.region_since is None:
                job.region_since = self._now
            closed = self._now - job.region_since >= self.patience
            self._place(best[1], job, best[0].place, closed=closed)
            best[1].came_free = False

    def _place(self, machine: _Machine, job: _Job, place: Block | Board, *, closed: bool) -> None:
        # A former place may be used by others now, and the new one no more.
        machine.note_free_boards()
        machine.region = Region(job, place, machine.grid, self._now)
        machine.region.closed = closed
        self._leaks.pop(machine.name, None)
        self._hooks.region_changed(job)

    def _drop(self, machine: _Machine) -> None:
        machine.region = None
        machine.note_free_boards()
        self._leaks.pop(machine.name, None)

    def end_region_of(self, job: _Job) -> None:
        """End the region of a job that waits no more."""
        for machine in self._machines():
            if self._has_region(machine, job):
                self._drop(machine)

    def end_stray_regions(self, *, allowed: bool) -> None:
        """End the regions of jobs that can have none on their machine any more.

        Parameters
        ----------
        allowed : bool
            Whether there may be regions at all.
        """
        for machine in self._machines():
            if machine.region is None:
                continue
            job = self._job_of(machine.region)
            if allowed and job.pending and machine in job.waits_for:
                continue
            machine.region = None
            if job.pending:
                self._hooks.region_changed(job)

    @staticmethod
    def _job_of(region: Region) -> _Job:
        assert isinstance(region.job, _Job)
        return region.job
