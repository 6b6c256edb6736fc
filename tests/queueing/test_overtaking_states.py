"""Any sequence of uses of a queue that overtakes keeps its promises."""

import pickle
from contextlib import ExitStack
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.watched_queue import WatchedQueue

PATIENCE, REST = 100, 10
SIZES = {"a": (4, 3), "b": (3, 3)}

sides = st.integers(1, 4)
requests = st.one_of(
    st.just(()),
    st.tuples(st.integers(2, 36)),
    st.tuples(sides, sides),
    st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2)),
)
limits = st.fixed_dictionaries(
    {}, optional={"max_dead_boards": st.none() | st.integers(0, 2), "min_ratio": st.just(0.5)}
)
places = st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2))


class OvertakingMachine(RuleBasedStateMachine):
    """A queue whose jobs come, end, fail and wait."""

    @initialize(two=st.booleans())
    def start(self, two: bool) -> None:
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(FakeClock().installed())
        self.watched = WatchedQueue(PATIENCE, REST)
        self.queue = self.watched.queue
        self.names = ["a", "b"] if two else ["a"]
        for name in self.names:
            self.queue.add_machine(name, *SIZES[name], {"default", name})
        self.last_id = 0

    def running(self) -> list[int]:
        return sorted(
            number for number, job in self.queue._jobs.items() if not job.pending and not job.going
        )

    # --- jobs ---

    @rule(what=requests, given=limits, tag=st.none() | st.sampled_from(("a", "b")))
    def create(self, what: tuple[int, ...], given: dict[str, Any], tag: str | None) -> None:
        self.last_id += 1
        if tag is not None:
            given["tags"] = [tag]
        self.queue.create_job(*what, job_id=self.last_id, **given)

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        self.queue.destroy_job(data.draw(st.sampled_from(self.running())))

    @precondition(lambda self: self.queue._jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        self.queue.destroy_job(data.draw(st.sampled_from(sorted(self.queue._jobs))))

    @rule()
    def all_that_are_going_are_off(self) -> None:
        for number in sorted(n for n, job in self.queue._jobs.items() if job.going):
            self.queue.free(number)

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        self.queue.requeue(data.draw(st.sampled_from(self.running())))

    @rule(seconds=st.sampled_from((1, REST, 40, PATIENCE)))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.queue.check_free()

    # --- machines ---

    @rule(board=places, data=st.data())
    def quarantine(self, board: tuple[int, int, int], data: st.DataObject) -> None:
        self.watched.machine_changed()
        self.queue.quarantine(data.draw(st.sampled_from(self.names)), board)

    @rule(data=st.data())
    def release_all(self, data: st.DataObject) -> None:
        self.queue.set_quarantine(data.draw(st.sampled_from(self.names)), ())

    @rule(
        boards=st.sets(places, max_size=2),
        links=st.sets(st.tuples(places, st.sampled_from(list(Links))), max_size=2),
        data=st.data(),
    )
    def fail(self, boards: Any, links: Any, data: st.DataObject) -> None:
        self.watched.machine_changed()
        self.queue.modify_machine(
            data.draw(st.sampled_from(self.names)),
            dead_boards=boards,
            dead_links={(*board, link) for board, link in links},
        )

    @rule(tags=st.sampled_from(({"default", "a"}, {"a"}, {"default"})))
    def tag(self, tags: set[str]) -> None:
        self.watched.machine_changed()
        self.queue.modify_machine("a", tags=tags)

    @rule(patience=st.sampled_from((0, 50, PATIENCE)))
    def change_patience(self, patience: int) -> None:
        self.watched.machine_changed()
        self.queue.patience = patience

    @rule()
    def pickle(self) -> None:
        watched = self.watched
        queue = pickle.loads(pickle.dumps(self.queue))
        queue.on_allocate, queue.on_free = watched.on_allocate, watched.on_free
        queue.on_cancel, queue.on_region = watched.on_cancel, watched.on_region
        self.queue = watched.queue = queue

    @invariant()
    def its_promises_are_kept(self) -> None:
        self.watched.check()

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()


OvertakingMachine.TestCase.settings = settings(stateful_step_count=40)
TestOvertaking = OvertakingMachine.TestCase
