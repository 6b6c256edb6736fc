"""Both kinds of poller behave as `select.poll` does."""

import select
import socket
from collections.abc import Iterator

import pytest

from spalloc_server._poller import POLLIN, POLLOUT, EpollPoller, Poller, new_poller
from tests.support.fake_clock import FakeClock


@pytest.fixture(params=["epoll", "poll"])
def poller(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Poller]:
    if request.param == "poll":
        monkeypatch.delattr(select, "epoll")
    made = new_poller()
    assert isinstance(made, EpollPoller) is (request.param == "epoll")
    yield made
    if isinstance(made, EpollPoller):
        made.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_events_are_told_with_their_descriptor(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    here, there = pair
    poller.register(here.fileno(), POLLIN)
    assert poller.poll(0) == []

    there.send(b"x")

    assert poller.poll(None) == [(here.fileno(), POLLIN)]
    assert poller.poll(1000) == [(here.fileno(), POLLIN)]


def test_registering_again_changes_the_events(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    descriptor = pair[0].fileno()
    poller.register(descriptor, POLLIN)

    poller.register(descriptor, POLLIN | POLLOUT)
    assert poller.poll(0) == [(descriptor, POLLOUT)]
    poller.modify(descriptor, POLLIN)
    assert poller.poll(0) == []


def test_an_unknown_descriptor_is_an_error(
    poller: Poller, pair: tuple[socket.socket, socket.socket]
) -> None:
    descriptor = pair[0].fileno()

    with pytest.raises(FileNotFoundError):
        poller.modify(descriptor, POLLIN)
    with pytest.raises((KeyError, OSError)):
        poller.unregister(descriptor)
    poller.register(descriptor, POLLOUT)
    poller.unregister(descriptor)
    assert poller.poll(0) == []


def test_all_that_are_ready_are_told_at_once(poller: Poller) -> None:
    # More than epoll tells of by default would need more descriptors than tests may have,
    # so what it is asked for is looked at below.
    pairs = [socket.socketpair() for _ in range(50)]
    try:
        for here, there in pairs:
            poller.register(here.fileno(), POLLIN)
            there.send(b"x")

        assert len(poller.poll(0)) == len(pairs)
    finally:
        for pair in pairs:
            for end in pair:
                end.close()


def test_epoll_is_asked_for_as_many_events_as_there_are_descriptors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Epoll:
        def register(self, fd: int, eventmask: int) -> None:
            pass

        def unregister(self, fd: int) -> None:
            pass

        def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
            asked.append((timeout, maxevents))
            return []

    monkeypatch.setattr(select, "epoll", Epoll)
    poller = new_poller()

    poller.poll(None)
    for descriptor in range(5000):
        poller.register(descriptor, POLLIN)
    poller.unregister(7)
    poller.poll(250)

    assert asked == [(-1, 1), (0.25, 4999)]


def test_closing_twice_is_harmless() -> None:
    poller = EpollPoller()

    poller.close()
    poller.close()

    with pytest.raises(ValueError, match="closed"):
        poller.poll(0)


# --- looking before sleeping ---


class ScriptedEpoll:
    """Answers with what it is given, and takes as long as it is told."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.asked: list[float] = []
        self.answers: list[list[tuple[int, int]]] = []
        self.seconds = 0.0

    def poll(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        self.asked.append(timeout)
        if timeout:
            self.clock.advance(self.seconds)
        return self.answers.pop(0) if self.answers else []


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedEpoll]:
    clock = FakeClock()
    epoll = ScriptedEpoll(clock)
    monkeypatch.setattr(select, "epoll", lambda: epoll)
    with clock.installed():
        yield epoll


SOMETHING = [(7, POLLIN)]


def test_after_a_short_wait_it_looks_again_before_it_sleeps(scripted: ScriptedEpoll) -> None:
    poller = EpollPoller()
    scripted.answers = [SOMETHING, [], [], SOMETHING]

    assert [poller.poll(5000), poller.poll(5000)] == [SOMETHING, SOMETHING]

    assert scripted.asked == [5.0, 0, 0, 0]


def test_it_looks_for_a_bounded_time_and_then_sleeps(scripted: ScriptedEpoll) -> None:
    poller = EpollPoller()
    scripted.answers = [SOMETHING]

    assert [poller.poll(5000), poller.poll(250), poller.poll(250)] == [SOMETHING, [], []]

    looks = scripted.asked[1:-2]
    assert looks == [0] * len(looks)
    assert 0 < len(looks) <= 100
    assert scripted.asked[-2:] == [0.25, 0.25]


def test_after_a_long_wait_it_sleeps_at_once(scripted: ScriptedEpoll) -> None:
    poller = EpollPoller()
    scripted.answers = [SOMETHING, SOMETHING]
    scripted.seconds = 0.01

    poller.poll(5000)
    poller.poll(5000)

    assert scripted.asked == [5.0, 5.0]


def test_who_must_not_wait_looks_once(scripted: ScriptedEpoll) -> None:
    poller = EpollPoller()
    scripted.answers = [SOMETHING]

    poller.poll(None)
    poller.poll(0)

    assert scripted.asked == [-1, 0]
