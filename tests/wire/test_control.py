"""Operators reach the control socket, whoever else holds connections to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from spalloc_server import _clock
from spalloc_server._wire import control as control_module
from spalloc_server._wire.control import Control
from spalloc_server._wire.control_socket import ask


class Answering:
    """A control socket, and a thread that answers as a server's loop does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._asked = threading.Event()
        self._stopped = False
        self.control = Control(path, self._asked.set)
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        while not self._stopped:
            self._asked.wait()
            self._asked.clear()
            if self.control.carry_out(lambda line, _: f"did {line}"):
                self.control.settle()

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.path))
        return connection

    def stop(self) -> None:
        self._stopped = True
        self._asked.set()
        self._thread.join()
        self.control.stop()


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Answering]:
    answering = Answering(tmp_path / "control")
    yield answering
    answering.stop()


def ended(connection: socket.socket) -> bool:
    """Whether the server closes a connection, after a while."""
    try:
        return connection.recv(100) == b""
    except ConnectionResetError:
        return True


def test_one_more_takes_the_place_of_the_one_idle_for_longest(answering: Answering) -> None:
    idle = [answering.connect() for _ in range(control_module._MAX_CONNECTIONS)]
    for connection in (*idle, idle[0]):
        connection.sendall(b"here\n")
        assert connection.recv(100) == b"did here\n"

    assert ask(answering.path, "list", "the server") == b"did list\n"

    assert ended(idle[1])
    idle[0].sendall(b"again\n")
    assert idle[0].recv(100) == b"did again\n"
    for connection in idle:
        connection.close()


def test_an_idle_connection_is_closed_in_the_end(
    answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    idle = answering.connect()
    idle.sendall(b"one\n")
    assert idle.recv(100) == b"did one\n"
    assert ask(answering.path, "another", "the server") == b"did another\n"
    now = _clock.monotonic() + control_module._SECONDS_IDLE + 1

    monkeypatch.setattr(_clock, "monotonic", lambda: now)
    assert ask(answering.path, "list", "the server") == b"did list\n"

    assert ended(idle)
    idle.close()


def test_half_a_line_does_not_keep_a_place(answering: Answering) -> None:
    idle = [answering.connect() for _ in range(3 * control_module._MAX_CONNECTIONS)]
    for connection in idle:
        with suppress(OSError):  # closed already
            connection.sendall(b"half")

    for _ in range(20):
        assert ask(answering.path, "list", "the server") == b"did list\n"

    for connection in idle:
        connection.close()
