"""Visitors: introduced, judged, and clients from then on, or closed unheard."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._access.policy import Policy
from spalloc_server._access.proxy_header import SECONDS_FOR_HEADER
from spalloc_server._wire import introductions, visitors
from spalloc_server._wire.carried import Carried
from spalloc_server._wire.carrier import Returned
from spalloc_server._wire.endpoints import Kind
from spalloc_server._wire.kernel_counts import Counts
from spalloc_server._wire.record import Record
from tests.access.test_proxy_header import header
from tests.support.bare_clients import BareClients, FarEnd, command, wait_for
from tests.support.hand_clock import HandClock
from tests.support.policed_server import proxied

OPEN, LOOPBACK = Policy(), Policy([("127.0.0.1", "use")])
NOBODY = Policy([("192.0.2.1", "use")])


def who(server: BareClients, client: socket.socket) -> tuple[str, str | None]:
    return server._doorkeeper.acts_as(client).principal, server._name(client)


def unknown(server: BareClients) -> bool:
    """Whether connections wait to be introduced."""
    return bool(server._visitors.proxied.waiting or server._visitors.local.waiting)


@pytest.fixture
def server() -> Iterator[BareClients]:
    with closing(BareClients({"version": who}, {"version"})) as server:
        yield server


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)


# --- TCP ---


def test_a_client_that_a_rule_admits_is_served(server: BareClients) -> None:
    server._change_policy(LOOPBACK)
    ours, theirs = server.pair()

    assert server._visitors.receive(ours, Kind.tcp)
    theirs.send(command("version"))
    server.turn(ours)

    assert theirs.lines(1) == [{"return": ["host:127.0.0.1", "127.0.0.1"]}]
    assert server.connections == 1
    assert not unknown(server)


def test_one_that_no_rule_admits_is_closed_unheard(server: BareClients) -> None:
    server._change_policy(NOBODY)
    ours, theirs = server.pair()
    theirs.send(command("version"))

    assert not server._visitors.receive(ours, Kind.tcp)

    assert theirs.rest() == []
    assert (server.connections, server._client_buffers, server._peers) == (0, {}, {})


@pytest.mark.parametrize(("policy", "served"), [(OPEN, True), (LOOPBACK, False)])
def test_one_that_is_gone_is_served_where_everybody_is(
    server: BareClients, monkeypatch: pytest.MonkeyPatch, policy: Policy, served: bool
) -> None:
    server._change_policy(policy)
    monkeypatch.setattr(visitors, "identity_by_address", lambda _: None)
    ours, _ = server.pair()

    assert server._visitors.receive(ours, Kind.tcp) is served
    assert (ours in server._client_buffers) is served


# --- proxies ---


def test_a_proxied_client_has_its_first_command_carried_out(server: BareClients) -> None:
    server._change_policy(NOBODY)
    ours, theirs = server.pair()
    whole = proxied("192.0.2.1") + command("version")

    assert not server._visitors.receive(ours, Kind.proxy)
    server._visitors.read_header(ours)
    for piece in (whole[:20], whole[20:]):
        assert unknown(server)
        theirs.send(piece)
        wait_for(ours)
        server._visitors.read_header(ours)
    server._answer_all()

    assert not unknown(server)
    assert theirs.lines(1) == [{"return": ["host:192.0.2.1", "192.0.2.1"]}]


def test_a_proxied_client_that_no_rule_admits_is_closed_unheard(server: BareClients) -> None:
    server._change_policy(NOBODY)
    ours, theirs = server.pair()
    theirs.send(proxied("192.0.2.2") + command("version"))

    server._visitors.receive(ours, Kind.proxy)
    wait_for(ours)
    server._visitors.read_header(ours)

    assert theirs.rest() == []
    assert server.connections == 0


def test_the_proxys_own_question_makes_no_line_in_the_log(
    server: BareClients, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = server.pair()
    theirs.send(header(b"", command=0x20, family=0))

    server._visitors.receive(ours, Kind.proxy)
    wait_for(ours)
    server._visitors.read_header(ours)

    assert theirs.rest() == []
    assert caplog.text == ""


def test_bad_headers_make_a_line_a_minute(
    server: BareClients, clock: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    def come() -> None:
        ours, theirs = server.pair()
        theirs.send(b"GET / HTTP/1.0\r\n")
        server._visitors.receive(ours, Kind.proxy)
        wait_for(ours)
        server._visitors.read_header(ours)
        assert theirs.rest() == []

    for seconds in (0.0, 1.0, 58.9, 0.2):
        clock.advance(seconds)
        come()

    counts = [record.getMessage().split(";")[0] for record in caplog.records]
    assert counts == [
        "connections closed unheard since this was last told: 1",
        "connections closed unheard since this was last told: 3",
    ]


def test_a_header_has_its_time_and_no_more(server: BareClients, clock: HandClock) -> None:
    assert server._visitors.seconds_left(clock.now) == math.inf
    ours, theirs = server.pair()
    server._visitors.receive(ours, Kind.proxy)

    assert server._visitors.seconds_left(clock.now) == SECONDS_FOR_HEADER
    clock.advance(SECONDS_FOR_HEADER - 1.0)
    server._visitors.introduce_all(clock.now)
    assert theirs.silent
    assert server._visitors.seconds_left(clock.now) == 1.0
    assert server._visitors.seconds_left(clock.now + 9) == 0.0
    clock.advance(1.0)
    server._visitors.introduce_all(clock.now)

    assert theirs.rest() == []
    assert server._visitors.seconds_left(clock.now) == math.inf


def test_too_many_without_header_cost_the_oldest(
    server: BareClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introductions, "MAX_WAITING", 2)
    pairs = [server.pair() for _ in range(3)]

    for ours, _ in pairs:
        server._visitors.receive(ours, Kind.proxy)

    assert pairs[0][1].rest() == []
    assert [theirs.silent for _, theirs in pairs[1:]] == [True, True]


# --- users of this computer ---


@pytest.fixture
def local(server: BareClients, tmp_path: Path) -> tuple[socket.socket, FarEnd]:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        theirs = socket.socket(socket.AF_UNIX)
        theirs.connect(str(tmp_path / "s"))
        return server.both(listening.accept()[0], theirs)


def test_a_local_user_waits_for_the_name_alone(
    server: BareClients, local: tuple[socket.socket, FarEnd], monkeypatch: Any
) -> None:
    uid = os.getuid()
    server._change_policy(Policy([("unix:ada", "use")]))
    known: list[tuple[bool, str | None]] = [(False, None)]
    monkeypatch.setattr(server._visitors.local._names, "ask", lambda *_: known[-1])
    ours, theirs = local
    theirs.send(command("version"))

    assert not server._visitors.receive(ours, Kind.unix)
    server._visitors.introduce_all(0.0)
    assert unknown(server)
    known.append((True, "ada"))
    server._visitors.introduce_all(0.0)
    server.turn()

    assert not unknown(server)
    assert theirs.lines(1) == [{"return": [f"unix:{uid}", None]}]


def test_all_who_wait_are_closed_at_the_end(
    server: BareClients, local: tuple[socket.socket, FarEnd], monkeypatch: Any
) -> None:
    monkeypatch.setattr(server._visitors.local._names, "ask", lambda *_: (False, None))
    proxied_ours, proxied_theirs = server.pair()
    server._visitors.receive(proxied_ours, Kind.proxy)
    server._visitors.receive(local[0], Kind.unix)

    server._visitors.turn_away_all()

    assert not unknown(server)
    assert proxied_theirs.rest() == local[1].rest() == []


# --- another policy ---


def test_another_policy_closes_those_whom_it_denies_alone(
    server: BareClients, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = server.pair()
    server._visitors.receive(ours, Kind.tcp)

    server._change_policy(LOOPBACK)
    server._change_policy(Policy([("127.0.0.1", "use")]))  # the same in other words
    assert theirs.silent
    server._change_policy(NOBODY)

    assert theirs.rest() == []
    assert "client 127.0.0.1 disconnected: the new policy does not admit it" in caplog.text
    assert server._client_buffers == {}


# --- connections of the process before ---


def returned(ours: socket.socket, body: dict[str, Any]) -> Returned:
    return Returned(ours, Carried("c1", Record.new(), Counts(0, 0), 0), body)


def test_a_connection_that_comes_back_has_its_watches_and_its_name(server: BareClients) -> None:
    ours, theirs = server.pair()
    watches = {"jobs": [3, 5], "machines": None, "events": None}
    identity = {"address": "192.0.2.1", "certificate": "ada"}

    assert server._take_back(returned(ours, {"watches": watches, "identity": identity}))
    theirs.send(command("version"))
    server.turn(ours)

    assert server._client_job_watches == {ours: {3, 5}}
    assert server._client_machine_watches == {ours: None}
    assert ours in server._watchers.event_watches
    assert theirs.lines(1) == [{"return": ["cert:ada", "192.0.2.1"]}]
    peer = server._peers[ours]
    assert peer.watch_bytes > 0
    assert server.memory.total == peer.weight
    server._disconnect_client(ours)
    assert server.memory.total == 0


def test_one_of_before_identities_is_known_by_its_address(server: BareClients) -> None:
    server._change_policy(LOOPBACK)
    ours, _ = server.pair()

    assert server._take_back(returned(ours, {}))

    assert server._doorkeeper.standing(ours).identity == Identity(parse_address("127.0.0.1"))
    assert server._client_job_watches == server._client_machine_watches == {}
    assert server._watchers.event_watches == {}


def test_one_that_the_policy_denies_now_does_not_come_back(server: BareClients) -> None:
    server._change_policy(NOBODY)
    ours, theirs = server.pair()

    assert not server._take_back(returned(ours, {"watches": {"jobs": None}}))

    assert theirs.rest() == []
    assert (server._peers, server._client_job_watches) == ({}, {})
