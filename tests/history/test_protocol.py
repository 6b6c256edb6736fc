"""The small client of the protocol."""

import socket
from collections.abc import Iterator

import pytest

from spalloc_server._history.protocol import Client, ProtocolError, server_address


class Peer:
    """The other end of a connection."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.client = Client(self.listener.getsockname(), timeout=5.0)
        self.socket, _ = self.listener.accept()

    def close(self) -> None:
        self.client.close()
        self.socket.close()
        self.listener.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


def test_a_command_is_answered(peer: Peer) -> None:
    peer.socket.sendall(b'{"return": [1, 2]}\n')

    assert peer.client.call("add", 1, flag=True) == [1, 2]
    assert peer.socket.recv(1000) == (
        b'{"command": "add", "args": [1], "kwargs": {"flag": true}}\n'
    )


def test_answers_may_come_in_pieces(peer: Peer) -> None:
    peer.socket.sendall(b'\r\n{"events_until": 3}\n{"ret')
    told = peer.client.wait(5.0)
    peer.socket.sendall(b'urn": null}\n{"events_until": 4}\n')

    assert peer.client.call("version") is None
    assert told == [{"events_until": 3}]
    assert peer.client.wait(5.0) == [{"events_until": 4}]


def test_a_notice_before_the_answer_is_kept(peer: Peer) -> None:
    peer.socket.sendall(b'{"events_until": 3}\n{"return": 5}\n')

    assert peer.client.call("version") == 5
    assert peer.client.wait(0.0) == [{"events_until": 3}]
    assert peer.client.wait(0.0) == []


def test_a_refusal_is_an_error(peer: Peer) -> None:
    peer.socket.sendall(b'{"exception": "no such thing"}\n')

    with pytest.raises(ProtocolError, match="thing: no such thing"):
        peer.client.call("thing")


@pytest.mark.parametrize(
    ("line", "words"), [(b"hello\n", "is no JSON"), (b"[1]\n", "is no object")]
)
def test_an_answer_that_is_none_is_an_error(peer: Peer, line: bytes, words: str) -> None:
    peer.socket.sendall(line)

    with pytest.raises(ProtocolError, match=words):
        peer.client.call("version")


def test_a_line_without_end_is_an_error(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spalloc_server._history.protocol._LONGEST", 10)
    peer.socket.sendall(b"x" * 20)

    with pytest.raises(ProtocolError, match="a line of more than"):
        peer.client.call("version")


def test_a_closed_connection_is_an_error(peer: Peer) -> None:
    peer.socket.close()

    with pytest.raises(ConnectionError):
        peer.client.wait(5.0)


def test_silence_is_an_error(peer: Peer) -> None:
    peer.client._timeout = 0.01

    with pytest.raises(TimeoutError):
        peer.client.call("version")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("spinnaker", ("spinnaker", 22244)),
        ("10.0.0.1:5", ("10.0.0.1", 5)),
        ("[::1]:80", ("::1", 80)),
        ("[::1]", ("::1", 22244)),
        ("::1", ("::1", 22244)),
        ("2001:db8::22", ("2001:db8::22", 22244)),
    ],
)
def test_a_server_is_a_host_and_maybe_a_port(text: str, address: tuple[str, int]) -> None:
    assert server_address(text) == address


@pytest.mark.parametrize("text", ["", ":5", "host:port", "host:0", "host:70000", "[]", "[::1]:x"])
def test_other_text_is_no_server(text: str) -> None:
    with pytest.raises(ValueError, match="is no server"):
        server_address(text)
