"""Accepting: as far as there are descriptors, and later otherwise."""

import contextlib
import errno
import logging
import math
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server import _clock
from spalloc_server._wire.accepting import Acceptor
from spalloc_server.polling_server_core import PollingServerCore as Core

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def core() -> Iterator[Core]:
    made = Core()
    yield made
    made.close_polling()


@pytest.fixture
def acceptor(core: Core) -> Acceptor:
    return Acceptor(core.pause_channel)


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        yield here, there


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time as the code sees it; to be set by ``now[0] = ...``."""
    time = [1000.0]
    monkeypatch.setattr(_clock, "monotonic", lambda: time[0])
    return time


def test_connections_are_accepted_one_by_one(core: Core, acceptor: Acceptor) -> None:
    server = core._open_server_socket("127.0.0.1", 0)
    with socket.create_connection(server.getsockname()) as client:
        list(core.ready_channels(None))

        accepted = acceptor.accept(server)

        assert accepted is not None
        with accepted:
            assert accepted.getpeername() == client.getsockname()
            assert not accepted.getblocking()
            assert acceptor.accept(server) is None


class Broken(socket.socket):
    """A listening socket whose connections cannot be taken."""

    error = errno.ECONNABORTED

    def accept(self) -> tuple[socket.socket, object]:
        raise OSError(self.error, os.strerror(self.error))


@pytest.mark.parametrize("error", [errno.ECONNABORTED, errno.EPERM, errno.EPROTO])
def test_a_connection_lost_before_it_was_accepted_is_skipped(
    core: Core, acceptor: Acceptor, error: int
) -> None:
    server = Broken()
    server.error = error
    core.register_channel(server)

    assert acceptor.accept(server) is None

    assert core._paused == {}


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_without_descriptors_accepting_is_paused_and_said_once(
    core: Core, acceptor: Acceptor, error: int, caplog: pytest.LogCaptureFixture, now: list[float]
) -> None:
    server = Broken()
    server.error = error
    core.register_channel(server)

    for _ in range(3):
        assert acceptor.accept(server) is None

    assert list(core._paused) == [server]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "No new clients" in caplog.text


def test_those_who_wait_for_descriptors_are_accepted_later(
    core: Core, acceptor: Acceptor, pair: Pair, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = core._open_server_socket("127.0.0.1", 0)
    here, there = pair
    core.register_channel(here)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    fill: list[int] = []
    with socket.create_connection(server.getsockname()):
        assert list(core.ready_channels(None)) == [server]
        try:
            highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, limits[1]))
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    fill.append(os.dup(server.fileno()))

            assert acceptor.accept(server) is None
        finally:
            for descriptor in fill:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

        assert list(core.ready_channels(0)) == []
        there.send(b"x")
        assert list(core.ready_channels(None)) == [here]
        core.unregister_channel(here)
        now[0] += 1
        assert list(core.ready_channels(None)) == []
        assert list(core.ready_channels(None)) == [server]
        accepted = acceptor.accept(server)
        assert accepted is not None
        accepted.close()
    assert "accepted again" in caplog.text


def test_clients_do_not_get_the_descriptors_in_reserve(
    core: Core, acceptor: Acceptor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = core._open_server_socket("127.0.0.1", 0)
    with contextlib.ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(server.getsockname())) for _ in range(3)
        ]
        acceptor._first_reserved = 0

        # The first one beyond the limit is found out by its number; then nobody is taken.
        first = acceptor.accept(server)
        assert first is not None
        assert acceptor.accept(server) is None
        assert acceptor.accept(server) is None

        acceptor._first_reserved = math.inf
        others = [acceptor.accept(server) for _ in clients[1:]]
        for accepted in (first, *others):
            assert accepted is not None
            accepted.close()
    assert caplog.text.count("the other descriptors are kept in reserve") == 1
    assert "accepted again" in caplog.text


def test_without_any_descriptor_only_the_reserve_is_left(
    core: Core, acceptor: Acceptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = core._open_server_socket("127.0.0.1", 0)

    def refuse(_: int) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("os.dup", refuse)

    assert acceptor._only_reserve_is_left(server)


@pytest.mark.parametrize(
    ("limit", "frames", "first"),
    [
        (1024, 0, 960),
        (1024, 50, 910),
        (256, 200, 64),
        (128, 50, 32),
        (64, 2, 32),
        (16, 0, 8),
        (17, 0, 8),
        (4099, 4000, 1024),
        (resource.RLIM_INFINITY, 9, math.inf),
    ],
)
def test_the_reserve_grows_with_the_frames_and_leaves_clients_a_part(
    acceptor: Acceptor,
    monkeypatch: pytest.MonkeyPatch,
    limit: int,
    frames: int,
    first: float,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))

    acceptor.reserve(frames)

    assert acceptor._first_reserved == first
