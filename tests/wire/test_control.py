"""Operators reach the control socket, whoever else holds connections to it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from spalloc_server import _clock
from spalloc_server._wire import control as control_module
from spalloc_server._wire.control import Control, control_path
from spalloc_server._wire.control_socket import Connection, ask
from tests.support.hand_clock import HandClock


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


def test_each_configuration_and_its_simulation_have_a_socket_of_their_own(tmp_path: Path) -> None:
    assert control_path(tmp_path, "a.cfg") == tmp_path / ".a.cfg.control"
    assert control_path(tmp_path, "a.cfg", "simulated") == (
        tmp_path / ".a.cfg.simulated.server-control"
    )


def test_an_order_has_64_kibibytes_at_most(answering: Answering) -> None:
    longest = "x" * 65_536
    answer = ask(answering.path, longest, "the server", timeout=60.0)
    assert answer == f"did {longest}\n".encode()

    connection = answering.connect()
    with suppress(OSError):  # closed already
        connection.sendall(longest.encode() + b"y\n")

    assert ended(connection)
    connection.close()


# --- without its thread ---


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Control:
    """A control whose thread has ended, at five thousand seconds."""
    control = Control(tmp_path / "control", lambda: None)
    control.stop()
    HandClock(monkeypatch)
    return control


def test_after_the_end_orders_are_told_so(stopped: Control) -> None:
    answer = json.loads(stopped._ask_loop(0, "list"))

    assert answer == {"ok": False, "text": "the server is stopping"}
    assert not stopped.carry_out(lambda *_: pytest.fail("nothing is carried out"))
    stopped.stop()


def test_the_thread_waits_until_the_first_connection_has_been_idle_for_long(
    stopped: Control,
) -> None:
    assert stopped._milliseconds_to_wait() is None

    for heard, milliseconds in ((5000.0, 60_001), (4990.5, 50_501), (4940.0, 1), (1000.0, 1)):
        stopped._heard = {7: heard, 8: 5000.0}
        assert stopped._milliseconds_to_wait() == milliseconds


def test_connections_are_closed_that_were_not_heard_of_since(stopped: Control) -> None:
    pairs = [socket.socketpair() for _ in range(3)]
    for number, (ours, _) in enumerate(pairs):
        stopped._connections[number] = Connection(ours, str)
        stopped._heard[number] = 10.0 * number

    stopped._close_idle(10.0)

    assert list(stopped._heard) == list(stopped._connections) == [2]
    assert [ours.fileno() < 0 for ours, _ in pairs] == [True, True, False]
    for pair in pairs:
        for each in pair:
            each.close()
