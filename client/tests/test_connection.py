"""A connection's thread: everything it meets ends as an error that callers hear of."""

import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from spalloc_client._connection import Connection
from spalloc_client._endpoint import Endpoint
from spalloc_client.errors import ProtocolError, ProtocolTimeoutError, ServerLostError

from tests.fake_server import FakeServer


class SlowNetwork:
    """Connecting takes until `go_on`, and then fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        monkeypatch.setattr(socket, "create_connection", self._connect)

    def _connect(self, *_: object) -> socket.socket:
        self.go_on.wait()
        raise OSError("no route")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowNetwork]:
    network = SlowNetwork(monkeypatch)
    yield network
    network.go_on.set()


def connect(port: int) -> Connection:
    return Connection(Endpoint("127.0.0.1", port), lambda _: None)


def test_a_server_that_is_not_reached_in_time_is_a_timeout(network: SlowNetwork) -> None:
    connection = connect(1)

    with pytest.raises(ProtocolTimeoutError, match=r"could not reach 127.0.0.1:1 within 0.01 s"):
        connection.wait_open(0.01)
    connection.close()  # does not wait for the network

    network.go_on.set()
    connection._thread.join()
    with pytest.raises(ServerLostError, match="no route"):
        connection.wait_open(None)


def test_a_child_lets_go_of_a_connection_that_is_still_being_made(network: SlowNetwork) -> None:
    connection = connect(1)

    connection.forget()

    assert isinstance(connection.ended, ServerLostError)
    assert connection._wake_in.fileno() == connection._wake_out.fileno() == -1
    network.go_on.set()
    connection._thread.join()


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (OSError(104, "reset by peer"), ServerLostError("lost the .*: reset by peer")),
        (ValueError("surprise"), ProtocolError(r"failed: ValueError\('surprise'\)")),
    ],
)
def test_whatever_ends_the_thread_is_told_to_who_calls(
    server: FakeServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    failure: Exception,
    error: Exception,
) -> None:
    def fail(_: Any) -> None:
        raise failure

    caplog.set_level(logging.CRITICAL, "spalloc_client")
    monkeypatch.setattr(Connection, "_converse", fail)
    connection = connect(server.port)

    with pytest.raises(type(error), match=str(error)):
        connection.call(30, "version")

    connection.close()
