"""Clients: their commands and answers, one step of the loop at a time."""

from __future__ import annotations

import json
import math
import random
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from unittest import mock

import pytest

from spalloc_server._wire import messages
from spalloc_server._wire import peer as peer_module
from spalloc_server._wire.backlog import MOST_IN_A_SLICE
from spalloc_server._wire.late_answers import Later
from spalloc_server.controller import Controller
from spalloc_server.polling_server_core import POLLIN
from tests.support.bare_clients import BareClients, FarEnd, command, wait_for
from tests.support.hand_clock import HandClock

Pair = tuple[socket.socket, FarEnd]


class Site(BareClients):
    """Clients with four commands; `ran` has the arguments of those that were carried out."""

    def __init__(self) -> None:
        self.ran: list[Any] = []
        self.asked: list[Callable[[bytes], object]] = []
        commands: dict[str, Callable[..., Any]] = {
            "look": Site.look,
            "act": Site.act,
            "fail": Site.fail,
            "later": Site.later,
        }
        super().__init__(commands, {"look", "later"})

    def look(self, client: Any, *args: Any) -> Any:
        self.ran.append(args)
        return list(args)

    act = look

    def fail(self, client: Any, error: str) -> None:
        raise {"value": ValueError, "other": RuntimeError}[error]("no")

    def later(self, client: Any) -> Later:
        return Later(self.asked.append)


class Changed(Controller):
    """A controller in which some job has always changed."""

    def __init__(self, job_id: int) -> None:
        super().__init__()
        self._job_id = job_id

    @property
    def changed_jobs(self) -> set[int]:
        return {self._job_id}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    """Time that passes only where a test says so."""
    return HandClock(monkeypatch)


@pytest.fixture
def site(clock: HandClock) -> Iterator[Site]:
    with closing(Site()) as site:
        yield site


def looks(*numbers: int) -> bytes:
    return b"".join(command("look", number) for number in numbers)


def returned(*values: Any) -> list[Any]:
    return [{"return": value} for value in values]


# --- one command ---


def test_one_command_is_answered_at_once(site: Site) -> None:
    ours, theirs = site.client()
    messages.decode(looks(1).strip())  # it was seen before, as most are
    theirs.send(looks(1))
    wait_for(ours)

    site._handle_commands(ours)

    assert theirs.lines(1) == returned([1])
    assert not site._backlog.peers
    assert not site._unsent


def test_a_failed_command_is_an_exception_and_counted(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = site.client()
    theirs.send(command("fail", "value") + command("fail", "other") + looks(1))

    site.turn(ours)

    assert theirs.lines(3) == [{"exception": "no"}, {"exception": "no"}, *returned([1])]
    assert site.command_errors["fail"] == 2
    assert site.command_errors["look"] == 0
    assert sum(site.command_times["fail"].counts) == 2
    # A client's own mistake is told without a traceback.
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


def test_pieces_of_a_line_are_kept_until_it_is_whole(site: Site) -> None:
    ours, theirs = site.client()
    line = looks(7)

    theirs.send(line[:5])
    site.turn(ours)
    assert site._client_buffers[ours] == line[:5]
    assert site.memory.total > 0
    theirs.send(line[5:] + b"\n \r\n" + looks(8)[:3])
    site.turn(ours)

    assert theirs.lines(1) == returned([7])
    assert site._client_buffers[ours] == looks(8)[:3]
    assert site.ran == [(7,)]


# --- many ---


def test_many_commands_are_run_at_the_end_of_the_turn(site: Site) -> None:
    ours, theirs = site.client()
    theirs.send(looks(1, 2))
    wait_for(ours)

    site._handle_commands(ours)
    assert site.ran == []
    site._serve_backlog(math.inf)
    assert site.ran == [(1,), (2,)]
    assert theirs.silent
    site._answer_all()

    assert theirs.lines(2) == returned([1], [2])


def test_a_slice_has_so_many_commands_and_no_more(site: Site) -> None:
    most = MOST_IN_A_SLICE
    ours, theirs = site.client()
    theirs.send(looks(*range(most + 1)))

    site.turn(ours)
    assert len(site.ran) == most
    assert [peer.client for peer in site._backlog.peers] == [ours]
    site.turn()

    assert len(site.ran) == most + 1
    assert not site._backlog.peers
    assert len(theirs.lines(most + 1)) == most + 1


def test_clients_take_turns_and_a_turn_ends_in_time(site: Site, clock: HandClock) -> None:
    pairs = [site.client() for _ in range(2)]
    for number, (ours, theirs) in enumerate(pairs):
        theirs.send(looks(number, number))
        wait_for(ours)
        site._handle_commands(ours)

    site._serve_backlog(clock.now)  # its time is over already: one has its turn all the same
    assert site.ran == [(0,), (0,)]
    site._serve_backlog(clock.now)
    assert site.ran == [(0,), (0,), (1,), (1,)]
    site._answer_all()

    assert [theirs.lines(2) for _, theirs in pairs] == [returned([0], [0]), returned([1], [1])]


# --- ends ---


def test_a_malformed_line_ends_it_after_the_answers_before(site: Site) -> None:
    ours, theirs = site.client()
    theirs.send(looks(1) + b"nonsense\n" + looks(2))

    site.turn(ours)

    assert theirs.rest() == returned([1])
    assert site.ran == [(1,)]
    assert ours not in site._peers


def test_a_malformed_line_ends_it_when_the_answers_before_are_safe(site: Site) -> None:
    ours, theirs = site.client()
    site.safety.position = 1
    theirs.send(looks(1) + b"nonsense\n" + looks(2))

    site.turn(ours)
    assert theirs.silent
    assert ours in site._peers
    site.turn()
    assert theirs.silent
    site.safety.safe = 1
    site._answer_all()

    assert theirs.rest() == returned([1])
    assert site.ran == [(1,)]
    assert ours not in site._peers


def test_a_replacement_of_the_sending_function_gets_every_message(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other programs put their own in the place of ours."""
    sent: list[Any] = []
    monkeypatch.setattr(site, "_msg_client", lambda client, message: sent.append(message))
    ours, theirs = site.client()
    theirs.send(looks(1, 2))

    site.turn(ours)
    site._notify(ours, b'{"jobs_changed": [1]}\n')

    assert sent == [*returned([1], [2]), {"jobs_changed": [1]}]
    assert theirs.silent


def test_one_that_cannot_be_told_is_dropped_alone(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(client: Any, message: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(site, "_msg_client", fail)
    (ours, theirs), (other, others) = site.client(), site.client()

    site._notify(ours, b'{"jobs_changed": [1]}\n')

    assert theirs.rest() == []
    assert others.silent
    assert list(site._client_buffers) == [other]
    assert "dropped, since telling it failed" in caplog.text


def test_notifications_go_behind_the_answers_that_one_has_not_read(site: Site) -> None:
    (ours, theirs), (other, others) = site.client(), site.client()
    site._client_job_watches = {ours: None, other: None}
    site._controller = Changed(1)
    theirs.send(command("later"))
    site.turn(ours)
    site.asked[0](json.dumps("x" * 20_000_000).encode())
    site._answer_all()
    assert site.memory.unread == {site._peers[ours]}

    site._send_change_notifications()

    assert others.lines(1) == [{"jobs_changed": [1]}]
    reader = threading.Thread(target=lambda: got.extend(theirs.lines(2)))
    got: list[Any] = []
    reader.start()
    while site._peers[ours].output.size:
        select.select([], [ours], [], 20)
        site._channel_writable(ours)
    reader.join()
    assert got == [*returned("x" * 20_000_000), {"jobs_changed": [1]}]
    assert site.memory.unread == set()


@pytest.mark.parametrize("seed", range(5))
def test_all_who_have_unread_output_are_known_whatever_happens(site: Site, seed: int) -> None:
    """Lines go straight to the sockets while nobody is among them."""
    dice = random.Random(seed)
    ends = [site.client() for _ in range(4)]
    site._client_job_watches = {ours: None for ours, _ in ends}
    site._controller = Changed(1)
    for _ in range(60):
        ours, theirs = dice.choice(ends)
        match dice.choice(["ask", "answer", "tell", "read", "hold"]):
            case "ask":
                theirs.send(command("later") + looks(1))
                if site._peer(ours).interest & POLLIN:
                    site._guarded(ours, site._handle_commands)
            case "answer" if site.asked:
                site.asked.pop()(json.dumps("x" * dice.randrange(3_000_000)).encode())
            case "tell":
                site._send_change_notifications()
            case "read":
                theirs.take_some()
                site._channel_writable(ours)
            case "hold":
                site.safety.position += dice.randrange(2)
                site.safety.safe += dice.randrange(2)
        site._serve_backlog(float("inf"))
        site._answer_all()

        waiting = {peer for peer in site._peers.values() if peer.output.size}
        assert waiting <= site.memory.unread | set(site._unsent)
    assert set(site._client_buffers) == {ours for ours, _ in ends}


def test_a_connection_that_is_kept_has_its_notifications_counted(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = site.client()
    site._client_job_watches = {ours: None}
    site._controller = Changed(1)
    monkeypatch.setattr(site, "_carrier", mock.Mock(kept=0))
    site._send_change_notifications()
    assert site._peer(ours).output.handed == 0

    monkeypatch.setattr(site, "_carrier", mock.Mock(kept=1))
    site._send_change_notifications()

    assert theirs.lines(2) == [{"jobs_changed": [1]}] * 2
    assert site._peer(ours).output.handed == len(b'{"jobs_changed": [1]}\n')


@pytest.mark.parametrize("line", [b"nonsense\n", b'{"command": "unknown"}\n', b"[]\n"])
def test_a_line_that_is_no_command_ends_it(site: Site, line: bytes) -> None:
    ours, theirs = site.client()
    theirs.send(line)

    site.turn(ours)

    assert theirs.rest() == []
    assert site._client_buffers == {}


def test_one_that_ends_its_side_is_answered_and_closed(site: Site) -> None:
    ours, theirs = site.client()
    theirs.send(looks(1, 2) + b"{unfinished")
    theirs.end()

    for _ in range(2):  # the end may come by itself
        if ours in site._peers or not site.ran:
            site.turn(ours)

    assert theirs.rest() == returned([1], [2])
    assert site._peers == {}
    assert site.memory.total == 0


def test_commands_of_one_that_is_gone_are_carried_out_if_they_change_something(
    site: Site,
) -> None:
    ours, theirs = site.client()
    theirs.send(looks(1, 2) + command("act", 3) + looks(4))
    wait_for(ours)
    site._handle_commands(ours)

    site._lose(site._peers[ours], OSError("gone"))
    site.turn()

    assert site.ran == [(3,)]
    assert site._peers == {}


def test_one_that_is_noticed_while_it_must_read_has_hung_up(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer_module, "PAUSE_ABOVE", 10)
    ours, theirs = site.client()
    site._peers[ours].output.add(b"x" * 11)
    theirs.send(command("act", 1) + looks(2))
    wait_for(ours)

    site._handle_commands(ours)
    site._serve_backlog(math.inf)

    assert ours not in site._peers
    assert site.ran == [(1,)]


def test_one_with_a_little_output_is_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "PAUSE_ABOVE", 10)
    ours, theirs = site.client()
    site._peers[ours].output.add(b"x" * 9 + b"\n")
    theirs.send(looks(2))
    wait_for(ours)

    site._handle_commands(ours)
    site._answer_all()

    assert ours in site._peers
    assert site.ran == [(2,)]


def test_one_whose_turn_fails_is_dropped_alone(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (ours, theirs), (other, others) = site.client(), site.client()

    def step(client: socket.socket) -> None:
        if client is ours:
            raise MemoryError
        others_turn.append(client)

    others_turn: list[socket.socket] = []
    site._guarded_all([ours, other], step)

    assert theirs.rest() == []
    assert others_turn == [other]
    assert others.silent
    assert "dropped, since serving it failed" in caplog.text


# --- answers ---


def test_an_answer_waits_until_its_position_is_safe(site: Site) -> None:
    (ours, theirs), (other, others) = site.client(), site.client()
    site.safety.uncommitted = True
    site.safety.position = 5
    theirs.send(looks(1))
    site.turn(ours)
    assert theirs.silent
    site.safety.position = 6
    others.send(looks(2))
    site.turn(other)

    site.safety.safe = 4
    site._answer_all()
    assert theirs.silent
    site.safety.safe = 5
    site._answer_all()
    assert theirs.lines(1) == returned([1])
    assert others.silent
    site.safety.safe = 6
    site._answer_all()

    assert others.lines(1) == returned([2])


def test_while_an_answer_is_worked_out_no_other_command_is_taken(site: Site) -> None:
    ours, theirs = site.client()
    theirs.send(command("later") + looks(1))
    site.turn(ours)
    peer = site._peers[ours]
    assert peer.awaits
    assert site.ran == []

    (answer,) = site.asked
    answer(b"[7]")
    assert theirs.silent  # it comes from the thread that worked it out
    site.turn()
    site.turn()

    assert theirs.lines(2) == returned([7], [1])
    assert not peer.awaits


def test_an_answer_for_one_that_is_gone_is_forgotten(site: Site) -> None:
    ours, theirs = site.client()
    theirs.send(command("later"))
    site.turn(ours)
    site._disconnect_client(ours)

    site.asked[0](b"[7]")
    site.turn()

    assert theirs.rest() == []
    assert not site._late.come


def test_one_that_does_not_read_is_dropped(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(peer_module, "MAX_UNREAD", 100)
    (ours, theirs), (other, others) = site.client(), site.client()
    peer = site._peer(ours)
    peer.output.allowed = 100

    peer.output.add(b"x" * 100)
    site._go_on(peer)
    assert ours in site._peers
    peer.output.add(b"x")
    site._go_on(peer)

    assert ours not in site._peers
    assert theirs.rest() == []
    assert "dropped: it does not read" in caplog.text
    assert others.silent
    assert other in site._client_buffers


def test_the_one_that_holds_most_goes_when_all_hold_too_much(
    site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = [site.client() for _ in range(3)]
    for length, (ours, theirs) in zip((10, 3000, 500), pairs, strict=True):
        theirs.send(b"x" * length)
        site.turn(ours)
    weights = [site._peers[ours].weight for ours, _ in pairs]

    monkeypatch.setattr(peer_module, "MAX_TOTAL", sum(weights))
    site._drop_fullest()
    assert len(site._peers) == 3
    monkeypatch.setattr(peer_module, "MAX_TOTAL", sum(weights) - 1)
    site._drop_fullest()

    assert [ours in site._peers for ours, _ in pairs] == [True, False, True]
    assert site.memory.total == weights[0] + weights[2]
    assert caplog.text.count("dropped: all clients together") == 1


def test_a_client_is_named_by_its_address_or_its_principal(site: Site) -> None:
    ours, _ = site.client()

    assert site._called(ours) == "client 127.0.0.1"
    assert site._called(None) == "a client of unknown address"
    assert site._name(None) is None


def test_disconnecting_never_raises(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def fileno(self) -> int:
            return -1

        def close(self) -> None:
            raise OSError("broken")

    site._disconnect_client(Broken())
    ours, theirs = site.client()
    site._disconnect_client(ours)
    site._disconnect_client(ours)

    assert "a client's connection could not be closed" in caplog.text
    assert theirs.rest() == []


def test_one_that_was_gone_before_it_was_welcomed_is_no_client(site: Site) -> None:
    ours, _ = site.pair()
    ours.close()

    assert not site._welcome(ours)
    assert site.connections == 0
    assert site._client_buffers == {}
