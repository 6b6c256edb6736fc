"""Lines are written by a thread of their own; nobody waits, and nothing is lost unsaid."""

import threading
from collections.abc import Iterator

import pytest

from spalloc_server._logs import line_writer
from spalloc_server._logs.line_writer import LineWriter
from tests.support.fake_clock import FakeClock
from tests.support.rests import Rests

PATIENCE = 10.0


class Paper:
    """A place for lines that can be stuck, and can fail."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures: list[Exception] = []
        self.trouble: str | None = None
        self.reached = threading.Event()
        self.free = threading.Event()
        self.free.set()
        self.closed = False

    def write(self, data: bytes) -> str | None:
        self.reached.set()
        assert self.free.wait(PATIENCE)
        if self.failures:
            raise self.failures.pop(0)
        self.lines.append(data.decode().rstrip("\n"))
        return self.trouble

    def close(self) -> None:
        self.closed = True


class Desk:
    """A writer, its paper, and its complaints."""

    def __init__(self) -> None:
        self.paper = Paper()
        self.complaints: list[str] = []
        self.writer = LineWriter("desk", self.paper, "{} missing".format, self.complaints.append)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.paper.free.set()
    assert desk.writer.close(PATIENCE)


def test_lines_are_written_in_order(desk: Desk) -> None:
    for number in range(100):
        desk.writer.put(f"line {number}")

    assert desk.writer.flush(PATIENCE)
    assert desk.paper.lines == [f"line {number}" for number in range(100)]
    assert (desk.writer.dropped, desk.writer.trouble) == (0, None)


def test_nobody_waits_for_a_place_that_is_stuck(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_writer, "MOST_LINES", 3)
    desk.paper.free.clear()
    desk.writer.put("stuck")
    assert desk.paper.reached.wait(PATIENCE)

    for number in range(10):
        desk.writer.put(f"line {number}")

    assert desk.writer.dropped == 7
    assert not desk.writer.flush(0.0)
    desk.paper.free.set()
    assert desk.writer.flush(PATIENCE)
    assert desk.paper.lines == ["stuck", "line 0\n7 missing", "line 1", "line 2"]


def test_lines_that_cannot_be_written_are_counted_and_told(desk: Desk) -> None:
    desk.paper.failures = [OSError(28, "No space left on device"), ValueError("closed file")]

    for number in range(4):
        desk.writer.put(f"line {number}")

    assert desk.writer.flush(PATIENCE)
    assert desk.paper.lines == ["2 missing\nline 2", "line 3"]
    assert desk.complaints == ["No space left on device"]
    assert (desk.writer.dropped, desk.writer.trouble) == (2, None)


def test_trouble_is_told_once_a_minute(desk: Desk) -> None:
    with FakeClock().installed() as clock:
        for seconds in (0.0, 59.0, 1.0):
            clock.advance(seconds)
            desk.paper.failures = [OSError(5, f"after {seconds:g} s")]
            desk.writer.put("lost")
            assert desk.writer.flush(PATIENCE)

    assert desk.complaints == ["after 0 s", "after 1 s"]
    assert desk.writer.trouble == "after 1 s"


def test_trouble_that_costs_no_line_is_trouble_all_the_same(desk: Desk) -> None:
    desk.paper.trouble = "the folder is read-only"

    desk.writer.put("line")

    assert desk.writer.flush(PATIENCE)
    assert desk.paper.lines == ["line"]
    assert desk.complaints == ["the folder is read-only"]
    assert (desk.writer.dropped, desk.writer.trouble) == (0, "the folder is read-only")


def test_closing_writes_the_rest_and_twice_is_harmless(desk: Desk) -> None:
    desk.writer.put("last")

    assert desk.writer.close(PATIENCE)
    assert desk.writer.close(PATIENCE)

    assert desk.paper.lines == ["last"]
    assert desk.paper.closed
    assert not desk.writer.flush(PATIENCE), "at once, though nobody writes any more"


def test_closing_a_place_that_is_stuck_takes_no_longer_than_allowed(desk: Desk) -> None:
    desk.paper.free.clear()
    desk.writer.put("stuck")

    assert not desk.writer.close(0.0)


@pytest.fixture
def gatherer() -> Iterator[tuple[Paper, LineWriter]]:
    """A writer whose first line waits for others until somebody wants to see them."""
    paper = Paper()
    writer = LineWriter("desk", paper, "{} missing".format, seconds_to_gather=PATIENCE)
    yield paper, writer
    paper.free.set()
    assert writer.close(PATIENCE)


def test_gathered_lines_are_written_in_one_piece(gatherer: tuple[Paper, LineWriter]) -> None:
    paper, writer = gatherer
    for number in range(3):
        writer.put(f"line {number}")

    assert writer.flush(PATIENCE)

    assert paper.lines == ["line 0\nline 1\nline 2"]


def test_gathered_lines_that_are_lost_are_all_counted(
    gatherer: tuple[Paper, LineWriter],
) -> None:
    paper, writer = gatherer
    paper.failures = [OSError(28, "No space left on device")]
    for number in range(3):
        writer.put(f"line {number}")
    assert writer.flush(PATIENCE)

    writer.put("line 3")

    assert writer.flush(PATIENCE)
    assert paper.lines == ["3 missing\nline 3"]


def test_closing_writes_gathered_lines_at_once() -> None:
    paper = Paper()
    writer = LineWriter("desk", paper, "{} missing".format, seconds_to_gather=1e6)
    writer.put("last")

    assert writer.close(PATIENCE)

    assert paper.lines == ["last"]


def test_the_thread_gathers_before_it_writes_and_rests_afterwards() -> None:
    """Else each line that comes soon after another would wake it, beside the thread that logs."""
    rests, paper = Rests(), Paper()
    writer = LineWriter("desk", paper, "{} missing".format, seconds_to_gather=5.0)
    writer._hurry = rests  # type: ignore[assignment]
    writer.put("one")
    assert rests.begin() == 5.0
    rests.set()
    assert rests.begin() == 5.0
    assert paper.lines == ["one"]

    writer.put("two")
    rests.set()

    assert rests.begin() == 5.0
    assert paper.lines == ["one"]
    assert writer.close(PATIENCE)
    assert paper.lines == ["one", "two"]


def test_the_hurry_of_a_flush_is_over_with_it(gatherer: tuple[Paper, LineWriter]) -> None:
    """Else the thread would be woken by each line until the next flush."""
    _, writer = gatherer
    queue = writer._queue

    class Slow:
        """A queue that gives a mark to the thread, and comes back when that is done with it."""

        get = queue.get

        def put(self, written: threading.Event) -> None:
            queue.put(written)
            assert written.wait(PATIENCE)

    writer._queue = Slow()  # type: ignore[assignment]

    assert writer.flush(PATIENCE)

    writer._queue = queue
    assert not writer._hurry.is_set()


def test_any_text_can_be_written(desk: Desk) -> None:
    desk.writer.put("\ud800 é")

    assert desk.writer.flush(PATIENCE)
    assert desk.paper.lines == ["\\ud800 é"]


def test_lines_may_be_made_by_the_writers_thread(desk: Desk) -> None:
    made_in: list[str] = []

    def line() -> str:
        made_in.append(threading.current_thread().name)
        return "made"

    desk.writer.put(line)
    desk.writer.put("given")

    assert desk.writer.flush(PATIENCE)
    assert desk.paper.lines == ["made", "given"]
    assert made_in == ["lines-desk"]


def test_a_line_that_turns_out_to_be_none_is_not_written(desk: Desk) -> None:
    desk.writer.put(lambda: None)

    assert desk.writer.flush(PATIENCE)
    assert desk.paper.lines == []
    assert desk.writer.dropped == 0
