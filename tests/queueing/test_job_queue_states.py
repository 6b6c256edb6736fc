"""Any sequence of uses of a job queue agrees with a queue kept naively.

The model has one list of jobs in order of arrival, and an allocator of its own
for each machine. Its queues are not kept but looked up: who arrived first of
those that wait for a machine.
"""

import pickle
from contextlib import ExitStack
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spalloc_server.allocator import Allocator
from tests.support.fake_clock import FakeClock
from tests.support.queueing import Owner

NAMES = ("a", "b", "c")
REST = 10
NOWHERE = "No suitable machines available."

names = st.sampled_from(NAMES)
sides = st.integers(1, 3)
some_tags = st.none() | st.sets(st.sampled_from(("default", "x", "y")))
requests = st.one_of(
    st.just(()),
    st.tuples(st.integers(0, 14)),
    st.tuples(sides, sides),
    st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)),
)
limits = st.fixed_dictionaries({}, optional={"max_dead_boards": st.none() | st.integers(0, 2)})
coordinates = st.integers(0, 2)
board_sets = st.sets(st.tuples(coordinates, coordinates, coordinates), max_size=3)


class NaiveMachine:
    def __init__(self, tags: set[str], allocator: Allocator) -> None:
        self.tags = tags
        self.allocator = allocator
        self.queue: set[int] = set()


class NaiveJob:
    def __init__(self, job_id: int, what: Any, machine: Any, tags: Any, limits: Any) -> None:
        self.id, self.what, self.machine_name, self.limits = job_id, what, machine, limits
        self.tags = {"default"} if tags is None else tags
        self.state = "pending"
        self.home: str | None = None
        self.allocation_id = 0


class NaiveQueue:
    """Decides the same as a JobQueue, and notes what it would tell."""

    def __init__(self) -> None:
        self.machines: dict[str, NaiveMachine] = {}
        self.jobs: dict[int, NaiveJob] = {}
        self.depth = 0
        self.told: list[tuple[Any, ...]] = []

    def waiting(self, name: str) -> list[int]:
        """Jobs that wait for a machine, in order of arrival."""
        queue = self.machines[name].queue
        return [job.id for job in self.jobs.values() if job.state == "pending" and job.id in queue]

    def create(self, job: NaiveJob) -> None:
        self.jobs[job.id] = job
        if not self.depth:
            self.line_up(job)
            self.process()

    def line_up(self, job: NaiveJob) -> None:
        found = False
        for name, machine in self.machines.items():
            machine.queue.discard(job.id)
            if job.machine_name is None:
                wanted = job.tags <= machine.tags
            else:
                wanted = job.machine_name == name
            if wanted and machine.allocator.alloc_possible(*job.what, **job.limits):
                machine.queue.add(job.id)
                found = True
        if not found:
            self.cancel(job, NOWHERE)

    def cancel(self, job: NaiveJob, reason: str | None) -> None:
        del self.jobs[job.id]
        self.told.append(("cancel", job.id, reason))

    def rebuild(self) -> None:
        if not self.depth:
            for machine in self.machines.values():
                machine.queue.clear()
            for job in list(self.jobs.values()):
                if job.state == "pending":
                    self.line_up(job)
                    self.process()
            self.process()

    def process(self) -> None:
        changed = not self.depth
        while changed:
            served = [self.serve(name) for name in list(self.machines)]
            changed = any(served)

    def serve(self, name: str) -> bool:
        allocator = self.machines[name].allocator
        for number in self.waiting(name):
            job = self.jobs[number]
            got = allocator.alloc(*job.what, **job.limits)
            if got is not None:
                job.state, job.home, job.allocation_id = "running", name, got[0]
                self.told.append(("allocate", number, name))
                return True
            if not allocator.waits_for(*job.what, **job.limits):
                return False
        return False

    def destroy(self, number: int, reason: str) -> None:
        job = self.jobs[number]
        if job.state == "pending":
            self.cancel(job, reason)
        elif job.state == "running":
            job.state = "going"
            self.told.append(("free", number, reason))
        self.process()

    def free(self, number: int) -> None:
        job = self.jobs.pop(number)
        assert job.home is not None
        self.machines[job.home].allocator.free(job.allocation_id)
        self.process()

    def requeue(self, number: int) -> None:
        job = self.jobs[number]
        assert job.home is not None
        self.machines[job.home].allocator.free(job.allocation_id)
        job.state, job.home = "pending", None
        if not self.depth:
            self.line_up(job)
            self.process()

    def remove(self, name: str) -> None:
        del self.machines[name]
        for job in list(self.jobs.values()):
            if job.home == name:
                del self.jobs[job.id]
                if job.state == "running":
                    self.told.append(("free", job.id, "Machine removed."))
        self.rebuild()


class JobQueueMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(FakeClock().installed())
        self.owner = Owner(REST)
        self.naive = NaiveQueue()
        self.next_id = 1
        self.entered = ExitStack()

    @initialize(width=sides, height=sides)
    def first_machine(self, width: int, height: int) -> None:
        self.add_machine_named("a", width, height, None, frozenset())

    # --- jobs ---

    @rule(
        what=requests,
        tags=some_tags,
        name=st.none() | names,
        given=limits,
        skip=st.integers(-3, 3),
    )
    def create(self, what: Any, tags: Any, name: Any, given: Any, skip: int) -> None:
        # Identifiers need not come in order.
        number = self.next_id * 10 + skip
        self.next_id += 1
        if name is not None:
            tags = None

        self.owner.queue.create_job(*what, job_id=number, machine=name, tags=tags, **given)

        self.naive.create(NaiveJob(number, what, name, tags, given))

    @precondition(lambda self: self.naive.jobs)
    @rule(data=st.data())
    def destroy(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.naive.jobs)))

        self.owner.queue.destroy_job(number, "why not")

        self.naive.destroy(number, "why not")

    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        held = [job.id for job in self.naive.jobs.values() if job.state != "pending"]
        if held:
            number = data.draw(st.sampled_from(sorted(held)))
            self.owner.queue.free(number)
            self.naive.free(number)

    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        running = [job.id for job in self.naive.jobs.values() if job.state == "running"]
        if running:
            number = data.draw(st.sampled_from(sorted(running)))
            self.owner.queue.requeue(number)
            self.naive.requeue(number)

    @rule(seconds=st.integers(0, REST))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

        self.owner.queue.check_free()

        returned = [each.allocator.check_free() for each in self.naive.machines.values()]
        if any(returned):
            self.naive.process()

    # --- machines ---

    @rule(name=names, width=sides, height=sides, tags=some_tags, dead=board_sets)
    def add_machine(self, name: str, width: int, height: int, tags: Any, dead: Any) -> None:
        if name not in self.naive.machines:
            self.add_machine_named(name, width, height, tags, dead)

    def add_machine_named(self, name: str, width: int, height: int, tags: Any, dead: Any) -> None:
        self.owner.queue.add_machine(name, width, height, tags, dead)
        allocator = Allocator(width, height, dead, seconds_before_free=REST)
        tags = {"default"} if tags is None else set(tags)
        self.naive.machines[name] = NaiveMachine(tags, allocator)
        self.naive.rebuild()

    @precondition(lambda self: self.naive.machines)
    @rule(data=st.data(), tags=some_tags, dead=st.none() | board_sets)
    def modify_machine(self, data: st.DataObject, tags: Any, dead: Any) -> None:
        name = data.draw(st.sampled_from(sorted(self.naive.machines)))

        self.owner.queue.modify_machine(name, tags=tags, dead_boards=dead)

        machine = self.naive.machines[name]
        if tags is not None:
            machine.tags = set(tags)
        if dead is not None:
            machine.allocator.dead_boards = dead
        self.naive.rebuild()

    @precondition(lambda self: self.naive.machines)
    @rule(data=st.data())
    def remove_machine(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.naive.machines)))

        self.owner.queue.remove_machine(name)

        self.naive.remove(name)

    @precondition(lambda self: self.naive.machines)
    @rule(data=st.data())
    def move_machine_to_end(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.naive.machines)))

        self.owner.queue.move_machine_to_end(name)

        self.naive.machines[name] = self.naive.machines.pop(name)

    @precondition(lambda self: self.naive.machines)
    @rule(data=st.data(), boards=board_sets)
    def set_quarantine(self, data: st.DataObject, boards: set[tuple[int, int, int]]) -> None:
        name = data.draw(st.sampled_from(sorted(self.naive.machines)))
        allocator = self.naive.machines[name].allocator
        boards = {
            (x, y, z) for x, y, z in boards if x < allocator.width and y < allocator.height
        }

        self.owner.queue.set_quarantine(name, boards)

        for board in sorted(allocator.quarantined - boards):
            allocator.release(board)
        for board in sorted(boards - allocator.quarantined):
            allocator.quarantine(board)
        self.naive.process()

    # --- all at once ---

    @rule()
    def begin_changes(self) -> None:
        self.entered.enter_context(self.owner.queue)
        self.naive.depth += 1

    @precondition(lambda self: self.naive.depth)
    @rule()
    def end_changes(self) -> None:
        self.entered.close()

        self.naive.depth = 0
        self.naive.rebuild()

    @precondition(lambda self: not self.naive.depth)
    @rule()
    def build_anew(self) -> None:
        before = {name: self.owner.waiting(name) for name in self.naive.machines}

        self.owner.queue._regenerate_queues()

        assert {name: self.owner.waiting(name) for name in self.naive.machines} == before

    @precondition(lambda self: not self.naive.depth)
    @rule()
    def pickle(self) -> None:
        queue = pickle.loads(pickle.dumps(self.owner.queue))
        queue.on_allocate, queue.on_free = self.owner.on_allocate, self.owner.on_free
        queue.on_cancel, queue.on_rested = self.owner.on_cancel, self.owner.on_rested
        self.owner.queue = queue
        # The tree is built anew from what is taken, and may be cut otherwise.
        for machine in self.naive.machines.values():
            machine.allocator = pickle.loads(pickle.dumps(machine.allocator))

    # --- at any time ---

    @invariant()
    def the_owner_was_told_the_same(self) -> None:
        assert self.owner.news() == self.naive.told
        self.naive.told.clear()

    @invariant()
    def each_machine_has_the_same_queue(self) -> None:
        assert list(self.owner.queue._machines) == list(self.naive.machines)
        if not self.naive.depth:
            for name in self.naive.machines:
                assert self.owner.waiting(name) == self.naive.waiting(name)

    @invariant()
    def the_same_jobs_have_the_same_boards(self) -> None:
        assert list(self.owner.queue._jobs) == list(self.naive.jobs)
        for number, job in self.naive.jobs.items():
            held = None if job.home is None else (job.home, job.allocation_id)
            assert self.owner.queue.allocation_of(number) == held
            if job.home is not None:
                outcome = self.naive.machines[job.home].allocator.describe(job.allocation_id)
                assert self.owner.queue.outcome_of(job.home, job.allocation_id) == outcome

    def teardown(self) -> None:
        self.entered.close()
        for number in list(self.owner.queue._jobs):
            self.owner.queue.destroy_job(number)
        for number in list(self.owner.queue._jobs):
            self.owner.queue.free(number)
        assert self.owner.queue._jobs == {}
        self.stack.close()


JobQueueMachine.TestCase.settings = settings(stateful_step_count=50)
TestJobQueue = JobQueueMachine.TestCase
