"""The backlog: its lines, the order of turns, and how long one is."""

from __future__ import annotations

import math
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._wire import backlog as backlog_module
from spalloc_server._wire.backlog import MOST_IN_A_SLICE, SLICE, Backlog
from spalloc_server._wire.messages import Command, MalformedError
from spalloc_server._wire.peer import Peer
from tests.support.bare_clients import command
from tests.support.hand_clock import HandClock


class Line:
    """A backlog whose commands are noted, and take as long as a test says."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.ran: list[object] = []
        self.seconds = 0.0
        self.buffers: dict[Any, bytes | bytearray] = {}
        self.backlog = Backlog(lambda: self.buffers, self._run)

    def _run(self, _: Peer, command: Command) -> float:
        self.clock.advance(self.seconds)
        self.ran += command.args
        return self.clock.now

    def peer(self, *numbers: int) -> Peer:
        """Return a peer that has sent so many commands."""
        peer = Peer(object())
        peer.lines.feed(b"".join(command("look", number) for number in numbers))
        self.buffers[peer.client] = peer.lines.held
        self.backlog.peers[peer] = None
        return peer


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(HandClock(monkeypatch))


def test_a_slice_has_so_many_commands_and_no_more(line: Line) -> None:
    peer = line.peer(*range(MOST_IN_A_SLICE + 2))

    line.backlog.run_slice(peer, bounded=True)
    assert line.ran == list(range(MOST_IN_A_SLICE))
    line.backlog.run_slice(peer, bounded=False)

    assert line.ran == list(range(MOST_IN_A_SLICE + 2))


@pytest.mark.parametrize("share", [0.5, 0.7, 0.99])
def test_a_slice_ends_with_its_time(line: Line, share: float) -> None:
    line.clock.now = 0.0
    peer = line.peer(1, 2, 3)
    line.seconds = SLICE * share

    line.backlog.run_slice(peer, bounded=True)

    assert line.ran == [1, 2]


def test_without_bounds_all_commands_have_their_time(line: Line) -> None:
    line.seconds = 60.0

    line.backlog.run_slice(line.peer(*range(200)), bounded=False)

    assert line.ran == list(range(200))


def test_a_slice_ends_when_the_answer_is_to_be_awaited(line: Line) -> None:
    peer = line.peer(1, 2)
    peer.awaits = True

    line.backlog.run_slice(peer, bounded=True)

    assert line.ran == []


def test_the_commands_before_a_malformed_line_are_run(line: Line) -> None:
    peer = line.peer(1)
    peer.lines.feed(b"nonsense\n")

    peer.lines.feed(command("look", 2))

    with pytest.raises(MalformedError):
        line.backlog.run_slice(peer, bounded=True)

    assert line.ran == [1]
    assert not peer.lines.has_line()
    assert line.buffers == {peer.client: b""}


def test_the_table_has_the_lines_that_were_not_taken(line: Line) -> None:
    peer = line.peer(*range(MOST_IN_A_SLICE + 1))

    line.backlog.run_slice(peer, bounded=True)

    assert line.buffers == {peer.client: command("look", MOST_IN_A_SLICE)}
    assert line.backlog.lines_of(peer) is peer.lines


def test_input_that_another_program_puts_into_the_table_counts(line: Line) -> None:
    peer = line.peer(1)
    line.buffers[peer.client] = command("look", 2)

    line.backlog.lines_of(peer)
    line.backlog.run_slice(peer, bounded=True)

    assert line.ran == [2]
    assert line.backlog.lines_of(Peer(object())).held == b""


@pytest.mark.parametrize(("closed", "known"), [(True, True), (False, False)])
def test_one_that_is_not_in_the_table_any_more_is_not_put_there(
    line: Line, closed: bool, known: bool
) -> None:
    peer = line.peer(1)
    before = dict(line.buffers) if known else {}
    line.buffers = dict(before)
    peer.closed = closed

    line.backlog.run_slice(peer, bounded=True)

    assert line.buffers == before


@pytest.mark.parametrize("later", [SLICE, 1.0])
def test_time_is_looked_at_between_many_blank_lines(
    line: Line, monkeypatch: pytest.MonkeyPatch, later: float
) -> None:
    peer = Peer(object())
    peer.lines.feed(b"\n" * (2 * backlog_module._BLANKS) + command("look", 1))
    times = iter([0.0, *[later] * 100])
    monkeypatch.setattr(_clock, "monotonic", lambda: next(times))

    line.backlog.run_slice(peer, bounded=True)

    assert line.ran == []
    assert peer.lines.has_line()


def test_a_few_blank_lines_are_skipped(line: Line) -> None:
    peer = Peer(object())
    peer.lines.feed(b"\n \n\r\n" + command("look", 1))

    line.backlog.run_slice(peer, bounded=True)

    assert line.ran == [1]


@pytest.mark.parametrize("seconds", [0.0, 5.0])
def test_one_has_its_turn_although_the_time_is_over(line: Line, seconds: float) -> None:
    first, second = line.peer(1), line.peer(2)

    assert list(line.backlog.next_ones(line.clock.now - seconds)) == [first]

    assert list(line.backlog.peers) == [second]


def test_each_has_one_turn_and_those_who_left_have_none(line: Line) -> None:
    first, second, third = (line.peer(number) for number in range(3))

    handed_out = []
    for peer in line.backlog.next_ones(math.inf):
        handed_out.append(peer)
        line.backlog.peers[peer] = None  # it has more
        line.backlog.peers.pop(second, None)

    assert handed_out == [first, third]
    assert list(line.backlog.peers) == [first, third]


@pytest.mark.parametrize("count", [2, 40])
def test_later_commands_are_not_waited_for(line: Line, count: int) -> None:
    peer = line.peer(*range(count))
    assert not line.backlog.all_served()

    line.backlog.run_slice(peer, bounded=True)
    peer.lines.feed(command("look", 3))

    assert line.backlog.all_served()
    line.backlog.begin_to_note()
    assert not line.backlog.all_served()


def test_those_who_came_later_are_not_waited_for(line: Line) -> None:
    assert line.backlog.all_served()

    line.peer(1)

    assert line.backlog.all_served()


def test_as_many_have_their_turns_as_time_goes(line: Line) -> None:
    peers = [line.peer(number) for number in range(4)]

    handed_out = []
    for peer in line.backlog.next_ones(line.clock.now + 2.0):
        handed_out.append(peer)
        line.clock.advance(0.75)

    assert handed_out == peers[:3]
    assert list(line.backlog.peers) == peers[3:]
