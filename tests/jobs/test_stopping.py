"""How long a stop waits for frames."""

import pytest

from spalloc_server import _clock
from spalloc_server._jobs.stopping import Hurry, join_frames


class Frame:
    """Ends after so many joins, at once when given up."""

    def __init__(self, joins: int) -> None:
        self.hostname = "frame"
        self.left = joins
        self.given_up = False
        self.waited: list[float] = []

    def join(self, timeout: float) -> None:
        self.waited.append(timeout)
        self.left -= 1

    def is_alive(self) -> bool:
        return self.left > 0 and not self.given_up

    def abandon(self) -> None:
        self.given_up = True


class Simple:
    """As a stand-in has to be."""

    def __init__(self) -> None:
        self.joined = 0

    def join(self) -> None:
        self.joined += 1


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Goes on by a second whenever it is looked at."""
    now = [0.0]

    def monotonic() -> float:
        now[0] += 1.0
        return now[0]

    monkeypatch.setattr(_clock, "monotonic", monotonic)
    return now


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


def test_time_is_limited_for_all_together() -> None:
    quick, slow = Frame(1), Frame(10**6)

    assert join_frames([quick, slow], 30.0, Hurry()) is False

    assert (quick.given_up, slow.given_up) == (False, True)
    assert 20 < len(slow.waited) < 40


def test_in_a_hurry_nobody_is_waited_for() -> None:
    hurry, slow = Hurry(), Frame(10**6)
    assert not hurry
    hurry.up()

    assert join_frames([slow], 1e9, hurry) is False

    assert (bool(hurry), slow.given_up, len(slow.waited)) == (True, True, 2)


def test_nothing_to_wait_for() -> None:
    assert join_frames([], 0.0, Hurry()) is True
