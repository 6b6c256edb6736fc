"""Hours of users, faults and tests of boards, on a clock of its own.

Each fault of the simulator on one board, on several boards and on a whole frame,
under load: long enough that every interval between two tests passes.
"""

import logging
import random
from collections.abc import Iterator

import pytest

from spalloc_server._jobs.out_of_service import OutOfService
from spalloc_server._places import Board
from spalloc_server.controller import JobState
from tests.support.facility import Facility, machine

MINUTE, HOUR = 60.0, 3600.0
#: 1 + 5 + 15 + 60 + 60 minutes and some: each interval, and the last one again.
FAULTY_FOR = 2.5 * HOUR
#: A board that is not at fault may be out for so long, to be tested among others.
HEALTHY_OUT = 6 * MINUTE

#: {name: (text of the simulator, whether users' jobs meet it)}
FAULTS = {
    "lose": ("lose 70%", True),
    "silent": ("silent", True),
    "error": ("error DEAD", True),
    "bad registers": ("error ARG write", True),
    "slow": ("slow 3600", True),
    "fpga-wrong": ("fpga-wrong", True),
    "fpga-wrong at times": ("fpga-wrong 8 times", True),
    "refuse-power": ("refuse-power", True),
    "refuse-power on": ("refuse-power on", True),
    "refuse-power off": ("refuse-power off", True),
    "old version": ("version 1.3.1", False),
}
#: {name: which boards of frame 0, as the simulator names them}
SCOPES = {"one board": "board 7", "several boards": "board 2,3,9-11", "a frame": ""}


class Client:
    """Asks for boards, uses them for a while, gives them back, thinks, and so on."""

    def __init__(self, load: "Load", seed: int) -> None:
        self._load = load
        self._random = random.Random(seed)
        self.job: int | None = None
        self.act_at: float | None = load.facility.time.now + self._random.uniform(0, 60)
        self.served = 0

    def what(self) -> tuple[int, ...]:
        """A request of any kind that half a machine can serve."""
        kinds: list[tuple[int, ...]] = [(), (1,), (2,), (3,), (4,), (6,), (1, 1), (2, 1)]
        return self._random.choice(kinds)

    def look(self, now: float) -> None:
        facility = self._load.facility
        if self.job is not None and self.act_at is None:
            state = facility.state(self.job)
            if state is JobState.destroyed:
                self.job, self.act_at = None, now + 1
            elif state is JobState.ready:
                self.served += 1
                self.act_at = now + self._random.uniform(20, 300)
        if self.act_at is None or now < self.act_at:
            return
        self.act_at = None
        if self.job is None:
            self.job = facility.create(*self.what())
        else:
            facility.controller.destroy_job(None, self.job, "done")
            self.job, self.act_at = None, now + self._random.uniform(0, 30)


class Load:
    """A busy facility, watched all the time."""

    def __init__(self, facility: Facility, clients: int = 10) -> None:
        self.facility = facility
        self.clients = [Client(self, seed) for seed in range(clients)]
        self.bad: set[Board] = set()
        self.ever_out: set[Board] = set()
        self._out_since: dict[Board, float] = {}
        self._events = 0
        facility.on_event = self._watch
        facility.extra_times = lambda: [c.act_at for c in self.clients if c.act_at is not None]

    @property
    def served(self) -> int:
        return sum(client.served for client in self.clients)

    @property
    def lost(self) -> dict[int, str | None]:
        return {job: why for job, why in self.facility.ended.items() if why != "done"}

    def _watch(self) -> None:
        now = self.facility.time.now
        for client in self.clients:
            client.look(now)
        self._events += 1
        rows = self.facility.controller.overview.out_of_service()
        self._nothing_given_that_is_out(rows)
        self._nobody_healthy_out_for_long({row.board for row in rows}, now)
        if self._events % 10 == 0:
            self._nobody_waits_for_what_is_free()

    def _nothing_given_that_is_out(self, rows: list[OutOfService]) -> None:
        """What is out of service is nobody's, but for jobs that had it before."""
        for row in rows:
            if row.job_id is not None:
                record = self.facility.controller._jobs[row.job_id]
                given = [g.when for g in self.facility.given if g.job_id == row.job_id][-1]
                assert row.since - self.facility.time.wall_offset >= given, (row, record.args)

    def _nobody_healthy_out_for_long(self, all_out: set[Board], now: float) -> None:
        out = all_out - self.bad
        self.ever_out |= all_out
        self._out_since = {board: self._out_since.get(board, now) for board in out}
        for board, since in self._out_since.items():
            assert now - since <= HEALTHY_OUT, f"{board} is healthy, and out since {since}"

    def _nobody_waits_for_what_is_free(self) -> None:
        """The first job of each queue, and all that wait for bad boards, cannot be served."""
        queue = self.facility.controller._job_queue
        blocked = queue.blocked()
        for name, each in queue._machines.items():
            for job in each.queue:
                if not job.pending:
                    continue
                # If this is not None the test has failed, so that it may be tried.
                assert each.allocator.allocate(job.request) is None, (name, job.args)
                if name not in blocked.get(job.id, ()):
                    break


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Format no lines that nobody reads: there are thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def load() -> Iterator[Load]:
    facility = Facility(
        [machine("m", width=4, height=2, per_frame=12), machine("n", width=2, height=1)],
        seconds_before_free=30,
    )
    yield Load(facility)
    facility.close()


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("fault", FAULTS)
def test_bad_boards_cost_no_job(load: Load, fault: str, scope: str) -> None:
    facility = load.facility
    text, met = FAULTS[fault]
    boards = SCOPES[scope]
    facility.run(10 * MINUTE)
    places = facility.controller.machines["m"].board_locations
    numbers = {int(n) for n in numbers_in(boards)} or set(range(12))
    load.bad = {board for board, place in places.items() if place[1] == 0 and place[2] in numbers}
    begun = facility.time.now
    served = load.served

    facility.inject(f"0 {boards} {text}")
    facility.run(FAULTY_FOR)
    during = load.served - served
    facility.inject("0 clear")
    facility.run(HOUR + 5 * MINUTE)
    out = facility.controller.overview.out_of_service()
    locked = [row for row in out if row.next_test is None]
    for row in locked:
        facility.controller.upkeep.release_boards(row.machine, [row.board])
    facility.run(5 * MINUTE)

    assert load.lost == {}
    assert facility.out == set()
    assert during > 150
    assert bool(load.ever_out & load.bad) == met
    assert_given_seldom(load, begun)
    assert_all_can_be_used(load)


def numbers_in(text: str) -> Iterator[int]:
    """Numbers of a text like ``board 2,3,11-13``."""
    for part in text.removeprefix("board ").split(","):
        if part:
            first, _, last = part.partition("-")
            yield from range(int(first), int(last or first) + 1)


def assert_given_seldom(load: Load, begun: float) -> None:
    """No bad board is given again within its interval after it failed."""
    failed: dict[Board, float] = {}
    for when, board, what in health_events(load):
        if what == "out":
            failed[board] = when
        elif board in failed and board in load.bad and when > begun:
            assert when - failed[board] >= MINUTE, (board, failed[board], when)


def health_events(load: Load) -> list[tuple[float, Board, str]]:
    """When boards were given, and when they went out for sure, in order."""
    given = [each for each in load.facility.given if each.machine == "m"]
    events = [(each.when, board, "given") for each in given for board in each.boards]
    events += [(when, board, "out") for when, board in load.facility.faulted]
    return sorted(events)


def assert_all_can_be_used(load: Load) -> None:
    """With nobody else there, whole machines are given and get ready."""
    facility = load.facility
    facility.extra_times = list
    facility.on_event = lambda: None
    for job in facility.controller.list_jobs():
        facility.controller.destroy_job(None, job.job_id, "done")
    facility.run(2 * MINUTE)

    jobs = [facility.create(4, 2, machine="m"), facility.create(2, 1, machine="n")]
    facility.run(MINUTE)

    assert [facility.state(job) for job in jobs] == [JobState.ready] * 2
