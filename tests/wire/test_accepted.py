"""Sockets are read as far as there is something, and each way to end is told apart."""

from __future__ import annotations

import socket

import pytest

from spalloc_server._wire import accepted
from spalloc_server._wire.accepted import prepare, receive
from tests.support.fake_client import FakeClient


def test_a_short_piece_is_all_there_is() -> None:
    client = FakeClient(b"abc", b"def")

    assert receive(client) == (b"abc", None)
    assert receive(client) == (b"def", None)
    assert receive(client) == (b"", None)


def test_full_pieces_are_followed_by_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted, "_READ", 3)

    assert receive(FakeClient(b"abcdefgh")) == (b"abcdefgh", None)
    assert receive(FakeClient(b"abcdef")) == (b"abcdef", None)


def test_no_more_is_read_than_a_turn_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted, "_READ", 3)
    monkeypatch.setattr(accepted, "MAX_READ", 6)
    client = FakeClient(b"x" * 100)

    assert receive(client) == (b"x" * 6, None)
    assert receive(client) == (b"x" * 6, None)


@pytest.mark.parametrize("error", [ConnectionResetError(), TimeoutError()])
def test_an_error_comes_with_the_bytes_before_it(
    error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted, "_READ", 3)

    assert receive(FakeClient(b"abc", error)) == (b"abc", error)


def test_an_end_of_file_is_no_error_of_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepted, "_READ", 3)

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
