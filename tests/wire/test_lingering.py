"""Connections that are closed without a reset."""

import select
import socket
import struct
from collections.abc import Iterator

import pytest

from spalloc_server import _clock
from spalloc_server._wire import lingering as _lingering
from spalloc_server._wire.lingering import Lingering

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A server's end and a client's, over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        client.settimeout(10)
        server, _ = listening.accept()
    yield server, client
    server.close()
    client.close()


def test_the_peer_sees_the_end_of_file_while_it_is_still_sending(pair: Pair) -> None:
    server, client = pair
    lingering = Lingering()
    client.sendall(b"not read")
    server.sendall(b"last words")

    lingering.add(server)
    client.sendall(b"more")
    lingering.tend()

    assert len(lingering.sockets) == 1
    assert client.recv(100) == b"last words"
    assert client.recv(100) == b""


def test_a_connection_is_closed_when_its_peer_closes(pair: Pair) -> None:
    server, client = pair
    lingering = Lingering()
    lingering.add(server)
    client.shutdown(socket.SHUT_WR)
    server.setblocking(True)
    server.recv(1, socket.MSG_PEEK)  # until the end of file is there

    lingering.tend()

    assert len(lingering.sockets) == 0
    assert server.fileno() == -1


def test_a_peer_that_has_closed_already_is_not_waited_for(pair: Pair) -> None:
    server, client = pair
    client.close()
    server.recv(1)

    lingering = Lingering()
    lingering.add(server)

    assert len(lingering.sockets) == 0
    assert server.fileno() == -1


def test_a_connection_that_is_reset_is_closed(pair: Pair) -> None:
    server, client = pair
    lingering = Lingering()
    lingering.add(server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    poll = select.poll()
    poll.register(server, 0)
    assert poll.poll(10_000)  # the reset is there

    lingering.tend()

    assert len(lingering.sockets) == 0
    assert server.fileno() == -1


def test_a_peer_that_never_closes_has_its_time(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(_clock, "monotonic", lambda: now)
    lingering = Lingering()
    lingering.add(pair[0])
    now += _lingering._SECONDS - 0.1
    lingering.tend()
    assert len(lingering.sockets) == 1

    now += 0.2
    lingering.tend()

    assert len(lingering.sockets) == 0
    assert pair[0].fileno() == -1


def test_the_oldest_goes_when_there_are_too_many(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_lingering, "_MOST", 1)
    other_server, other_client = socket.socketpair()
    lingering = Lingering()
    lingering.add(pair[0])

    lingering.add(other_server)

    assert pair[0].fileno() == -1
    assert len(lingering.sockets) == 1
    lingering.close()
    assert other_server.fileno() == -1
    other_client.close()


def test_a_closed_socket_is_no_trouble() -> None:
    closed = socket.socket()
    closed.close()

    lingering = Lingering()
    lingering.add(closed)

    assert len(lingering.sockets) == 0


def test_nothing_unread_is_left_where_a_connection_has_to_be_closed(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing would reset it, which can destroy what the peer has yet to read."""
    monkeypatch.setattr(_lingering, "_SECONDS", 0.0)
    server, client = pair
    lingering = Lingering()
    lingering.add(server)
    client.sendall(b"unread")
    server.setblocking(True)
    server.recv(1, socket.MSG_PEEK)  # until it is there

    lingering.tend()

    assert server.fileno() == -1
    assert client.recv(1) == b""
    client.sendall(b"more")  # a reset would have come by now
