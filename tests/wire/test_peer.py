"""A peer knows when it may go on, what waits for it, and what it makes the server hold."""

from __future__ import annotations

import socket
import sys
from itertools import takewhile
from random import Random
from typing import Any

import pytest

from spalloc_server._wire import peer as peer_module
from spalloc_server._wire.peer import (
    Client,
    Memory,
    Output,
    Peer,
    prepare,
    receive,
    send_to_each,
)
from tests.support.fake_client import FakeClient


@pytest.fixture
def peer() -> Peer:
    return Peer(object())


def test_much_unread_output_pauses_it(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "PAUSE_ABOVE", 10)
    peer.lines.feed(b"one\n")
    peer.output.add(b"x" * 10)
    assert peer.has_work

    peer.output.add(b"x")

    assert peer.paused
    assert not peer.has_work
    peer.gone = True  # it reads nothing any more: its commands need not wait
    assert peer.has_work


def test_an_answer_that_another_thread_works_out_pauses_it(peer: Peer) -> None:
    peer.lines.feed(b"one\n")
    peer.awaits = True

    assert peer.paused
    assert not peer.has_work


def test_half_a_line_is_no_work(peer: Peer) -> None:
    peer.lines.feed(b"half")

    assert not peer.has_work
    assert not peer.all_answered


@pytest.mark.parametrize("state", ["ending", "gone", "closed", "awaits"])
def test_only_a_peer_that_may_go_on_is_all_answered(peer: Peer, state: str) -> None:
    assert peer.all_answered

    setattr(peer, state, True)

    assert not peer.all_answered


def test_unread_bytes_have_come_too() -> None:
    here, there = socket.socketpair()
    with here, there:
        peer = Peer(here)
        peer.lines.feed(b"one\ntwo")
        there.sendall(b"12345")
        assert peer.bytes_come() == 12
        assert peer.bytes_served() == 0

        peer.lines.next_line()
        peer.lines.settle()

        assert peer.bytes_come() == 12
        assert peer.bytes_served() == 4
    assert peer.bytes_come() == 7  # closed


def test_a_short_piece_is_all_there_is() -> None:
    client = FakeClient(b"abc", b"def")

    assert receive(client) == (b"abc", None)
    assert receive(client) == (b"def", None)
    assert receive(client) == (b"", None)


def test_full_pieces_are_followed_by_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "_READ", 3)

    assert receive(FakeClient(b"abcdefgh")) == (b"abcdefgh", None)
    assert receive(FakeClient(b"abcdef")) == (b"abcdef", None)


def test_no_more_is_read_than_a_turn_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "_READ", 3)
    monkeypatch.setattr(peer_module, "MAX_READ", 6)
    client = FakeClient(b"x" * 100)

    assert receive(client) == (b"x" * 6, None)
    assert receive(client) == (b"x" * 6, None)


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError()])
def test_an_error_comes_with_the_bytes_before_it(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "_READ", 3)

    assert receive(FakeClient(b"abc", error)) == (b"abc", error)


def test_an_end_of_file_is_no_error_of_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "_READ", 3)

    received, ended = receive(FakeClient(b"abc", b""))

    assert received == b"abc"
    assert isinstance(ended, EOFError)


def test_an_interrupted_read_is_only_a_pause() -> None:
    assert receive(FakeClient(InterruptedError(), b"later")) == (b"", None)


def test_a_socket_is_prepared_for_small_replies_and_dead_peers() -> None:
    with socket.socket() as client:
        prepare(client)

        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        options = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        assert [client.getsockopt(socket.IPPROTO_TCP, each) for each in options] == [60, 15, 4]


def test_a_unix_socket_wants_none_of_that() -> None:
    here, there = socket.socketpair()
    with here, there:
        prepare(here)


def holder(*, unfinished: bytes = b"", unread: bytes = b"", watches: int = 0) -> Peer:
    made = Peer(object())
    made.lines.feed(unfinished)
    made.output.add(unread)
    made.watch_bytes = watches
    return made


def test_input_output_and_watches_count() -> None:
    memory = Memory()

    memory.count(holder(unfinished=b"x" * 1000))
    unfinished = memory.total
    assert unfinished >= sys.getsizeof(b"x" * 1000)
    memory.count(holder(unread=b"x" * 1000))
    memory.count(holder(watches=30))

    assert memory.total == unfinished + 1030


def test_an_idle_peer_holds_nothing() -> None:
    assert holder().weigh() == 0


def test_those_with_unread_output_are_known() -> None:
    memory, unread, watching = Memory(), holder(unread=b"x"), holder(watches=30)
    memory.count(unread)
    memory.count(watching)
    assert memory.unread == {unread}

    memory.release(unread)
    assert memory.unread == set()

    memory.count(unread)
    unread.output.clear()
    memory.count(unread)
    assert memory.unread == set()


def test_the_total_is_the_sum_whatever_changes() -> None:
    dice, memory = Random(7), Memory()
    peers = [holder() for _ in range(5)]
    for _ in range(500):
        each = dice.choice(peers)
        each.output.add(b"x" * dice.randrange(100))
        each.lines.feed(b"y" * dice.randrange(2000))
        if dice.random() < 0.2:
            each.lines.clear()
            each.output.clear()
        memory.count(each)
        if dice.random() < 0.1:
            memory.release(each)
            assert each.weight == 0
        assert memory.total == sum(each.weight for each in peers)


def test_the_fullest_is_told_once_all_together_hold_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer_module, "MAX_TOTAL", 10)
    memory, small, large = Memory(), holder(unread=b"x" * 4), holder(watches=6)
    memory.count(small)
    memory.count(large)
    assert memory.fullest([small, large]) is None

    small.output.add(b"x")
    memory.count(small)

    assert memory.fullest([small, large]) is large
    memory.release(large)
    assert memory.fullest([small]) is None


def test_the_bound_is_that_of_the_specification() -> None:
    assert peer_module.MAX_TOTAL == 256 * 2**20


# --- output that waits ---


def test_output_goes_in_order_and_at_once_if_there_is_room() -> None:
    output, client = Output(), FakeClient()
    output.add(b"one")
    output.add(b"two")
    assert output.size == 6

    assert output.send(client) is True

    assert client.sent == b"onetwo"
    assert output.size == 0


@pytest.mark.parametrize("room", range(7))
def test_what_the_kernel_does_not_take_waits(room: int) -> None:
    output, client = Output(), FakeClient(room=room)
    output.add(b"one")
    output.add(b"two")

    done = output.send(client)

    assert done is (room >= 6)
    assert client.sent == b"onetwo"[:room]
    assert output.size == 6 - room
    client.room = None
    assert output.send(client) is True
    assert client.sent == b"onetwo"


def test_small_pieces_are_sent_together_and_large_ones_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    class Counting(FakeClient):
        def send(self, data: bytes) -> int:
            sizes.append(len(data))
            return super().send(data)

    monkeypatch.setattr(peer_module, "_JOIN", 10)
    output, client = Output(), Counting()
    for size in (4, 4, 4, 50, 3):
        output.add(b"x" * size)

    output.send(client)

    assert sizes == [12, 50, 3]


def test_nothing_to_send_is_sent_at_once() -> None:
    assert Output().send(FakeClient()) is True


def test_a_stand_in_that_does_not_say_how_much_it_took_took_all() -> None:
    class Silent:
        def send(self, data: bytes) -> int:
            return None  # type: ignore[return-value]

    output, client = Output(), Silent()
    output.add(b"all")

    assert output.send(client) is True
    assert output.size == 0


def test_a_client_that_is_gone_is_the_caller_s_matter() -> None:
    output, client = Output(), FakeClient()
    client.fails = ConnectionResetError()
    output.add(b"x")

    with pytest.raises(ConnectionResetError):
        output.send(client)

    output.clear()
    assert output.size == 0


def test_the_limits_are_those_of_the_specification() -> None:
    assert peer_module.MAX_UNREAD == 16 * 2**20
    assert peer_module.PAUSE_ABOVE == 2**20


@pytest.mark.parametrize("room", range(4))
def test_new_output_goes_at_once_as_far_as_there_is_room(room: int) -> None:
    output, client = Output(), FakeClient(room=room)

    done = output.send_new(client, b"one")

    assert done is (room >= 3)
    assert client.sent == b"one"[:room]
    assert output.size == 3 - room
    client.room = None
    assert output.send_new(client, b"two") is True
    assert client.sent == b"onetwo"


def test_new_output_goes_behind_what_waits() -> None:
    output, client = Output(), FakeClient(room=0)
    output.add(b"one")

    assert output.send_new(client, b"two") is False

    client.room = None
    assert output.send(client) is True
    assert client.sent == b"onetwo"


def _sent_part_by_part(client: Client) -> None:
    output = Output()
    output.add(b"abcdefgh")
    output.add(b"ij")
    sizes = [output.size]
    while not output.send(client):
        sizes.append(output.size)
    assert sizes == [10, 7, 4, 1]


def test_the_rest_of_a_long_piece_is_not_copied_for_each_send() -> None:
    kinds = []

    class Slow(socket.socket):
        def send(self, data: Any, _flags: int = 0) -> int:
            kinds.append(type(data))
            return super().send(data[:3])

    here, there = socket.socketpair()
    with Slow(fileno=here.detach()) as client, there:
        _sent_part_by_part(client)

        assert there.recv(100) == b"abcdefghij"
    assert kinds == [bytes, memoryview, memoryview, memoryview]


def test_a_stand_in_is_given_bytes() -> None:
    class Slow(FakeClient):
        def send(self, data: bytes) -> int:
            assert type(data) is bytes
            self.room = 3
            return super().send(data)

    client = Slow()

    _sent_part_by_part(client)

    assert client.sent == b"abcdefghij"


def test_a_reply_may_be_larger_than_what_may_be_left_unread() -> None:
    output, client = Output(), FakeClient(room=0)
    output.add(b"x" * 10)
    assert output.allowed == peer_module.MAX_UNREAD

    output.add_reply(b"y" * 100)

    assert output.allowed == 110 + peer_module.MAX_UNREAD
    assert output.send(client) is False
    assert output.allowed == 110 + peer_module.MAX_UNREAD
    client.room = None
    output.send(client)
    assert output.allowed == peer_module.MAX_UNREAD


def test_output_that_is_held_waits_with_all_that_comes_behind_it() -> None:
    output, client = Output(), FakeClient()
    output.add(b"one")
    output.hold(5)
    output.hold(5)  # nothing has come since
    output.add(b"two")

    assert output.send(client) is False
    output.release(4)
    assert output.send(client) is False
    assert client.sent == b""

    output.release(5)
    assert output.send(client) is True
    assert client.sent == b"onetwo"


def test_each_hold_is_released_by_its_own_position() -> None:
    output, client = Output(), FakeClient()
    output.add(b"one")
    output.hold(5)
    output.add(b"two")
    output.hold(6)

    output.release(5)

    assert output.send(client) is False
    assert client.sent == b"one"
    output.release(6)
    assert output.send(client) is True
    assert client.sent == b"onetwo"


@pytest.mark.parametrize("seed", range(20))
def test_bytes_wait_for_their_own_hold_and_for_all_before_them(seed: int) -> None:
    dice = Random(seed)
    output, client = Output(), FakeClient()
    # Of each byte that waits, the position it is held for; None if it is not held.
    waiting: list[int | None] = []
    position = sent = 0
    for step in dice.choices(["add", "hold", "send"], [4, 3, 2], k=200):
        if step == "add":
            number = dice.randint(1, 4)
            output.add(bytes(number))
            waiting += [None] * number
        elif step == "hold":
            position += 1
            output.hold(position)
            waiting = [position if held is None else held for held in waiting]
        else:
            released = max(0, position - dice.randint(0, 4))
            output.release(released)
            free = sum(1 for _ in takewhile(lambda held: (held or 0) <= released, waiting))  # noqa: B023
            del waiting[:free]
            sent += free
            assert output.send(client) is (not waiting)
            assert len(client.sent) == sent

        assert output.size == len(waiting)


def test_a_peer_weighs_its_input_with_holes_its_output_and_its_watches() -> None:
    peer = Peer(None)
    assert peer.weigh() == 0

    peer.lines.feed(b"x" * 967)
    peer.output.add(b"y" * 513)
    peer.watch_bytes = 1023

    held = sys.getsizeof(b"x" * 967) * 5 // 4
    assert peer.weigh() == held + 513 + 1023
    peer.lines.clear()
    assert peer.weigh() == 513 + 1023


# --- the same to many ---


def test_all_take_the_same() -> None:
    clients = [FakeClient() for _ in range(3)]

    assert send_to_each(iter(clients), b"line\n") is None

    assert [client.sent for client in clients] == [b"line\n"] * 3


@pytest.mark.parametrize("outcome", [3, 0, None, OSError("gone"), ValueError("odd")])
def test_the_first_that_does_not_take_all_is_returned_with_the_outcome(outcome: Any) -> None:
    class Odd:
        def send(self, data: bytes) -> int:
            if isinstance(outcome, Exception):
                raise outcome
            return outcome  # type: ignore[no-any-return]

    before, odd, after = FakeClient(), Odd(), FakeClient()
    rest = iter([before, odd, after])

    tried = send_to_each(rest, b"line\n")

    assert tried is not None
    assert (tried.client, tried.outcome) == (odd, outcome)
    assert (before.sent, after.sent) == (b"line\n", b"")
    assert list(rest) == [after]


def test_output_goes_on_where_a_send_that_was_tried_has_ended() -> None:
    output, client = Output(), FakeClient(room=2)
    tried = send_to_each(iter([client]), b"line\n")
    assert tried is not None

    assert output.send_new(tried, b"line\n") is False

    assert output.size == 3
    client.room = None
    assert output.send(client) is True
    assert client.sent == b"line\n"


def test_a_send_that_failed_fails_again_without_another_try() -> None:
    client = FakeClient()
    client.fails = ConnectionResetError("gone")
    tried = send_to_each(iter([client]), b"line\n")
    assert tried is not None
    client.fails = None

    with pytest.raises(ConnectionResetError, match="gone"):
        Output().send_new(tried, b"line\n")

    assert client.sent == b""
