"""A peer knows when it may go on, and what it makes the server hold."""

from __future__ import annotations

import random
import socket
import sys

import pytest

from spalloc_server._wire import peer as peer_module
from spalloc_server._wire.peer import Memory, Peer, prepare, receive
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


def test_the_total_is_the_sum_whatever_changes() -> None:
    dice, memory = random.Random(7), Memory()
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
