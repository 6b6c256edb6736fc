"""What the controller remembers of when it is next to do something is never late."""

from __future__ import annotations

import random

import pytest

from spalloc_server._bmp.failures import BoardFault, FailureReason
from spalloc_server._jobs.health import _SECONDS_AFTER_GIVING_WAY
from spalloc_server.controller import Controller
from tests.support.fake_frame import FakeFrame, Rack
from tests.support.hand_clock import HandClock
from tests.support.machines import machine


def fail(frame: FakeFrame, dice: random.Random) -> None:
    """Have a frame answer that a board of the request does not work."""
    request = frame.waiting[0]
    board = dice.choice([*request.power_on_boards, *request.power_off_boards, 0])
    during = "power_on" if request.power_on_boards else "power_off"
    fault = BoardFault(board, "broken", during)
    # Without a fault: a test that gave way to a job.
    frame.answer(False, FailureReason("broken", [fault] if dice.random() < 0.8 else []))


class Walk:
    """Something happens to a controller, again and again."""

    def __init__(self, made: Controller, rack: Rack, clock: HandClock, seed: int) -> None:
        self.made, self.rack, self.clock = made, rack, clock
        self.dice = random.Random(seed)

    def step(self) -> None:
        steps = [self.create, self.destroy, self.answer, self.pass_time, self.keep_alive]
        steps += [self.change_rest, self.change_machines, self.hold, self.tend]
        self.dice.choice([*steps, self.create, self.answer])()

    def create(self) -> None:
        keepalive = self.dice.choice([None, 5.0, 60.0, 1.0])
        self.made.create_job(None, self.dice.choice([1, 3]), owner="me", keepalive=keepalive)

    def destroy(self) -> None:
        self.made.destroy_job(None, self.dice.randrange(1, self.made._records.next_id + 1))

    def keep_alive(self) -> None:
        self.made.job_keepalive(None, self.dice.randrange(1, self.made._records.next_id + 1))

    def answer(self) -> None:
        for frame in self.rack.frames:
            if frame.waiting and self.dice.random() < 0.3:
                fail(frame, self.dice)
            elif frame.waiting:
                frame.answer()

    def pass_time(self) -> None:
        self.clock.advance(self.dice.choice([0.1, 3.0, 31.0, 100.0]))

    def change_rest(self) -> None:
        self.made.seconds_before_free = self.dice.choice([0.0, 2.0, 30.0])

    def change_machines(self) -> None:
        net = self.dice.randrange(1, 3)
        self.made.machines = {"m": machine("m", 2, 2, boards_per_frame=6, net=net)}

    def hold(self) -> None:
        board = self.dice.choice([(0, 0, 0), (1, 1, 2)])
        if any(out.board == board for out in self.made.overview.out_of_service()):
            self.made.upkeep.release_boards("m", [board])
        else:
            self.made.upkeep.hold_boards("m", [board], "for a while")

    def tend(self) -> None:
        self.made.destroy_timed_out_jobs()
        self.made.check_free()
        self.made.check_health()


def really_due(made: Controller) -> float | None:
    quarantines = made._health._quarantines.values()
    tests = [case.due for each in quarantines for case in each.cases.values() if not case.testing]
    times = made.next_deadline(), made.next_rested(), *tests
    return min((time for time in times if time is not None), default=None)


@pytest.mark.parametrize("seed", range(8))
def test_what_is_due_is_never_remembered_too_late(seed: int, rack: Rack, clock: HandClock) -> None:
    made = Controller()
    made.machines = {"m": machine("m", 2, 2, boards_per_frame=6)}
    walk = Walk(made, rack, clock, seed)

    for _ in range(300):
        walk.step()
        remembered, due = made.next_due(clock.now), really_due(made)
        if due is not None:
            assert remembered is not None
            assert remembered <= due
        if remembered is not None and remembered <= clock.now:
            assert remembered == due
    made.stop()
    made.join()


def test_a_test_that_gave_way_to_a_job_is_due_again(rack: Rack, clock: HandClock) -> None:
    made = Controller()
    made.machines = {"m": machine("m", 1, 1)}
    (frame,) = rack.frames
    made.create_job(None, 0, 0, 0, owner="me")
    fault = BoardFault(0, "broken", "power_on")
    frame.answer(False, FailureReason("broken", [fault]))
    rack.answer_all()
    clock.now = made.next_health_check() or 0.0
    made.check_free()
    made.check_health()
    assert made.next_due(clock.now) is None

    frame.answer(False, FailureReason("given way", []))

    assert made.next_due(clock.now) == clock.now + _SECONDS_AFTER_GIVING_WAY
    assert made.next_health_check() == made.next_due(clock.now)


def test_what_is_due_is_remembered(
    rack: Rack, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Controller()
    made.create_job(None, owner="me", machine=None, tags=[], keepalive=60.0)
    asked = []
    monkeypatch.setattr(made._job_queue, "next_rested", lambda: asked.append(1))
    made.next_due(clock.now)
    made.next_due(clock.now)

    assert len(asked) == 1


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    return Rack(monkeypatch)
