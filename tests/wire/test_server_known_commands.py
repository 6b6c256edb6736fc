"""Commands that come alone and were seen before: answered at once, and otherwise like any."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

import spalloc_server
from spalloc_server._wire import messages
from spalloc_server.server import SpallocServer
from tests.support.fake_client import FakeClient

REPLY = {"return": spalloc_server.__version__}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SpallocServer]:
    config = tmp_path / "a.cfg"
    config.write_text('configuration = Configuration(machines=[], ip="127.0.0.1")')
    with SpallocServer(config, port=0) as server:
        yield server


@pytest.fixture
def known() -> bytes:
    """Return the line of a command that was seen before."""
    messages.decode(b'{"command": "version"}')
    return b'{"command": "version"}\n'


def test_it_is_answered_at_once(server: SpallocServer, known: bytes) -> None:
    client = FakeClient(known)

    server._handle_commands(client)

    assert client.lines == [REPLY]
    assert not server._peers[client].output.size


def test_what_is_no_command_disconnects(server: SpallocServer) -> None:
    messages.decode(b'{"command": "dance"}')
    client = FakeClient(b'{"command": "dance"}\n')

    server._handle_commands(client)

    assert (client.lines, client.closed) == ([], True)


def test_the_rest_of_a_line_is_not_taken_for_one(server: SpallocServer, known: bytes) -> None:
    client = FakeClient(b'{"command": "version", "other": ', known[:-1] + b"}\n", known)
    server._client_buffers[client] = b""

    for _ in range(3):
        server._handle_commands(client)

    assert client.lines == [REPLY, REPLY]


def test_it_waits_for_what_is_to_be_written(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, known: bytes
) -> None:
    client = FakeClient(known)
    sent_before: list[bytes] = []
    monkeypatch.setattr(server._write_ahead, "uncommitted", True)

    def commit() -> None:
        sent_before.append(client.sent)

    monkeypatch.setattr(server._write_ahead, "commit_and_wait", commit)

    server._handle_commands(client)

    assert sent_before == [b""]
    assert client.lines == [REPLY]


def test_it_waits_for_the_end_of_the_turn_if_something_is_to_be_written(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, known: bytes
) -> None:
    client = FakeClient(known)
    with server.controller.undisturbed:
        monkeypatch.setattr(server, "_in_loop", lambda: True)
        monkeypatch.setattr(server._write_ahead, "uncommitted", True)

        server._handle_commands(client)

        assert client.lines == []
    monkeypatch.undo()
    server._disconnect_client(client)


def test_its_reply_goes_through_whatever_messages_clients(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, known: bytes
) -> None:
    client = FakeClient(known)
    message = Mock()
    monkeypatch.setattr(server, "_msg_client", message)

    server._handle_commands(client)

    message.assert_called_once_with(client, REPLY)
    assert client.lines == []


def test_what_is_not_taken_of_its_reply_waits(server: SpallocServer, known: bytes) -> None:
    client = FakeClient(known, room=10)

    server._handle_commands(client)
    left = server._peers[client].output.size
    client.room = None
    server._answer(server._peers[client])

    assert left == len(json.dumps(REPLY)) + 1 - 10
    assert client.lines == [REPLY]


def test_a_client_that_is_gone_when_it_is_answered_is_disconnected_once(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, known: bytes
) -> None:
    client = FakeClient(known)
    client.fails = ConnectionResetError()
    dropped = Mock(wraps=server._disconnect_client)
    monkeypatch.setattr(server, "_disconnect_client", dropped)

    server._handle_commands(client)

    dropped.assert_called_once_with(client)
    assert client not in server._peers
