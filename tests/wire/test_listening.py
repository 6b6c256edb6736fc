"""Listening sockets, and their change."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server._wire import listening
from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server._wire.listening import ListenError, Listening

A, B = Endpoint(Kind.tcp, "127.0.0.1"), Endpoint(Kind.tcp, "127.0.0.2")


class Loop:
    """Opens real sockets unless told that an address is taken."""

    def __init__(self) -> None:
        self.taken: set[str] = set()
        self.in_the_way: dict[str, str] = {}
        self.registered: list[socket.socket] = []
        self.stopped: list[socket.socket] = []
        self.listening = Listening(
            self.open, self.registered.append, self.stopped.append, 0, receive_buffer=4096
        )

    def open(self, address: str, port: int) -> socket.socket:
        addresses = {endpoint.address for endpoint in self.listening.sockets.values()}
        if address in self.taken or self.in_the_way.get(address) in addresses:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address, port))
        listening.listen()
        self.registered.append(listening)
        return listening

    def endpoints(self) -> list[Endpoint]:
        return list(self.listening.sockets.values())


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.listening.close()
    assert loop.endpoints() == []
    assert all(each.fileno() == -1 for each in loop.registered)


def test_the_kernel_chooses_one_port_for_all_addresses(loop: Loop) -> None:
    loop.listening.change([A, B])

    ports = {each.getsockname()[1] for each in loop.listening.sockets}
    assert ports == {loop.listening.port}
    assert loop.endpoints() == [A, B]


def test_an_address_that_stays_keeps_its_socket(loop: Loop) -> None:
    loop.listening.change([A])
    (before,) = loop.listening.sockets

    loop.listening.change([B, A])

    assert before in loop.listening.sockets
    assert loop.stopped == []


def test_clients_of_an_address_that_goes_are_taken_in_first(loop: Loop) -> None:
    loop.listening.change([A, B])
    (first, _) = loop.listening.sockets

    loop.listening.change([B])

    assert loop.stopped == [first]
    assert loop.endpoints() == [B]


def test_an_old_address_in_the_way_of_a_new_one_is_closed_first(loop: Loop) -> None:
    loop.listening.change([A])
    loop.in_the_way["127.0.0.2"] = "127.0.0.1"

    loop.listening.change([B])

    assert loop.endpoints() == [B]


def test_all_or_nothing(loop: Loop) -> None:
    loop.listening.change([A])
    loop.taken.add("127.0.0.3")

    with pytest.raises(ListenError) as refused:
        loop.listening.change([B, Endpoint(Kind.tcp, "127.0.0.3")])

    assert refused.value.endpoint.address == "127.0.0.3"
    assert refused.value.errno == errno.EADDRINUSE
    assert loop.endpoints() == [A]


IN_USE = OSError(errno.EADDRINUSE, "Address already in use")


def test_an_error_names_the_endpoint_with_its_port_and_the_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]

        texts = [
            str(ListenError(A, port, IN_USE)),
            str(ListenError(Endpoint(Kind.proxy, "127.0.0.1", port), 1, IN_USE)),
        ]

    for text in texts:
        assert text.startswith(f"cannot listen on 127.0.0.1, port {port}: Address already in use")
        assert f" by process {os.getpid()} (" in text


@pytest.mark.parametrize(
    ("endpoint", "error", "text"),
    [
        (A, OSError(errno.EACCES, "Permission denied"), "127.0.0.1, port 1: Permission denied"),
        (Endpoint(Kind.unix, "/run/s"), IN_USE, "/run/s: Address already in use"),
    ],
)
def test_without_a_known_holder_an_error_names_none(
    endpoint: Endpoint, error: OSError, text: str
) -> None:
    assert str(ListenError(endpoint, 1, error)) == f"cannot listen on {text}"


def test_an_address_that_cannot_be_had_again_is_tried_until_it_can(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    loop.listening.change([A])
    loop.taken.update({"127.0.0.1", "127.0.0.2"})

    with pytest.raises(ListenError):
        loop.listening.change([B])
    loop.listening.listen_again()
    lost = set(loop.listening.lost)
    loop.taken.clear()
    loop.listening.listen_again()

    assert lost == {A}
    assert caplog.text.count("no new clients until 127.0.0.1 can be had again") == 1
    assert loop.listening.lost == set()
    assert loop.endpoints() == [A]


def test_an_error_that_nobody_is_in_the_way_of_closes_nothing(loop: Loop) -> None:
    loop.listening.change([A])

    with pytest.raises(ListenError):
        loop.listening.change([Endpoint(Kind.unix, "/no/such/folder/s")])

    assert loop.endpoints() == [A]
    assert loop.stopped == []


def test_a_proxy_may_have_a_port_of_its_own(loop: Loop) -> None:
    proxy = Endpoint(Kind.proxy, "127.0.0.1", 0)

    loop.listening.change([A, proxy])

    (first, second) = loop.listening.sockets
    assert first.getsockname()[1] == loop.listening.port != second.getsockname()[1]
    assert loop.listening.kind_of(second) is Kind.proxy
    with socket.socket() as unknown:
        assert loop.listening.kind_of(unknown) is Kind.tcp


def test_unix_sockets_are_removed_when_they_close(loop: Loop, tmp_path: Path) -> None:
    loop.listening.change([A, Endpoint(Kind.unix, str(tmp_path / "s"))])
    assert (tmp_path / "s").is_socket()

    loop.listening.change([A])

    assert not (tmp_path / "s").exists()


def test_inherited_sockets_are_used_instead_of_new_ones() -> None:
    ours, unused = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    registered: list[socket.socket] = []
    listening = Listening(
        lambda *_: pytest.fail("opened"),
        registered.append,
        registered.remove,
        0,
        inherited={A: ours, B: unused},
        receive_buffer=4096,
    )

    listening.change([A])

    assert list(listening.sockets) == registered == [ours]
    assert listening.port == ours.getsockname()[1]
    listening.close()
    assert unused.fileno() == -1


@pytest.mark.parametrize(
    ("error", "named"),
    [(errno.EADDRINUSE, True), (errno.EACCES, False), (errno.EADDRNOTAVAIL, False)],
)
def test_the_holder_of_a_port_is_named_only_if_that_is_the_trouble(
    monkeypatch: pytest.MonkeyPatch, error: int, named: bool
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(listening, "holder_of", asked.append)

    told = ListenError(
        Endpoint(Kind.tcp, "127.0.0.1"), 22244, OSError(error, os.strerror(error))
    )

    assert asked == ([22244] if named else [])
    assert os.strerror(error) in str(told)
