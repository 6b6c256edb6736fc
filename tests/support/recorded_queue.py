"""A random life of a job queue, and the decisions made in it.

The same seed makes the same events for good, so that decisions recorded from
an earlier version can be compared with the decisions of today.
"""

import json
import random
from pathlib import Path
from typing import Any

from spalloc_server.job_queue import JobQueue
from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.queueing import Owner

#: What version 1.0.0 decided, with its rules for dead cables mended.
RECORDED = Path(__file__).parent.parent / "data" / "first_come_first_served.json"

SEEDS = range(6)
EVENTS = 400
REST = 30


class RecordedLife:
    """Random events on two or three machines, with dead boards and quarantine."""

    def __init__(self, seed: int, clock: FakeClock) -> None:
        self.random = random.Random(seed)
        self.clock = clock
        self.owner = Owner(seconds_before_free=REST)
        self.queue: JobQueue = self.owner.queue
        self.queue.full_measure = bool(seed % 2)
        self.decisions: list[Any] = []
        self.last_id = 0
        self.sizes = {"a": (8, 6), "b": (4, 4), "c": (5, 2)}
        for name, (width, height) in self.sizes.items():
            self.queue.add_machine(
                name, width, height, {"default", name}, *self.faults(width, height)
            )
        self.note()

    def run(self) -> list[Any]:
        """Let all events happen, and tell the decisions, as they come back from JSON."""
        events = (
            self.create, self.destroy, self.free, self.wait, self.fail, self.mend, self.change
        )  # fmt: skip
        for _ in range(EVENTS):
            self.random.choices(events, (40, 25, 25, 30, 2, 2, 1))[0]()
            self.note()
        told: list[Any] = json.loads(json.dumps(self.decisions))
        return told

    def faults(self, width: int, height: int) -> tuple[Any, Any]:
        pick = self.random.randrange
        boards = {(pick(width), pick(height), pick(3)) for _ in range(pick(3))}
        links = {(pick(width), pick(height), pick(3), Links(pick(6))) for _ in range(pick(3))}
        return boards, links

    def create(self) -> None:
        pick = self.random
        what: tuple[int, ...]
        kind = pick.random()
        if kind < 0.3:
            what = ()
        elif kind < 0.6:
            what = (int(3 ** pick.uniform(0.6, 4.2)),)
        elif kind < 0.9:
            what = (pick.randint(1, 5), pick.randint(1, 4))
        else:
            what = (pick.randint(0, 5), pick.randint(0, 3), pick.randint(0, 2))
        limits: dict[str, Any] = {}
        if pick.random() < 0.2:
            limits["max_dead_boards"] = pick.randint(0, 2)
        if pick.random() < 0.1:
            limits["max_dead_links"] = pick.randint(0, 2)
        if len(what) == 1 and what[0] > 1 and pick.random() < 0.2:
            limits["min_ratio"] = pick.choice((0.3, 0.5, 1.0))
        if pick.random() < 0.2:
            limits["tags"] = [pick.choice("abc")]
        self.last_id += 1
        self.queue.create_job(*what, job_id=self.last_id, **limits)

    def destroy(self) -> None:
        jobs = sorted(number for number, job in self.queue._jobs.items() if not job.going)
        if jobs:
            self.queue.destroy_job(self.random.choice(jobs))

    def free(self) -> None:
        for number in sorted(number for number, job in self.queue._jobs.items() if job.going):
            if self.random.random() < 0.7:
                self.queue.free(number)

    def wait(self) -> None:
        self.clock.advance(self.random.randint(1, 40))
        self.queue.check_free()

    def fail(self) -> None:
        running = sorted(n for n in self.queue._jobs if self.queue.allocation_of(n))
        if running and self.random.random() < 0.5:
            self.queue.requeue(self.random.choice(running))
        name = self.random.choice(sorted(self.sizes))
        width, height = self.sizes[name]
        pick = self.random.randrange
        self.queue.quarantine(name, (pick(width), pick(height), pick(3)))

    def mend(self) -> None:
        for name in sorted(self.sizes):
            for board in sorted(self.queue._machines[name].allocator.quarantined)[:2]:
                self.queue.release(name, board)

    def change(self) -> None:
        name = self.random.choice(sorted(self.sizes))
        boards, links = self.faults(*self.sizes[name])
        self.queue.modify_machine(name, dead_boards=boards, dead_links=links)

    def note(self) -> None:
        """Note the decisions since the last time."""
        for kind, number, *rest in self.owner.news():
            if kind == "allocate":
                where = self.queue.allocation_of(number)
                assert where is not None
                boards = len(self.owner.boards[number])
                self.decisions.append([number, where[0], self.queue.outcome_of(*where), boards])
            elif kind != "blocked":
                self.decisions.append([number, kind, *rest])


def record() -> None:
    """Write the decisions of today down as those to be kept."""
    with FakeClock().installed() as clock:
        lives = [RecordedLife(seed, clock).run() for seed in SEEDS]
    RECORDED.write_text(json.dumps(lives, separators=(",", ":")) + "\n", encoding="ascii")


if __name__ == "__main__":
    record()
