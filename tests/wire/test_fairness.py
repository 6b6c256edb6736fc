"""Clients that send many commands at a time are served round and round, and none is lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._wire import messages, peer
from spalloc_server._wire.backlog import MOST_IN_A_SLICE
from spalloc_server.server import SpallocServer
from tests.support.fake_client import FakeClient
from tests.support.tcp_client import TcpClient


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SpallocServer]:
    """A server whose loop rests while a test turns it by hand."""
    config = tmp_path / "a.cfg"
    config.write_text('configuration = Configuration(machines=[], ip="127.0.0.1")')
    with SpallocServer(config, port=0, durability="none") as server:
        yield server


@pytest.fixture
def ran(server: SpallocServer, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return who ran a command, in order; each takes a millisecond."""
    ran: list[Any] = []
    now = [_clock.monotonic()]
    monkeypatch.setattr(_clock, "monotonic", lambda: now[0])

    def work(_: object, _client: object, who: str) -> str:
        ran.append(who)
        now[0] += 0.001
        return who

    monkeypatch.setattr(server, "_commands", {**server._commands, "work": work})
    return ran


def line(who: str) -> bytes:
    return json.dumps({"command": "work", "args": [who]}).encode() + b"\n"


def turn(server: SpallocServer, *ready: FakeClient, until: float = 0.004) -> None:
    """Do what a turn of the loop does for clients, without the loop."""
    with server.controller.undisturbed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "_in_loop", lambda: True)
        for client in ready:
            server._guarded(client, server._handle_commands)
        server._serve_backlog(_clock.monotonic() + until)
        server._answer_all()


def test_nobody_runs_all_of_many_commands_before_another_runs_one(
    server: SpallocServer, ran: list[Any]
) -> None:
    clients = {name: FakeClient(line(name) * 3) for name in "abc"}
    for client in clients.values():
        server._client_buffers[client] = b""

    turn(server, *clients.values())
    while server._backlog.peers:
        turn(server)

    assert sorted(ran[:3]) == sorted(ran[3:6]) == sorted(ran[6:]) == ["a", "b", "c"]
    for name, client in clients.items():
        assert client.lines == [{"return": name}] * 3
        assert server._client_buffers[client] == b""


def test_a_turn_ends_in_time_and_the_next_begins_where_it_ended(
    server: SpallocServer, ran: list[Any]
) -> None:
    names = [f"c{number}" for number in range(20)]
    clients = [FakeClient(line(name) * 2) for name in names]
    began = _clock.monotonic()

    turn(server, *clients)

    assert _clock.monotonic() - began < 0.006
    while server._backlog.peers:
        turn(server)
    assert ran == names * 2


def test_whoever_sends_one_command_is_served_although_a_turn_s_time_is_over(
    server: SpallocServer, ran: list[Any]
) -> None:
    known, many = FakeClient(line("one")), FakeClient(line("many") * 50)
    messages.decode(line("one").rstrip())

    turn(server, many, known, until=0.0)

    assert known.lines == [{"return": "one"}]
    assert "one" in ran


def test_a_turn_has_4_ms_for_those_who_send_many(
    server: SpallocServer, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    serve, times = server._serve_backlog, []

    def note(until: float) -> None:
        times.append(until - _clock.monotonic())
        serve(until)

    monkeypatch.setattr(server, "_serve_backlog", note)
    with TcpClient(server.port) as client:
        client.send(line("many") * 20)
        for _ in range(20):
            assert client.line() == {"return": "many"}

    assert times
    assert times == pytest.approx([0.004] * len(times))


def test_a_long_line_waits_until_others_have_had_their_turn(
    server: SpallocServer, ran: list[Any]
) -> None:
    long = [FakeClient(line("long" + " " * 40_000)) for _ in range(3)]
    short = FakeClient(line("short"))

    turn(server, *long, short, until=0.0)

    assert [who.strip() for who in ran] == ["short", "long"]


def test_cheap_commands_are_counted_too(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_clock, "monotonic", lambda: 5.0)
    client = FakeClient(b'{"command": "version"}\n' * 1000)

    turn(server, client)

    assert len(client.lines) == MOST_IN_A_SLICE


def test_blank_lines_are_no_way_to_keep_the_loop(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter(range(10**6))
    monkeypatch.setattr(_clock, "monotonic", lambda: float(next(times)))
    client = FakeClient(b"\n" * 60_000)
    server._client_buffers[client] = b""

    turn(server, client, until=100.0)

    assert len(server._client_buffers[client]) > 59_000
    while server._backlog.peers:
        turn(server, until=100.0)
    assert server._client_buffers[client] == b""


def test_commands_of_somebody_who_hung_up_wait_for_their_turn_too(
    server: SpallocServer, ran: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "_READ", 5 * len(line("gone")))  # the end comes with it
    client = FakeClient(line("gone") * 5, ConnectionResetError())
    server._client_buffers[client] = b""

    turn(server, client)
    turn(server, client)
    assert len(ran) < 5
    assert not client.closed
    while server._backlog.peers:
        turn(server)

    assert ran == ["gone"] * 5
    assert client.closed
    assert client.sent == b""
    assert client not in server._client_buffers


def test_a_keepalive_behind_many_commands_counts(server: SpallocServer, ran: list[Any]) -> None:
    """It was in time: only then are deadlines judged, and no flood puts that off for ever."""
    client = FakeClient(line("x") * 5)
    server._client_buffers[client] = b""
    turn(server, client, until=0.0)
    assert not server._backlog.all_served()

    for _ in range(10):
        client.incoming.append(line("later") * 5)
        turn(server, client, until=0.0)
        if server._backlog.all_served():
            break
    else:
        pytest.fail("it is put off")

    assert ran == ["x"] * 5


def test_input_that_is_never_finished_counts_towards_the_bound(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(peer, "MAX_TOTAL", 3_000_000)
    with TcpClient(server.port) as witness:
        many = [TcpClient(server.port) for _ in range(8)]
        for number, client in enumerate(many):
            client.send(b"x" * (500_000 + 1000 * number))
        for _ in range(1000):
            assert witness.call("version")
            if "the most" in caplog.text:
                break
        else:
            pytest.fail("nobody was dropped")
        with server.controller.undisturbed:  # not between counting and dropping
            assert server.memory.total <= 3_000_000
        for client in many:
            client.close()


def test_watches_count_towards_the_bound(server: SpallocServer) -> None:
    with TcpClient(server.port) as client:
        for number in range(10):
            client.call("notify_machine", "\N{OCTOPUS}" * 1000 + str(number))
            client.call("notify_job", number)
        assert server.memory.total > 40_000

        for number in range(10):
            client.call("no_notify_machine", "\N{OCTOPUS}" * 1000 + str(number))
        left = server.memory.total
        client.call("no_notify_job")

        client.call("version")  # now that all of the turn before is done

        assert 0 < left < 2000
        assert server.memory.total == 0


def test_names_that_were_watched_before_all_are_watched_count_no_longer(
    server: SpallocServer,
) -> None:
    with TcpClient(server.port) as client:
        client.call("notify_job", 3)
        client.call("notify_machine", "x" * 1000)
        client.call("notify_machine", None)
        left = server.memory.total
        client.call("no_notify_job", 3)

        client.call("version")  # now that all of the turn before is done

        assert 0 < left < 500
        assert server.memory.total == 0
