"""A peer knows when it may go on, and what it makes the server hold."""

from __future__ import annotations

import socket

import pytest

from spalloc_server._wire import peer as peer_module
from spalloc_server._wire.peer import Peer


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
