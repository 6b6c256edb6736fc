"""How long a stop waits for frames."""

import pytest

from spalloc_server import _clock
from spalloc_server._jobs.stopping import Hurry, join_frames
from tests.support.fake_clock import FakeClock


class Frame:
    """Ends after so many joins, at once when given up unless it is stuck."""

    clock: FakeClock
    stuck = False

    def __init__(self, joins: int) -> None:
        self.hostname = "frame"
        self.left = joins
        self.given_up = False
        self.waited: list[float] = []

    def join(self, timeout: float) -> None:
        self.waited.append(timeout)
        if self.is_alive():
            self.clock.advance(timeout)
        self.left -= 1

    def is_alive(self) -> bool:
        return self.left > 0 and (self.stuck or not self.given_up)

    def abandon(self) -> None:
        self.given_up = True


class Simple:
    """As a stand-in has to be."""

    def __init__(self) -> None:
        self.joined = 0

    def join(self) -> None:
        self.joined += 1


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Moves when a frame is joined."""
    clock = FakeClock()
    monkeypatch.setattr(_clock, "monotonic", clock.monotonic)
    monkeypatch.setattr(Frame, "clock", clock, raising=False)
    return clock


class Lively(Simple):
    """Says whether it runs, and still knows no limits."""

    def is_alive(self) -> bool:
        return not self.joined


def test_stand_ins_are_joined_as_the_specification_has_it() -> None:
    frame = Lively()

    assert join_frames([frame], 0.0, Hurry()) is True

    assert frame.joined == 1


def test_frames_that_finish_are_waited_for() -> None:
    frames = [Frame(1), Frame(3), Simple()]

    assert join_frames(frames, 30.0, Hurry()) is True

    assert isinstance(frames[2], Simple)
    assert frames[2].joined == 1
    assert not any(isinstance(frame, Frame) and frame.given_up for frame in frames)


def test_time_is_limited_for_all_together(clock: FakeClock) -> None:
    quick, slow = Frame(1), Frame(10**6)
    began = clock.now

    assert join_frames([quick, slow], 30.0, Hurry()) is False

    assert (quick.given_up, slow.given_up) == (False, True)
    assert clock.now - began == pytest.approx(30.0)


@pytest.mark.parametrize(("stuck", "longest"), [(False, 30.0), (True, 32.0)])
def test_the_limit_holds_whatever_the_number_of_frames(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, stuck: bool, longest: float
) -> None:
    monkeypatch.setattr(Frame, "stuck", stuck)
    began = clock.now

    assert join_frames([Frame(10**6) for _ in range(200)], 30.0, Hurry()) is False

    assert clock.now - began == pytest.approx(longest)


def test_a_second_signal_ends_the_wait_for_any_number_of_frames(clock: FakeClock) -> None:
    hurry = Hurry()
    frames = [Frame(10**6) for _ in range(200)]
    join = frames[0].join

    def join_and_be_signalled(timeout: float) -> None:
        join(timeout)
        hurry.up()

    frames[0].join = join_and_be_signalled  # type: ignore[method-assign]
    began = clock.now

    assert join_frames(frames, 1e9, hurry) is False

    assert clock.now - began < 0.1


def test_in_a_hurry_nobody_is_waited_for() -> None:
    hurry, slow = Hurry(), Frame(10**6)
    assert not hurry
    hurry.up()

    assert join_frames([slow], 1e9, hurry) is False

    assert (bool(hurry), slow.given_up, len(slow.waited)) == (True, True, 1)


def test_nothing_to_wait_for() -> None:
    assert join_frames([], 0.0, Hurry()) is True


@pytest.mark.parametrize(("timeout", "level"), [(0.0, "DEBUG"), (0.5, "WARNING")])
def test_frames_that_are_given_up_are_named(
    caplog: pytest.LogCaptureFixture, timeout: float, level: str
) -> None:
    caplog.set_level("DEBUG")

    assert not join_frames([Frame(10**6), Frame(0), Frame(10**6)], timeout, Hurry())

    (record,) = caplog.records
    assert record.levelname == level
    assert record.getMessage() == "frames given up with requests unfinished: frame, frame"
