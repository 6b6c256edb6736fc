"""Waiting for channels, waking, and accepting."""

import errno
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server.polling_server_core import (
    POLLIN,
    POLLOUT,
    Channel,
    EpollPoller,
    Poller,
    PollingServerCore,
    new_poller,
)
from tests.support.fake_clock import FakeClock


class Core(PollingServerCore):
    """Notes whose output could go on."""

    def __init__(self) -> None:
        super().__init__()
        self.writable: list[Channel] = []

    def _channel_writable(self, channel: Channel) -> None:
        self.writable.append(channel)


@pytest.fixture(params=["epoll", "poll"])
def core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Core]:
    if request.param == "poll":
        monkeypatch.delattr(select, "epoll")
    made = Core()
    assert isinstance(made._poll, EpollPoller) is (request.param == "epoll")
    yield made
    made.close_polling()


@pytest.fixture
def pairs() -> Iterator[Callable[[], tuple[socket.socket, socket.socket]]]:
    """Makes connected sockets, and closes them in the end."""
    made: list[socket.socket] = []

    def make() -> tuple[socket.socket, socket.socket]:
        one, other = socket.socketpair()
        one.setblocking(False)
        made.extend((one, other))
        return one, other

    yield make
    for end in made:
        end.close()


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time as the code sees it; to be set by ``now[0] = ...``."""
    time = [1000.0]
    monkeypatch.setattr(_clock, "monotonic", lambda: time[0])
    return time


Pairs = Callable[[], tuple[socket.socket, socket.socket]]


class Replacement:
    """A poll object put in from outside, which tells what it was given."""

    def __init__(self, *events: tuple[int, int]) -> None:
        self.events = list(events)
        self.calls: list[tuple[str, float | None]] = []

    def register(self, fd: int, eventmask: int, /) -> None:
        self.calls.append(("register", fd))

    def modify(self, fd: int, eventmask: int, /) -> None:
        self.calls.append(("modify", fd))

    def unregister(self, fd: int, /) -> None:
        self.calls.append(("unregister", fd))

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        self.calls.append(("poll", timeout))
        return self.events


def replace_poll(core: Core, poll: Poller) -> None:
    old, core._poll = core._poll, poll
    if isinstance(old, EpollPoller):
        old.close()


# --- channels ---


def test_nothing_is_ready_at_first(core: Core) -> None:
    assert list(core.ready_channels(0)) == []
    assert list(core.ready_channels(-1)) == []
    assert list(core.ready_channels(0.0001)) == []


def test_a_readable_channel_is_handed_out_until_it_is_read(core: Core, pairs: Pairs) -> None:
    here, there = pairs()
    core.register_channel(here)
    assert list(core.ready_channels(0)) == []

    there.send(b"x")

    assert list(core.ready_channels(None)) == [here]
    assert list(core.ready_channels(1e300)) == [here]
    here.recv(1)
    assert list(core.ready_channels(0)) == []


def test_only_ready_channels_are_handed_out(core: Core, pairs: Pairs) -> None:
    ends = [pairs() for _ in range(10)]
    for here, _ in ends:
        core.register_channel(here)

    ends[3][1].send(b"x")
    ends[7][1].send(b"x")

    assert set(core.ready_channels(None)) == {ends[3][0], ends[7][0]}


def test_a_hang_up_is_something_to_read(core: Core, pairs: Pairs) -> None:
    here, there = pairs()
    core.register_channel(here)

    there.close()

    assert list(core.ready_channels(None)) == [here]
    assert here.recv(1) == b""


def test_an_unregistered_channel_is_not_handed_out(core: Core, pairs: Pairs) -> None:
    here, there = pairs()
    core.register_channel(here)
    there.send(b"x")

    core.unregister_channel(here)
    core.unregister_channel(here)

    assert list(core.ready_channels(0)) == []
    assert here not in core._fdmap.values()


def test_a_closed_channel_cannot_be_registered(core: Core, pairs: Pairs) -> None:
    here, _ = pairs()
    here.close()

    with pytest.raises(ValueError, match="closed"):
        core.register_channel(here)


def test_a_channel_closed_before_it_was_unregistered_leaves_nothing(
    core: Core, pairs: Pairs
) -> None:
    here, there = pairs()
    core.register_channel(here)
    there.send(b"x")
    here.close()

    core.unregister_channel(here)

    assert list(core.ready_channels(0)) == []
    assert list(core._fdmap.values()) == [core._notify_recv]


def test_a_channel_closed_behind_our_back_does_not_spin(core: Core, pairs: Pairs) -> None:
    here, _ = pairs()
    core.register_channel(here)
    here.close()

    # poll says once that it is no more, and epoll has forgotten it by itself.
    assert list(core.ready_channels(0)) in ([], [here])
    assert list(core.ready_channels(0)) == []


def test_the_successor_of_a_closed_channel_keeps_its_descriptor(core: Core, pairs: Pairs) -> None:
    closed, _ = pairs()
    core.register_channel(closed)
    descriptor = closed.fileno()
    closed.close()
    here, there = pairs()
    assert here.fileno() == descriptor
    core.register_channel(here)

    core.unregister_channel(closed)
    there.send(b"x")

    assert list(core.ready_channels(None)) == [here]


# --- within one turn ---


def both_ready(core: Core, pairs: Pairs) -> None:
    for _ in range(2):
        here, there = pairs()
        core.register_channel(here)
        there.send(b"x")


def test_a_channel_closed_earlier_in_the_turn_is_left_out(core: Core, pairs: Pairs) -> None:
    both_ready(core, pairs)
    told = []

    for channel in core.ready_channels(None):
        told.append(channel)
        for other in list(core._fdmap.values()):
            if other not in (channel, core._notify_recv):
                core.unregister_channel(other)
                assert isinstance(other, socket.socket)
                other.close()

    assert len(told) == 1


def test_a_newcomer_with_the_number_of_a_closed_channel_is_not_taken_for_it(
    core: Core, pairs: Pairs
) -> None:
    both_ready(core, pairs)
    told = []
    newcomers: list[socket.socket] = []

    for channel in core.ready_channels(None):
        told.append(channel)
        for other in list(core._fdmap.values()):
            if other not in (channel, core._notify_recv) and not newcomers:
                descriptor = other.fileno()
                core.unregister_channel(other)
                assert isinstance(other, socket.socket)
                other.close()
                newcomer, _ = pairs()
                assert newcomer.fileno() == descriptor
                core.register_channel(newcomer)
                newcomers.append(newcomer)

    assert len(told) == 1
    assert told[0] is not newcomers[0]


def test_what_an_abandoned_turn_left_is_handed_out_in_the_next(core: Core, pairs: Pairs) -> None:
    both_ready(core, pairs)
    first = next(core.ready_channels(None))

    assert isinstance(first, socket.socket)
    first.recv(1)

    assert len(list(core.ready_channels(None))) == 1


# --- writing ---


def test_a_channel_that_takes_output_goes_to_the_hook_while_watched(
    core: Core, pairs: Pairs
) -> None:
    here, _ = pairs()
    core.register_channel(here)
    assert list(core.ready_channels(0)) == []
    assert core.writable == []

    core.watch(here, POLLIN | POLLOUT)
    assert list(core.ready_channels(None)) == []
    assert core.writable == [here]
    core.watch(here, POLLIN)
    assert list(core.ready_channels(0)) == []
    assert core.writable == [here]


def test_a_channel_can_be_readable_and_writable(core: Core, pairs: Pairs) -> None:
    here, there = pairs()
    core.register_channel(here)
    core.watch(here, POLLIN | POLLOUT)

    there.send(b"x")

    assert list(core.ready_channels(None)) == [here]
    assert core.writable == [here]


def test_a_channel_dropped_while_writing_is_not_read(
    core: Core, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = pairs()
    core.register_channel(here)
    core.watch(here, POLLIN | POLLOUT)
    there.send(b"x")
    monkeypatch.setattr(core, "_channel_writable", core.unregister_channel)

    assert list(core.ready_channels(None)) == []
    assert here not in core._fdmap.values()


def test_watching_unknown_and_closed_channels_is_harmless(core: Core, pairs: Pairs) -> None:
    unknown, _ = pairs()
    closed, _ = pairs()
    core.register_channel(closed)
    closed.close()

    assert not core.watch(unknown, POLLIN | POLLOUT)
    assert not core.watch(closed, POLLIN | POLLOUT)

    assert core.writable == []


def test_unless_overridden_the_hook_stops_the_watching(pairs: Pairs) -> None:
    core = PollingServerCore()
    here, _ = pairs()
    core.register_channel(here)
    core.watch(here, POLLIN | POLLOUT)

    assert list(core.ready_channels(None)) == []
    assert core._poll.poll(0) == []
    core.close_polling()


# --- tables filled and replaced from outside ---


def test_a_replaced_poll_object_is_asked_in_milliseconds(core: Core) -> None:
    poll = Replacement()
    replace_poll(core, poll)

    for seconds in (5, 0.0011, 0, -1, None):
        assert list(core.ready_channels(seconds)) == []

    assert poll.calls == [("poll", ms) for ms in (5000, 2, 0, 0, None)]


def test_a_real_poll_object_can_be_put_in(core: Core, pairs: Pairs) -> None:
    poll = select.poll()
    replace_poll(core, poll)
    here, there = pairs()

    core.register_channel(here)
    there.send(b"x")

    assert list(core.ready_channels(None)) == [here]


def test_a_table_filled_from_outside_says_what_is_handed_out(core: Core, pairs: Pairs) -> None:
    here, _ = pairs()
    descriptor = here.fileno()
    replace_poll(core, Replacement((descriptor, select.POLLIN)))

    core._fdmap = {descriptor: here}

    assert list(core.ready_channels(0)) == [here]


def test_a_channel_put_into_the_table_only_can_be_watched(core: Core, pairs: Pairs) -> None:
    here, _ = pairs()
    core._fdmap[here.fileno()] = here

    core.watch(here, POLLIN | POLLOUT)

    assert list(core.ready_channels(None)) == []
    assert core.writable == [here]


def test_a_descriptor_without_channel_does_not_wake_the_loop_for_ever(
    core: Core, pairs: Pairs
) -> None:
    here, there = pairs()
    core._poll.register(here.fileno(), select.POLLIN)
    there.send(b"x")

    assert list(core.ready_channels(0)) == []

    assert core._poll.poll(0) == []


def test_an_emptied_table_does_not_cost_the_wake_up(core: Core) -> None:
    core._fdmap = {}

    core.wake()
    assert list(core.ready_channels(None)) == []
    assert core._poll.poll(0) == []
    core.wake()
    assert list(core.ready_channels(None)) == []
    core._notify_recv.close()


def test_an_interrupted_wait_is_an_empty_turn(core: Core) -> None:
    class Interrupted(Replacement):
        def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
            raise InterruptedError

    replace_poll(core, Interrupted())

    assert list(core.ready_channels(None)) == []


def test_a_channel_without_a_number_can_be_unregistered(core: Core) -> None:
    class Odd:
        def fileno(self) -> Any:
            return self

    odd = Odd()
    core._fdmap[odd.fileno()] = odd

    core.unregister_channel(odd)

    assert list(core._fdmap.values()) == [core._notify_recv]


# --- waking ---


def test_a_wake_ends_one_wait(core: Core) -> None:
    core.wake()

    assert list(core.ready_channels(None)) == []

    assert core._poll.poll(0) == []


def test_any_thread_can_end_the_wait(core: Core) -> None:
    waiting = threading.Event()
    turns = []

    def turn() -> None:
        waiting.set()
        turns.append(list(core.ready_channels(None)))

    thread = threading.Thread(target=turn)
    thread.start()
    assert waiting.wait(10)
    core.wake()
    thread.join(10)

    assert turns == [[]]


def test_more_wakes_than_the_kernel_holds_are_one_wake(core: Core) -> None:
    for _ in range(1000):
        core.wake()

    assert list(core.ready_channels(None)) == []

    assert core._poll.poll(0) == []


def test_wakes_are_drained_before_channels_are_handled(core: Core, pairs: Pairs) -> None:
    here, there = pairs()
    core.register_channel(here)
    there.send(b"x")
    core.wake()

    for channel in core.ready_channels(None):
        assert channel is here
        core.unregister_channel(here)
        core.wake()

    assert len(core._poll.poll(0)) == 1


def test_a_wake_that_was_announced_but_is_not_there_is_harmless(core: Core) -> None:
    replace_poll(core, Replacement((core._notify_recv.fileno(), select.POLLIN)))

    assert list(core.ready_channels(0)) == []


def test_signal_handlers_can_wake_even_in_the_middle_of_a_wake(core: Core) -> None:
    def handler(signum: int, frame: FrameType | None) -> None:
        core.wake()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with core._wake_lock:
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)

    assert list(core.ready_channels(None)) == []


def test_both_ends_of_the_wake_up_are_non_blocking(core: Core) -> None:
    assert not core._notify_recv.getblocking()
    assert not core._notify_send.getblocking()


# --- pausing ---


def test_a_paused_channel_is_left_alone_until_its_time(
    core: Core, pairs: Pairs, now: list[float]
) -> None:
    here, there = pairs()
    core.register_channel(here)
    there.send(b"x")

    core.pause_channel(here, 0.02)
    assert list(core.ready_channels(0)) == []
    assert core._fdmap[here.fileno()] is here
    now[0] += 0.02
    assert list(core.ready_channels(None)) == []

    assert list(core.ready_channels(None)) == [here]


def test_the_end_of_a_pause_bounds_the_wait(core: Core, pairs: Pairs, now: list[float]) -> None:
    poll = Replacement()
    replace_poll(core, poll)
    here, _ = pairs()
    core.register_channel(here)

    core.pause_channel(here, 2.0)
    poll.calls.clear()
    for seconds in (None, 5.0, 1.0):
        list(core.ready_channels(seconds))
    now[0] += 10
    list(core.ready_channels(5.0))
    list(core.ready_channels(5.0))

    assert poll.calls == [
        ("poll", 2000),
        ("poll", 2000),
        ("poll", 1000),
        ("poll", 0),
        ("register", here.fileno()),
        ("poll", 5000),
    ]


def test_a_pause_can_be_cut_short(core: Core, pairs: Pairs, now: list[float]) -> None:
    here, there = pairs()
    core.register_channel(here)
    there.send(b"x")
    core.pause_channel(here, 60)

    core.resume_channel(here)
    core.resume_channel(here)

    assert list(core.ready_channels(None)) == [here]


def test_registering_again_ends_a_pause(core: Core, pairs: Pairs, now: list[float]) -> None:
    here, there = pairs()
    core.register_channel(here)
    there.send(b"x")
    core.pause_channel(here, 60)

    core.register_channel(here)

    assert list(core.ready_channels(None)) == [here]
    assert core._paused == {}


def test_pausing_and_resuming_what_is_not_there_is_harmless(
    core: Core, pairs: Pairs, now: list[float]
) -> None:
    unknown, _ = pairs()
    closed, _ = pairs()
    gone, _ = pairs()
    for channel in (closed, gone):
        core.register_channel(channel)
        core.pause_channel(channel, 1)

    core.pause_channel(unknown, 1)
    core.resume_channel(unknown)
    closed.close()
    core.unregister_channel(gone)
    core.watch(gone, POLLIN | POLLOUT)
    now[0] += 1

    assert list(core.ready_channels(0)) == []
    assert core._paused == {}


# --- listening ---


def test_a_server_socket_listens_and_is_registered(core: Core) -> None:
    server = core._open_server_socket("127.0.0.1", 0)

    assert server.getsockname()[0] == "127.0.0.1"
    assert server.getsockname()[1] > 0
    assert not server.getblocking()
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    assert core._fdmap[server.fileno()] is server
    with socket.create_connection(server.getsockname()):
        assert list(core.ready_channels(None)) == [server]


def test_no_address_means_all_of_them(core: Core) -> None:
    server = core._open_server_socket("", 0)

    assert server.getsockname()[0] == "0.0.0.0"


def test_a_server_socket_can_be_of_the_sixth_version(core: Core) -> None:
    try:
        server = core._open_server_socket("::1", 0)
    except OSError as exc:  # No IPv6 here; then that is what is said.
        assert exc.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
        return

    assert server.family == socket.AF_INET6


def test_an_address_in_use_is_an_error_that_leaves_nothing(core: Core) -> None:
    server = core._open_server_socket("127.0.0.1", 0)
    table = dict(core._fdmap)

    with pytest.raises(OSError, match="in use") as caught:
        core._open_server_socket("127.0.0.1", server.getsockname()[1])

    assert caught.value.errno == errno.EADDRINUSE
    assert core._fdmap == table


# --- closing ---


def test_closing_leaves_nothing_behind_and_can_be_repeated(pairs: Pairs) -> None:
    before = {entry.name for entry in Path("/proc/self/fd").iterdir()}
    core = PollingServerCore()
    server = core._open_server_socket("127.0.0.1", 0)
    core.pause_channel(server, 60)

    core.close_polling()
    core.close_polling()
    core.wake()

    assert {entry.name for entry in Path("/proc/self/fd").iterdir()} == before
    assert server.fileno() == -1
    assert core._fdmap == {}


def test_a_channel_that_is_no_socket_is_left_to_its_owner(pairs: Pairs) -> None:
    read, write = os.pipe()
    core = PollingServerCore()
    with os.fdopen(read, "rb") as channel, os.fdopen(write, "wb"):
        core.register_channel(channel)

        core.close_polling()

        assert core._fdmap == {}
        assert not channel.closed


def test_a_descriptor_that_has_a_channel_by_now_is_no_stray(core: Core, pairs: Pairs) -> None:
    channel, other = pairs()
    core.register_channel(channel)

    core._drop_stray(channel.fileno())
    other.send(b"x")

    assert list(core.ready_channels(10)) == [channel]


# --- both kinds of poller behave as `select.poll` does ---


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
