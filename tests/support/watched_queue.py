"""A job queue that overtakes, watched by a naive model of its promises.

Everything is looked up anew from what each allocation took; nothing of how the
queue decides is used.
"""

from typing import Any

from spalloc_server._queueing.machine_queue import _Job, _Machine
from spalloc_server.job_queue import JobQueue
from tests.support.naive_allocator import NaiveMachine
from tests.support.naive_grid import NaiveGrid, triads_of

Board = tuple[int, int, int]
Triad = tuple[int, int]


class BrokenPromiseError(AssertionError):
    """The queue did what it must not do."""


class WatchedQueue:
    """Owns a queue, and checks each decision when it is made.

    Attributes
    ----------
    queue : JobQueue
        Overtaking.
    started : list of (job id, machine, footprint)
    waiting_regions : dict
        {job id: what was told of its region last}.
    """

    def __init__(self, patience: float = 100, seconds_before_free: float = 10) -> None:
        self.queue = JobQueue(self.on_allocate, self.on_free, self.on_cancel, seconds_before_free)
        self.queue.scheduling = "overtaking"
        self.queue.patience = patience
        self.queue.on_region = self.on_region
        self.started: list[tuple[int, str, Any]] = []
        self.cancelled: list[int] = []
        self.told: dict[int, Any] = {}
        #: By machine: the job whose region is closed, and its place.
        self.closed: dict[str, tuple[int, Any]] = {}

    # --- the queue's callbacks ---

    def on_allocate(self, job_id: int, machine: str, *_network: Any) -> None:
        where = self.queue.allocation_of(job_id)
        assert where is not None
        footprint = self.queue.outcome_of(*where)
        self.check_start(self.queue._jobs[job_id], self.queue._machines[machine], footprint)
        self.started.append((job_id, machine, footprint))
        self.told.pop(job_id, None)

    def on_free(self, job_id: int, _reason: str | None) -> None:
        pass

    def on_cancel(self, job_id: int, _reason: str | None) -> None:
        self.cancelled.append(job_id)
        self.told.pop(job_id, None)

    def on_region(self, job_id: int, record: Any) -> None:
        self.told[job_id] = record

    # --- the model ---

    @staticmethod
    def naive(machine: _Machine) -> NaiveGrid:
        allocator: Any = machine.allocator
        return NaiveGrid(
            NaiveMachine(
                allocator.width, allocator.height, allocator.dead_boards, allocator.dead_links
            )
        )

    @staticmethod
    def footprints(machine: _Machine) -> list[Any]:
        allocator = machine.allocator
        return [*allocator.allocations.values(), *(taken for _, taken, _ in allocator.resting)]

    def open_triads(self, machine: _Machine) -> set[Triad]:
        taken = self.footprints(machine)
        blocks = set().union(*(triads_of(each[1:]) for each in taken if len(each) == 5))
        out = {board[:2] for board in machine.allocator.quarantined}
        return {each[1:3] for each in taken if len(each) == 4} | (out - blocks)

    def free_triads(self, machine: _Machine) -> set[Triad]:
        blocks = [each[1:] for each in self.footprints(machine) if len(each) == 5]
        taken = self.open_triads(machine).union(*map(triads_of, blocks))
        return self.naive(machine).whole - taken

    @staticmethod
    def region_triads(machine: _Machine) -> set[Triad]:
        if machine.region is None:
            return set()
        place = machine.region.place
        return {place[:2]} if len(place) == 3 else triads_of(place)

    def fits(self, job: _Job, machine: _Machine, hidden: set[Triad], free: set[Triad]) -> bool:
        """Whether a job fits on a machine, some triads being hidden from it."""
        allocator = machine.allocator
        numbers, limits = job.request.numbers, job.request.limits._asdict()
        if len(numbers) in {1, 2}:
            return bool(self.naive(machine).places(numbers, limits, free - hidden))
        single = {each[1:] for each in self.footprints(machine) if len(each) == 4}
        boards = {
            (*triad, z) for triad in self.open_triads(machine) | free for z in range(3)
        } - single
        boards = {b for b in boards if b not in allocator.dead_boards} - allocator.quarantined
        if len(numbers) == 3:
            return numbers in boards and (
                self.hidden_board(machine) != numbers
                if self.hidden_board(machine) is not None
                else numbers[:2] not in hidden
            )
        if self.hidden_board(machine) is not None:
            closed = {self.hidden_board(machine)}
            # Its triad is not opened for others.
            closed |= {b for b in boards if b[:2] in hidden and b[:2] in free}
            return bool(boards - closed)
        return any(board[:2] not in hidden for board in boards)

    @staticmethod
    def hidden_board(machine: _Machine) -> Any:
        region = machine.region
        return region.place if region is not None and len(region.place) == 3 else None

    # --- what must hold ---

    def check_start(self, job: _Job, machine: _Machine, footprint: Any) -> None:
        region = machine.region
        if region is None:
            return
        if region.job is job:
            raise BrokenPromiseError("a region outlives the waiting of its job")
        triads = {footprint[1:3]} if len(footprint) == 4 else triads_of(footprint[1:])
        if self.hidden_board(machine) is not None and len(footprint) == 4:
            touches = footprint[1:] == region.place
        else:
            touches = bool(triads & self.region_triads(machine))
        if not touches:
            return
        age = self.queue.region_age(region.job.id)
        assert age is not None
        if age >= self.queue.patience:
            raise BrokenPromiseError(f"{footprint} is in the closed region {region.place}")
        free = self.free_triads(machine)
        if len(footprint) == 5 or footprint[1:3] not in self.open_triads_but(machine, footprint):
            free |= triads
        if self.fits(job, machine, self.region_triads(machine), free):
            raise BrokenPromiseError(f"{footprint} is in a region though there was room outside")

    def open_triads_but(self, machine: _Machine, footprint: Any) -> set[Triad]:
        others = self.footprints(machine)
        others.remove(footprint)
        return {each[1:3] for each in others if len(each) == 4}

    def check(self) -> None:
        """Check all that holds after each round."""
        seen = set()
        for machine in self.queue._machines.values():
            self.check_owners(machine)
            if machine.region is not None:
                self.check_region(machine)
                assert machine.region.job.id not in seen, "a job has two regions"
                seen.add(machine.region.job.id)
            else:
                self.closed.pop(machine.name, None)
            hidden = self.region_triads(machine)
            free = self.free_triads(machine)
            for job in machine.waiting():
                mine = machine.region is not None and machine.region.job is job
                if not mine and self.fits(job, machine, hidden, free):
                    raise BrokenPromiseError(f"{job} waits though it fits on {machine}")
        regions = {
            job_id: self.queue.region_of(job_id)
            for job_id, job in self.queue._jobs.items()
            if self.queue.region_of(job_id)
        }
        told = {job_id: record for job_id, record in self.told.items() if record is not None}
        assert regions.keys() == told.keys()
        for job_id, record in regions.items():
            assert record is not None
            assert told[job_id][:2] == record[:2]

    def check_owners(self, machine: _Machine) -> None:
        boards: list[Board] = []
        for footprint in self.footprints(machine):
            if len(footprint) == 4:
                boards.append(footprint[1:])
            else:
                boards += [(x, y, z) for x, y in triads_of(footprint[1:]) for z in range(3)]
        assert len(boards) == len(set(boards))
        assert {board[:2] for board in boards} <= self.naive(machine).whole

    def check_region(self, machine: _Machine) -> None:
        region = machine.region
        assert region is not None
        triads = self.region_triads(machine)
        assert triads <= self.naive(machine).whole
        job = self.queue._jobs[region.job.id]
        assert job.pending
        quarantined = {b for b in machine.allocator.quarantined if self.is_live(machine, b)}
        if self.hidden_board(machine) is None:
            assert not triads & {board[:2] for board in quarantined}
            if triads <= self.free_triads(machine):
                raise BrokenPromiseError(f"{job} waits though its region is free")
        else:
            assert region.place not in quarantined
        age = self.queue.region_age(job.id)
        assert age is not None
        if age >= self.queue.patience:
            before = self.closed.get(machine.name)
            waits = before is not None and self.is_waiting(before[0])
            if waits and before != (job.id, region.place):
                raise BrokenPromiseError(f"the closed region {before} became {region.place}")
            self.closed[machine.name] = (job.id, region.place)
        else:
            self.closed.pop(machine.name, None)

    def is_waiting(self, job_id: int) -> bool:
        return job_id in self.queue._jobs and self.queue._jobs[job_id].pending

    @staticmethod
    def is_live(machine: _Machine, board: Board) -> bool:
        return board not in machine.allocator.dead_boards

    def machine_changed(self) -> None:
        """Take note that closed regions may be chosen anew."""
        self.closed.clear()
