"""Sockets that a service manager opened are listened on, under the names that it gave them."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server._programs import carrying
from spalloc_server._programs.carrying import carrier_options, listening_sockets
from spalloc_server._wire import fd_store
from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server._wire.fd_store import FdStore, Inherited
from spalloc_server.server import SpallocServer
from tests.support.tcp_client import TcpClient


@pytest.fixture
def opened() -> Iterator[list[socket.socket]]:
    """Sockets of the service manager."""
    sockets: list[socket.socket] = []
    yield sockets
    for each in sockets:
        each.close()


def handed(opened: list[socket.socket], name: str, made: socket.socket) -> Inherited:
    """Hand a socket over to the service."""
    opened.append(made)
    return Inherited(name, os.dup(made.fileno()))


def test_each_kind_of_socket_is_an_endpoint(opened: list[socket.socket], tmp_path: Path) -> None:
    local = socket.socket(socket.AF_UNIX)
    local.bind(str(tmp_path / "users"))
    local.listen()
    proxy = socket.create_server(("127.0.0.1", 0))
    inherited = [
        handed(opened, "spalloc_server.socket", socket.create_server(("127.0.0.1", 0))),
        handed(opened, "users", local),
        handed(opened, "proxy", proxy),
    ]

    found = listening_sockets(inherited)

    assert set(found) == {
        Endpoint(Kind.tcp, "127.0.0.1"),
        Endpoint(Kind.unix, str(tmp_path / "users")),
        Endpoint(Kind.proxy, *proxy.getsockname()),
    }
    for each in found.values():
        assert not each.getblocking()
        each.close()


def test_what_does_not_listen_is_closed(
    opened: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    here, there = socket.socketpair()
    opened.append(there)
    read, write = os.pipe()
    os.close(write)

    assert listening_sockets([handed(opened, "pair", here), Inherited("pipe", read)]) == {}

    assert "'pair' does not listen" in caplog.text
    assert "'pipe' is no socket" in caplog.text
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(read)


def test_a_socket_of_another_family_is_no_endpoint() -> None:
    class Virtual(socket.socket):
        """As one to other virtual machines, which not every computer can make."""

        family = socket.AF_VSOCK

    with Virtual() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()

        assert carrying._endpoint_of("x", made) is None


def test_the_server_listens_there_and_not_where_the_configuration_says(
    opened: list[socket.socket], tmp_path: Path
) -> None:
    config = tmp_path / "a.cfg"
    config.write_text('configuration = Configuration(machines=[], ip="192.0.2.1")')
    kept = socket.create_server(("127.0.0.1", 0))
    port = kept.getsockname()[1]

    for _ in range(2):  # the manager's socket outlives the server
        listening = listening_sockets([handed(opened, "spalloc_server.socket", kept)])
        with SpallocServer(config, port=0, listening=listening) as server:
            assert server.port == port
            with TcpClient(port) as client:
                assert client.call("version")

    with socket.create_connection(("127.0.0.1", port)):
        pass  # still open, for the next start


def test_the_environment_is_read_once(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    inherited = handed(opened, "x", socket.create_server(("127.0.0.1", 0)))
    monkeypatch.setattr(fd_store, "_FIRST", inherited.descriptor)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}

    options = carrier_options(environ)

    assert list(options) == ["listening"]
    assert environ == {}
    for each in options["listening"].values():
        each.close()


def test_a_service_that_is_not_told_of_keeps_nothing() -> None:
    assert carrier_options({}) == {}
    assert carrier_options({"NOTIFY_SOCKET": "nonsense"}) == {}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Where a service manager listens; nobody reads there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        yield manager


def test_a_service_keeps_its_connections(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "_PATIENCE", 0.01)

    options = carrier_options({"NOTIFY_SOCKET": manager.getsockname()})

    assert list(options) == ["carrier"]
    options["carrier"].close(0.1)


def test_a_manager_without_room_for_descriptors_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    assert carrier_options({"NOTIFY_SOCKET": str(tmp_path / "nobody")}) == {}
    assert "the service manager keeps none (FileDescriptorStoreMax= of the unit)" in caplog.text


def test_descriptors_that_came_back_prove_the_room(
    opened: list[socket.socket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    back = handed(opened, "l00000000", socket.create_server(("127.0.0.1", 0)))
    monkeypatch.setattr(fd_store, "_FIRST", back.descriptor)
    environ = {
        "LISTEN_PID": str(os.getpid()),
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": back.name,
        "NOTIFY_SOCKET": str(tmp_path / "nobody"),
    }

    options = carrier_options(environ)

    assert list(options) == ["carrier"]
    options["carrier"].end_unclaimed()
    options["carrier"].close(0.1)


def test_a_keeper_that_fails_leaves_no_socket_open(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[FdStore] = []

    class Told(FdStore):
        def close(self) -> None:
            super().close()
            closed.append(self)

    def refuse(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(carrying, "FdStore", Told)
    monkeypatch.setattr(carrying, "Carrier", refuse)

    assert carrier_options({"NOTIFY_SOCKET": manager.getsockname()}) == {}
    assert len(closed) == 1


def test_a_keeper_that_cannot_be_reached_is_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no such keeper")

    monkeypatch.setattr("spalloc_server._programs.carrying.FdStore", refuse)

    assert carrier_options({"NOTIFY_SOCKET": "/run/nobody"}) == {}
    assert "connections end with this process: no such keeper" in caplog.text
