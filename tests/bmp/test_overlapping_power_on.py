"""Boards of a frame are used while others of it configure their FPGAs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from spalloc_server._bmp.requests import AtomicRequests, RequestQueue
from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.stepped_frame import SECONDS_TO_CONFIGURE, SteppedController

#: Seconds from a request to its boards being ready, whatever else the frame does.
LONGEST = 6.6


class Frame:
    """A frame without a thread, and the times at which its requests were answered."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.began = clock.now
        self.controller = SteppedController(clock)
        self.hardware = self.controller.hardware
        self.answers: dict[str, tuple[float, bool]] = {}
        # Boards that were usable when a request succeeded.
        self.usable: dict[str, set[int]] = {}

    def ask(
        self,
        name: str,
        *,
        on: tuple[int, ...] = (),
        links: tuple[int, ...] = (),
        off: tuple[int, ...] = (),
        background: bool = False,
    ) -> None:
        request = AtomicRequests(partial(self._answered, name))
        for board in on:
            request.power(board, True)
        for board in links:
            request.link(board, Links.north, False)
        for board in off:
            request.power(board, False)
        request.background = background
        self.controller.add_requests(request)

    def work(self, seconds: float) -> None:
        self.controller.work(self.clock.now + seconds)

    def done_at(self, name: str) -> float:
        """Seconds since the beginning."""
        when, success = self.answers[name]
        assert success
        return when - self.began

    @property
    def commands(self) -> list[tuple[str, tuple[int, ...]]]:
        return [(command.what, command.boards) for command in self.hardware.commands]

    def _answered(self, name: str, success: bool, reason: str | None = None) -> None:
        assert name not in self.answers
        self.answers[name] = self.clock.now, success
        if success:
            self.usable[name] = self.hardware.on & self.hardware.checked


@pytest.fixture
def frame() -> Iterator[Frame]:
    with FakeClock().installed() as clock:
        yield Frame(clock)


def test_24_jobs_at_once_are_all_ready_after_one_wait(frame: Frame) -> None:
    for board in range(24):
        frame.ask(f"job {board}", on=(board,), links=(board,))

    frame.work(60)

    assert max(frame.done_at(f"job {board}") for board in range(24)) < LONGEST
    assert frame.commands[0] == ("on", tuple(range(24)))
    assert frame.commands.count(("link", (5,))) == 1


def test_jobs_that_come_one_after_the_other_do_not_wait_for_each_other(frame: Frame) -> None:
    for board in range(24):
        frame.ask(f"job {board}", on=(board,), links=(board,))
        # The clock may be a little further, as the frame finishes its command first.
        frame.controller.work(frame.began + 0.4 * (board + 1))

    frame.work(60)

    waits = [frame.done_at(f"job {board}") - 0.4 * board for board in range(24)]
    assert max(waits) < LONGEST
    assert min(waits) >= SECONDS_TO_CONFIGURE


def test_other_boards_are_switched_off_and_linked_meanwhile(frame: Frame) -> None:
    frame.ask("on", on=(1,), links=(1,))
    frame.ask("off", off=(2,))
    frame.ask("links", links=(3,))
    frame.work(1.2)
    frame.ask("off again", off=(4,))

    frame.work(60)

    assert frame.done_at("off") < 1.2
    assert frame.done_at("links") < 1.2
    assert frame.done_at("off again") < 2.0
    assert frame.done_at("on") > SECONDS_TO_CONFIGURE


def test_a_board_that_configures_is_left_alone_until_it_is_done(frame: Frame) -> None:
    frame.ask("on", on=(1, 2))
    frame.work(1.0)
    frame.ask("off", off=(2,))
    frame.ask("behind it", on=(2, 3))

    frame.work(60)

    assert frame.done_at("on") < frame.done_at("off") < frame.done_at("behind it")
    assert frame.hardware.touched_too_early == []


def test_checks_that_are_due_go_before_new_power_commands(frame: Frame) -> None:
    frame.ask("on", on=(1,))
    frame.work(SECONDS_TO_CONFIGURE + 0.4)
    frame.clock.advance(0.2)
    frame.ask("new", on=(2,))

    frame.work(60)

    assert frame.commands[:3] == [("on", (1,)), ("check", (1,)), ("on", (2,))]


def test_only_wrong_boards_wait_for_their_next_power_cycle(frame: Frame) -> None:
    frame.hardware.wrong[1] = 1
    frame.ask("wrong", on=(1,), links=(1,))
    frame.ask("right", on=(2,), links=(2,))

    frame.work(60)

    assert frame.done_at("right") < LONGEST
    assert frame.done_at("wrong") > 2 * SECONDS_TO_CONFIGURE
    assert frame.hardware.touched_too_early == []


def test_a_late_answer_begins_the_wait_of_those_boards_anew(frame: Frame) -> None:
    frame.ask("late", on=(1,))
    frame.work(1.0)
    frame.ask("other", on=(2,))
    frame.work(1.0)

    frame.hardware.waits[1].over_at += 3.0
    frame.work(60)

    assert frame.done_at("late") == pytest.approx(8.5, abs=0.1)
    assert frame.done_at("other") < 1.0 + LONGEST


def test_a_late_answer_found_at_the_last_moment_counts(
    frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = [3.0]

    def answer_late() -> None:
        if late and frame.clock.now >= frame.hardware.waits[1].over_at:
            frame.hardware.waits[1].over_at += late.pop()

    monkeypatch.setattr(frame.hardware, "take_late_answers", answer_late)
    frame.ask("late", on=(1,))

    frame.work(60)

    assert frame.done_at("late") == pytest.approx(8.5, abs=0.1)


def test_a_job_does_not_wait_for_the_test_of_another_board(frame: Frame) -> None:
    frame.ask("test", on=(1,), off=(1,), background=True)
    frame.work(1.0)
    frame.ask("other", on=(2,))
    frame.ask("same", on=(1,))

    frame.work(60)

    assert frame.done_at("other") < 1.0 + LONGEST
    assert frame.done_at("test") < frame.done_at("same")
    assert frame.hardware.touched_too_early == []


def test_one_test_at_a_time(frame: Frame) -> None:
    for board in (1, 2):
        frame.ask(f"test {board}", on=(board,), off=(board,), background=True)

    frame.work(60)

    assert frame.done_at("test 2") > 2 * SECONDS_TO_CONFIGURE


def test_stop_lets_boards_finish_configuring(frame: Frame) -> None:
    frame.ask("on", on=(1,))
    frame.work(1.0)

    frame.controller.stop()

    assert not frame.controller._is_at_end()
    frame.work(60)
    assert frame.controller._is_at_end()
    assert frame.done_at("on") < LONGEST


_BOARDS = st.lists(st.integers(0, 4), max_size=3, unique=True).map(tuple)


class OneBoardAfterTheOther(RuleBasedStateMachine):
    """Per board everything stays first come, first served, whatever fails."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = FakeClock()
        self._patch = self._clock.installed()
        self._patch.__enter__()
        self.frame = Frame(self._clock)
        # Names of requests in the order of their arrival, with their boards.
        self.asked: dict[str, set[int]] = {}
        self.background: set[str] = set()
        self.on_boards: dict[str, set[int]] = {}

    def teardown(self) -> None:
        self.frame.work(1000)
        assert self.frame.answers.keys() == self.asked.keys()
        self._patch.__exit__(None, None, None)

    @rule(on=_BOARDS, links=_BOARDS, off=_BOARDS)
    def ask(self, on: tuple[int, ...], links: tuple[int, ...], off: tuple[int, ...]) -> None:
        name = f"request {len(self.asked)}"
        self.asked[name] = {*on, *links, *off}
        self.on_boards[name] = set(on) - set(off)
        self.frame.ask(name, on=on, links=links, off=off)

    @rule(board=st.integers(0, 4))
    def test(self, board: int) -> None:
        name = f"request {len(self.asked)}"
        self.asked[name] = {board}
        self.background.add(name)
        self.frame.ask(name, on=(board,), off=(board,), background=True)

    @rule(
        kind=st.sampled_from(["refuse", "wrong", "bad_links"]),
        board=st.integers(0, 4),
        times=st.integers(1, 4),
    )
    def fail(self, kind: str, board: int, times: int) -> None:
        getattr(self.frame.hardware, kind)[board] = times

    @rule(board=st.integers(0, 4), seconds=st.floats(0.1, 4.0))
    def answer_late(self, board: int, seconds: float) -> None:
        wait = self.frame.hardware.waits.get(board)
        if wait is not None and wait.over_at > self._clock.now:
            wait.over_at += seconds

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0, 5.6, 20.0]))
    def work(self, seconds: float) -> None:
        before = set(self.frame.answers)
        self.frame.work(seconds)
        for name in self.frame.answers.keys() - before:
            self._is_in_order(name)

    def _is_in_order(self, name: str) -> None:
        """No earlier request for the same boards is answered later, but tests give way."""
        if name in self.background:
            return
        if name in self.frame.usable:
            assert self.on_boards[name] <= self.frame.usable[name]
        when = self.frame.answers[name][0]
        for earlier, boards in self.asked.items():
            if earlier == name:
                return
            if earlier not in self.background and boards & self.asked[name]:
                assert self.frame.answers[earlier][0] <= when

    @invariant()
    def boards_that_configure_are_left_alone(self) -> None:
        assert self.frame.hardware.touched_too_early == []


TestOneBoardAfterTheOther = OneBoardAfterTheOther.TestCase


def test_the_search_finds_a_frame_that_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RequestQueue, "begin", lambda *_: None)

    with pytest.raises(AssertionError):
        run_state_machine_as_test(OneBoardAfterTheOther)
