"""Nothing leaves before it is written."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from spalloc_server._jobs.write_ahead import EventBatch, WriteAhead
from tests.support.hand_clock import HandClock


class Keeper:
    """Keeps outcomes in a list; `steps` tells what was done, in order.

    If it is `slow`, outcomes are safe only when the test says so.
    """

    def __init__(self, steps: list[Any]) -> None:
        self.steps = steps
        self.appended: list[Any] = []
        self.trouble: str | None = None
        self.wants_snapshot = False
        self.lacks_journal = False
        self.takes_nothing = False
        self.mistakes = 0
        self.written = 0
        self.slow = False
        self.slowly_safe = 0
        self.news = False
        self.changed = threading.Condition()

    @property
    def pending(self) -> bool:
        return bool(self.appended)

    @property
    def position(self) -> int:
        return self.written + len(self.appended)

    @property
    def safe(self) -> int:
        if self.takes_nothing:
            return self.position
        return self.slowly_safe if self.slow else self.written

    def make_safe(self, position: int) -> None:
        """Do as a thread of the keeper does."""
        with self.changed:
            self.slowly_safe = position
            self.news = True
            self.changed.notify_all()

    def settle(self) -> None:
        self.news = False

    def wait_for_news(self, position: int, seconds: float) -> None:
        with self.changed:
            self.steps.append(f"wait for {position}")
            self.changed.wait_for(lambda: self.news or self.safe >= position, 10)

    def begin(self, state: Any, position: int | None = None) -> None:
        self.steps.append(("begin", state, position))

    def append(self, outcome: Any) -> None:
        self.appended.append(outcome)

    def commit(self) -> None:
        if self.mistakes:
            self.mistakes -= 1
            raise LookupError("a mistake of ours")
        if not self.takes_nothing:
            self.steps.append(("write", *self.appended))
            self.written += len(self.appended)
            self.appended.clear()

    def snapshot(self, state: Any) -> None:
        self.wants_snapshot = self.lacks_journal = False
        self.steps.append(("snapshot", state))

    def close(self, state: Any, clean: bool = True) -> None:
        self.steps.append(("close", state, clean))

    def abandon(self) -> None:
        self.steps.append("abandon")


class Source:
    """A controller whose state is a number."""

    def __init__(self) -> None:
        self.undisturbed = threading.RLock()

    def __getstate__(self) -> Any:
        assert self.undisturbed._is_owned()  # type: ignore[attr-defined]
        return 7


class Frame:
    """A frame that tells what it is asked, and in which hold."""

    def __init__(self, name: str, steps: list[Any]) -> None:
        self.name, self.steps = name, steps
        self.on_request: Any = lambda: None

    def __enter__(self) -> Frame:
        self.steps.append(f"hold {self.name}")
        return self

    def __exit__(self, *_: object) -> None:
        self.steps.append(f"release {self.name}")

    def add_requests(self, request: Any) -> None:
        self.steps.append(f"{self.name} {request}")
        self.on_request()

    def stop(self) -> None:
        self.steps.append(f"{self.name} ends")


class World:
    """A WriteAhead with all around it."""

    def __init__(self) -> None:
        self.steps: list[Any] = []
        self.wakes = 0
        self.keeper = Keeper(self.steps)
        self.source = Source()
        self.ahead = WriteAhead(self.keeper, self.wake)
        self.a: Any = Frame("a", self.steps)
        self.b: Any = Frame("b", self.steps)

    def wake(self) -> None:
        self.wakes += 1

    def begin(self) -> None:
        self.ahead.begin(self.source)
        self.steps.clear()

    def note(self, outcome: Any) -> None:
        with self.source.undisturbed:
            self.ahead.note(outcome)

    def send(self, frame: Any, request: Any) -> None:
        with self.source.undisturbed:
            self.ahead.send(frame, request)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[HandClock]:
    yield HandClock(monkeypatch)


def test_requests_follow_the_write_of_their_outcome(world: World) -> None:
    world.begin()
    world.note("job 1")
    world.send(world.a, "on")
    assert world.steps == []

    world.ahead.commit()

    assert world.steps == [("write", "job 1"), "a on"]
    assert not world.ahead.uncommitted


def test_a_frame_sees_all_its_requests_at_once_and_in_order(world: World) -> None:
    world.begin()
    for frame, request in ((world.a, 1), (world.b, 2), (world.a, 3)):
        world.send(frame, request)
    world.ahead.stop(world.a)

    world.ahead.commit()

    assert world.steps[:2] == ["hold a", "hold b"]
    assert world.steps[2:6] == ["a 1", "b 2", "a 3", "a ends"]


def test_nothing_is_written_or_asked_before_the_beginning(world: World) -> None:
    world.note("in the first state")
    world.send(world.a, "on")

    world.ahead.commit()
    assert world.steps == []
    world.ahead.begin(world.source)
    world.ahead.commit()

    assert world.steps == [("begin", 7, 0), "a on"]


def test_outcomes_of_one_commit_are_one_record(world: World) -> None:
    world.begin()
    world.note(1)
    world.note(2)

    world.ahead.commit()
    world.ahead.commit()

    assert world.steps == [("write", 1, 2)]


def test_the_loop_is_woken_once_until_it_has_written(world: World) -> None:
    world.begin()
    for _ in range(3):
        world.note(1)
    assert world.wakes == 1
    world.send(world.a, "on")
    world.send(world.a, "off")
    assert world.wakes == 2

    world.ahead.commit()
    world.note(2)

    assert world.wakes == 3


def test_a_frame_that_answers_at_once_has_that_written_next(world: World) -> None:
    world.begin()
    world.a.on_request = lambda: world.ahead.note(("ready",))
    world.send(world.a, "on")

    world.ahead.commit()

    assert world.ahead.uncommitted
    world.ahead.commit()
    assert world.steps[-1] == ("write", ("ready",))


def test_on_a_disk_that_takes_nothing_frames_are_asked_all_the_same(world: World) -> None:
    world.begin()
    world.keeper.takes_nothing, world.keeper.trouble = True, "full"
    world.note(1)
    world.send(world.a, "on")

    world.ahead.commit()

    assert "a on" in world.steps
    assert world.ahead.uncommitted
    assert world.ahead.seconds_at_rest() <= 1


def test_a_mistake_in_writing_keeps_the_requests_for_the_next_commit(world: World) -> None:
    world.begin()
    world.keeper.mistakes = 1
    world.note(1)
    world.send(world.a, "on")

    with pytest.raises(LookupError):
        world.ahead.commit()
    assert world.steps == []
    assert world.ahead.seconds_at_rest() == 0
    world.ahead.tend()

    assert world.steps == [("write", 1), "a on"]


def test_without_a_journal_a_commit_writes_the_whole_state(world: World) -> None:
    world.begin()
    world.keeper.lacks_journal = True
    world.note(1)

    world.ahead.commit()

    assert world.steps == [("write", 1), ("snapshot", 7)]


def test_outcomes_alone_are_written_after_a_while(world: World, clock: HandClock) -> None:
    world.begin()
    world.note("ready")
    world.ahead.commit()
    world.steps.clear()
    assert world.ahead.seconds_at_rest() == math.inf
    world.note("ready")

    seconds = world.ahead.seconds_at_rest()
    world.ahead.tend()
    assert world.steps == []
    clock.advance(seconds)
    world.ahead.tend()

    assert 0 < seconds < 1
    assert world.steps == [("write", "ready")]


def test_the_keeper_gets_the_snapshot_that_it_wants(world: World) -> None:
    world.begin()
    world.ahead.tend()
    assert world.steps == []
    world.keeper.wants_snapshot = True

    world.ahead.tend()

    assert world.steps == [("snapshot", 7)]


def test_at_the_end_requests_are_not_held_back_any_more(world: World) -> None:
    world.begin()
    world.note(1)
    world.send(world.a, "on")

    world.ahead.stop_holding()
    world.send(world.b, "off")
    world.ahead.close(clean=False)
    world.note("too late")

    assert world.steps == [
        ("write", 1),
        "a on",
        "b off",
        ("close", 7, False),
    ]
    assert world.keeper.appended == []


def test_at_the_end_a_mistake_in_writing_keeps_no_frame_waiting(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.begin()
    world.keeper.mistakes = 1
    world.note(1)
    world.send(world.a, "on")

    world.ahead.stop_holding()

    assert "a on" in world.steps
    assert "a mistake of ours" in caplog.text


def test_requests_that_were_dropped_are_never_made(world: World) -> None:
    world.begin()
    world.send(world.a, "on")
    world.ahead.drop_requests()

    world.ahead.commit()
    world.ahead.abandon()
    world.note(1)

    assert world.steps == ["abandon"]
    assert world.keeper.appended == []


# --- a keeper that needs time ---


@pytest.fixture
def slow(world: World) -> World:
    world.begin()
    world.keeper.slow = True
    return world


def test_requests_wait_until_their_outcome_is_safe(slow: World) -> None:
    slow.note("job 1")
    slow.send(slow.a, "on")

    position = slow.ahead.commit()
    assert slow.steps == [("write", "job 1")]
    assert (position, slow.ahead.safe) == (1, 0)
    assert slow.ahead.uncommitted
    assert slow.ahead.seconds_at_rest() == math.inf
    slow.keeper.make_safe(1)
    slow.ahead.tend()

    assert slow.steps[1:] == ["a on"]
    assert not slow.ahead.uncommitted
    assert slow.ahead.safe == 1


def test_requests_of_one_commit_do_not_wait_for_the_next(slow: World) -> None:
    for number in (1, 2):
        slow.note(f"job {number}")
        slow.send(slow.a, number)
        slow.ahead.commit()

    slow.keeper.make_safe(1)
    slow.ahead.tend()

    assert slow.steps[2:] == ["a 1"]
    assert slow.ahead.uncommitted
    slow.keeper.make_safe(2)
    slow.ahead.tend()
    assert "a 2" in slow.steps


def test_a_caller_from_within_waits_until_it_is_safe(slow: World) -> None:
    slow.note("job 1")
    slow.send(slow.a, "on")
    done = threading.Event()

    def call() -> None:
        slow.ahead.commit_and_wait()
        done.set()

    caller = threading.Thread(target=call)
    caller.start()
    while "wait for 1" not in slow.steps:
        assert not done.is_set()
    slow.keeper.make_safe(1)
    caller.join(10)

    assert done.is_set()
    assert "a on" in slow.steps


def test_at_the_end_requests_go_although_they_are_not_safe(slow: World) -> None:
    slow.note(1)
    slow.send(slow.a, "on")

    slow.ahead.stop_holding()

    assert slow.steps == [("write", 1), "a on"]


# --- events ---


class Numbers:
    """Makes events: ("one",) one, ("some", n) so many; `plain` tells the unfiled ones."""

    kinds = frozenset({"one", "some"})
    several = frozenset({"some"})

    def __init__(self) -> None:
        self.last = 1
        self.unfiled = [{"number": 1}]
        self.unmade: deque[EventBatch] = deque()

    def begin(self, book: Any) -> None:
        """Nothing to prepare."""

    def make(self, batch: EventBatch) -> None:
        while batch.events is None:
            each = self.unmade.popleft()
            count = sum(1 if outcome[0] == "one" else outcome[1] for outcome, _ in each.outcomes)
            each.last = each.first + count - 1
            each.events = [{"number": number} for number in range(each.first, each.last + 1)]

    def plain(self, unfiled: Any) -> Any:
        return [event["number"] for event in unfiled]


ONE = ("one",)


class EventFile:
    """A file that writes when the test says so."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Any] = SimpleQueue()
        self.settled = 0

    def received(self) -> list[int]:
        """Numbers of the events that have come since."""
        lists = [self.inbox.get_nowait() for _ in range(self.inbox.qsize())]
        return [event["number"] for events in lists for event in events]

    def close(self) -> None:
        """Nothing to close."""


class BookSource(Source):
    """A controller whose state is a dict."""

    def __getstate__(self) -> Any:
        return {}


@pytest.fixture
def telling(world: World) -> World:
    """A world whose events have numbers and a file; the first one is in the file's inbox."""
    world.source, world.file = BookSource(), EventFile()  # type: ignore[attr-defined]
    world.ahead.begin(world.source, Numbers(), world.file)  # type: ignore[attr-defined]
    world.steps.clear()
    return world


def snapshot_of(world: World) -> Any:
    """Return the events of a new snapshot."""
    world.keeper.wants_snapshot = True
    world.ahead.tend()
    return world.steps[-1][1]["events"]


def test_the_file_gets_events_when_they_are_safe(telling: Any) -> None:
    assert telling.file.received() == [1]
    telling.keeper.slow, telling.keeper.slowly_safe = True, 0
    telling.note(ONE)
    telling.ahead.commit()
    assert telling.file.received() == []

    telling.keeper.make_safe(2)
    telling.ahead.settle()

    assert telling.file.received() == [2]


def test_a_snapshot_has_the_events_that_the_file_has_not_settled(telling: Any) -> None:
    telling.note(ONE)
    telling.ahead.commit()
    telling.keeper.slow, telling.keeper.slowly_safe = True, 2
    telling.note(ONE)
    telling.ahead.commit()

    assert snapshot_of(telling) == [1, 2, 3], "one of them is not safe yet"
    telling.file.settled = 1
    assert snapshot_of(telling) == [2, 3]
    telling.keeper.make_safe(4)
    telling.ahead.settle()
    telling.file.settled = 3
    assert snapshot_of(telling) == []


def test_events_that_are_settled_take_no_memory(telling: Any) -> None:
    for number in range(2, 100):
        telling.note(ONE)
        telling.ahead.commit()
        telling.file.settled = number

    assert len(telling.ahead._unsettled) == 1


def test_numbers_are_written_with_their_outcomes_before_there_are_events(
    telling: Any, clock: HandClock
) -> None:
    telling.file.received()
    for outcome in (ONE, ("none",), ONE):
        telling.note(outcome)

    telling.ahead.commit()

    ((_, *written),) = telling.steps
    assert written == [ONE, ("none",), ONE, ("events", 2, 2, clock.today)]
    batch = telling.ahead._unsettled[-1]
    assert batch.events is None
    assert [event["number"] for event in batch] == [2, 3]


def test_a_commit_without_events_has_no_numbers(telling: Any) -> None:
    telling.note(("none",))
    telling.note(("some", 0))
    telling.ahead.commit()
    telling.note(ONE)
    telling.ahead.commit()

    assert [step[-1] for step in telling.steps[:1]] == [("some", 0)]
    assert telling.file.received() == [1, 2]


def test_events_are_made_at_once_where_nobody_can_know_how_many(telling: Any) -> None:
    telling.file.received()
    telling.note(ONE)
    telling.ahead.commit()
    telling.note(("some", 3))
    telling.note(ONE)

    telling.ahead.commit()

    assert telling.steps[-1][-1][:3] == ("events", 3, 4)
    _, first, second = telling.ahead._unsettled
    assert first.events == [{"number": 2}]
    assert [event["number"] for event in second.events] == [3, 4, 5, 6]
    assert telling.file.received() == [2, 3, 4, 5, 6]


def test_a_batch_of_which_the_file_has_a_part_is_told_in_part(telling: Any) -> None:
    telling.note(ONE)
    telling.note(ONE)
    telling.ahead.commit()

    telling.file.settled = 2

    assert snapshot_of(telling) == [3]
