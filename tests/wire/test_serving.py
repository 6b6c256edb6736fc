"""The server over TCP, in process: what one client does harms no other."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import spalloc_server
from spalloc_server import _clock
from spalloc_server._checks.values import escaped
from spalloc_server._wire import lingering, messages, peer, refusals, serving
from spalloc_server.controller import JobState
from spalloc_server.polling_server_core import POLLIN
from spalloc_server.server import SpallocServer
from tests.support.fake_frame import Rack
from tests.support.tcp_client import TcpClient

CONFIG = """
m = Machine.with_standard_ips(
    "m", width=4, height=4, base_ip="10.1.0.0",
    board_locations={{(x, y, z): (0, x, 3 * y + z)
                      for x in range(4) for y in range(4) for z in range(3)}},
)
configuration = Configuration(machines=[m], ip="{ip}", seconds_before_free=0)
"""
VERSION = b'{"command": "version"}\n'
VERSION_NUMBER = spalloc_server.__version__
REPLY = b'{"return": "%s"}\n' % VERSION_NUMBER.encode()


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    rack = Rack(monkeypatch)
    rack.at_once = True
    return rack


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "test.cfg"
    path.write_text(CONFIG.format(ip="127.0.0.1"))
    return path


@pytest.fixture
def server(rack: Rack, config: Path) -> Iterator[SpallocServer]:
    with SpallocServer(config, port=0, durability="none") as made:
        yield made


@pytest.fixture
def client(server: SpallocServer) -> Iterator[TcpClient]:
    with TcpClient(server.port) as made:
        yield made


def any_slow(server: SpallocServer) -> bool:
    """Whether a client is waited for to read its answers."""
    return any(each.interest != POLLIN for each in server._peers.values())


def wait_until(server: SpallocServer, condition: Any) -> None:
    """Let the loop turn until something is so, asking for one turn after the other."""
    with TcpClient(server.port) as witness:
        for _ in range(10_000):
            if condition():
                return
            witness.call("version")
    raise AssertionError("it never came to that")


def wait_for_turns(server: SpallocServer, client: TcpClient, turns: int) -> None:
    """Have the loop turn so often more, with somebody whom it knows already."""
    enough = server.turns + turns
    while server.turns < enough:
        client.call("version")


# --- commands ---


def test_replies_come_in_the_order_of_the_commands(client: TcpClient) -> None:
    client.send(VERSION + b'\n \r\n{"command": "list_jobs", "args": null, "kwargs": null}\r\n')
    client.send(b'{"command": "fly me", "args": []}\n')

    assert client.rest() == [{"return": VERSION_NUMBER}, {"return": []}]


def test_boards_that_have_rested_go_to_the_next_job(
    rack: Rack, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config.write_text(CONFIG.format(ip="127.0.0.1").replace("free=0", "free=1e6"))
    moved, monotonic = [0.0], _clock.monotonic
    monkeypatch.setattr(_clock, "monotonic", lambda: monotonic() + moved[0])
    with SpallocServer(config, port=0, durability="none") as server, TcpClient(server.port) as me:
        first, second = (
            me.call("create_job", 4, 4, owner="me", keepalive=None) for _ in range(2)
        )
        controller = server._controller
        me.call("destroy_job", first)
        wait_until(server, lambda: controller.next_rested() is not None)
        assert me.call("get_job_state", second)["state"] == JobState.queued

        moved[0] += 1e6

        wait_until(server, lambda: controller.get_job_state(None, second).state == JobState.ready)


def test_a_command_that_raises_leaves_the_connection_usable(client: TcpClient) -> None:
    client.ask("create_job")
    assert "owner must be specified for all jobs" in client.reply()["exception"]
    client.ask("get_job_state", 2.0)
    assert "job_id" in client.reply()["exception"]
    client.ask("version", 1, 2, 3)
    assert "exception" in client.reply()
    client.send(b'{"command": "create_job", "kwargs": {"owner": "me", "keepalive": NaN}}\n')
    assert "keepalive" in client.reply()["exception"]
    client.send(b'{"command": "create_job", "args": [Infinity], "kwargs": {"owner": "me"}}\n')
    assert "inf" in client.reply()["exception"]

    assert client.call("list_jobs") == []


def test_what_clients_send_for_nothing_in_particular(client: TcpClient) -> None:
    nulls = dict.fromkeys(
        ("machine", "tags", "min_ratio", "max_dead_boards", "max_dead_links", "require_torus")
    )
    assert client.call("create_job", None, owner="me", client="x", **nulls) == 1
    assert client.call("notify_job", None) is None
    assert client.call("notify_machine", None) is None
    assert client.call("no_notify_job", None) is None
    assert client.call("destroy_job", 1, None) is None
    assert client.call("get_job_state", 10**1000)["state"] == 0


def test_the_caller_s_address_is_the_keepalive_host(
    server: SpallocServer, client: TcpClient
) -> None:
    server.create_job(None, owner="me")
    assert server.list_jobs(None)[0]["keepalivehost"] == ""

    for command in ("destroy_job", "notify_job"):
        client.call(command, 99)
    client.call("where_is", job_id=1, chip_x=0, chip_y=0)
    client.call("list_jobs")
    assert client.call("list_jobs")[0]["keepalivehost"] == ""

    client.call("job_keepalive", 1)
    assert client.call("list_jobs")[0]["keepalivehost"] == "127.0.0.1"


def test_a_job_s_whole_life_on_the_wire(client: TcpClient) -> None:
    client.call("notify_job")
    job_id = client.call("create_job", 3, owner="me", keepalive=None, tags=["default"])
    state = client.call("get_job_state", job_id)
    start = state.pop("start_time")
    assert state == {
        "state": 3, "power": True, "keepalive": None, "reason": None,
        "keepalivehost": "127.0.0.1",
    }  # fmt: skip
    info = client.call("get_job_machine_info", job_id)
    assert set(info) == {"width", "height", "connections", "machine_name", "boards"}
    assert (info["width"], info["height"], info["machine_name"]) == (16, 16, "m")
    assert [[0, 0], "10.1.0.1"] in info["connections"]
    assert client.call("list_jobs") == [
        {
            "job_id": job_id, "owner": "me", "start_time": start, "keepalive": None,
            "state": 3, "power": True, "args": [3], "kwargs": {"tags": ["default"]},
            "allocated_machine_name": "m", "boards": info["boards"],
            "keepalivehost": "127.0.0.1",
        }
    ]  # fmt: skip
    assert client.call("where_is", job_id=job_id, chip_x=0, chip_y=0) == {
        "machine": "m", "logical": info["boards"][0], "physical": [0, 0, 0], "chip": [0, 0],
        "board_chip": [0, 0], "job_id": job_id, "job_chip": [0, 0],
    }  # fmt: skip
    client.call("destroy_job", job_id, "enough")
    assert client.call("get_job_state", job_id) == {
        "state": 4, "power": None, "keepalive": None, "reason": "enough", "start_time": None,
        "keepalivehost": None,
    }  # fmt: skip


# --- notifications ---


def test_the_reply_comes_before_the_notifications_it_caused(client: TcpClient) -> None:
    client.send(b'{"command": "notify_job"}\n{"command": "notify_machine"}\n')
    client.ask("create_job", owner="me")

    assert [client.line() for _ in range(5)] == [
        {"return": None},
        {"return": None},
        {"return": 1},
        {"jobs_changed": [1]},
        {"machines_changed": ["m"]},
    ]


def test_allocation_and_ready_are_two_notifications(
    server: SpallocServer, rack: Rack, client: TcpClient
) -> None:
    rack.at_once = False
    client.call("notify_job")
    client.call("create_job", owner="me")
    assert client.notification() == {"jobs_changed": [1]}

    rack.answer_all()

    assert client.notification() == {"jobs_changed": [1]}
    assert client.call("get_job_state", 1)["state"] == 3


def test_a_failure_is_told_too(server: SpallocServer, rack: Rack, client: TcpClient) -> None:
    rack.at_once = False
    client.call("create_job", owner="me")
    client.call("notify_job", 1)

    rack.frames[0].answer(False, "broken")

    assert client.notification() == {"jobs_changed": [1]}
    assert "broken" in client.call("get_job_state", 1)["reason"]


def test_what_is_done_in_process_is_told(server: SpallocServer, client: TcpClient) -> None:
    client.call("notify_job")

    server.create_job(None, owner="me")

    assert client.notification() == {"jobs_changed": [1]}


def test_closing_a_connection_removes_its_watches(
    server: SpallocServer, client: TcpClient
) -> None:
    client.call("notify_job")
    client.call("notify_machine", "m")
    assert len(server._client_job_watches) == len(server._client_machine_watches) == 1

    client.close()

    wait_until(server, lambda: not server._client_job_watches)
    assert server._client_machine_watches == {}


# --- clients that go away, or never read ---


def test_what_arrived_before_the_end_of_file_is_answered(server: SpallocServer) -> None:
    with TcpClient(server.port) as client:
        client.send(VERSION * 1000 + b'{"command": "not whole"')
        client.end()

        assert client.rest() == [{"return": VERSION_NUMBER}] * 1000
    wait_until(server, lambda: len(server._client_buffers) == 1)


def test_a_client_that_hangs_up_has_its_commands_carried_out(server: SpallocServer) -> None:
    for way in ("reset", "close"):
        client = TcpClient(server.port)
        client.send(VERSION * 50)
        client.ask("create_job", owner=way)
        getattr(client, way)()

    wait_until(server, lambda: len(server.list_jobs(None)) == 2)
    assert server.is_alive()


def test_a_client_that_resets_while_being_answered_harms_nobody(
    server: SpallocServer, client: TcpClient
) -> None:
    for _ in range(20):
        rude = TcpClient(server.port)
        rude.call("notify_job")
        rude.send(VERSION * 2000)
        rude.reset()
    job_id = client.call("create_job", owner="me")

    assert client.call("get_job_state", job_id)["state"] == 3
    wait_until(server, lambda: not server._client_job_watches)


def test_a_slow_reader_of_very_many_commands_gets_every_answer(server: SpallocServer) -> None:
    count = 100_000
    with TcpClient(server.port, receive_buffer=4096) as slow, TcpClient(server.port) as quick:
        sender = threading.Thread(target=slow.send, args=(VERSION * count,))
        sender.start()
        for _ in range(50):
            assert quick.call("version") == VERSION_NUMBER
        assert server.memory.total < 2 * peer.PAUSE_ABOVE + 2 * peer.MAX_READ

        answers = [slow.line() for _ in range(count)]

        sender.join()
        assert all(answer == {"return": VERSION_NUMBER} for answer in answers)
        slow.end()
        assert slow.rest() == []


def test_a_slow_reader_is_slowed_and_others_are_not(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "PAUSE_ABOVE", 1000)
    with TcpClient(server.port, receive_buffer=4096) as slow, TcpClient(server.port) as other:
        for _ in range(10):
            other.call("create_job", owner="x" * 1000, keepalive=None, tags=[])
        line = b'{"command": "list_jobs"}\n'
        slow.send(line * 2000)
        slow.ask("create_job", owner="late")
        slow.end()
        most = in_a_row = 0
        while in_a_row < 100:  # until the kernel takes no more
            assert len(other.call("list_jobs")) == 10
            size = sum(each.output.size for each in server._peers.values())
            most, in_a_row = max(most, size), in_a_row + 1 if size else 0
        assert most < 1000 + len(json.dumps(server.list_jobs(None))) * 2

        answers = slow.rest()

        assert len(answers) == 2001
        assert answers[-1] == {"return": 11}


def test_blank_lines_at_the_end_of_a_slow_reader_do_not_keep_it(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "PAUSE_ABOVE", 10)
    with TcpClient(server.port) as client:
        client.send(VERSION + b"\n\n\n")
        client.end()

        assert client.rest() == [{"return": VERSION_NUMBER}]


def test_whoever_never_reads_notifications_is_dropped_alone(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "MAX_UNREAD", 200_000)
    for each in client, deaf_client(server):
        each.call("notify_job")
    for _ in range(400):
        monkeypatch.setattr(server._controller._records, "changed_jobs", set(range(2000)))
        assert client.call("version") == VERSION_NUMBER
        if len(server._client_job_watches) == 1:
            break
        while client.notifications:
            assert len(client.notifications.pop()["jobs_changed"]) >= 2000
    else:
        pytest.fail("it is still there")

    assert client.call("create_job", owner="me") == 1


@pytest.fixture(autouse=True)
def deaf_sockets() -> Iterator[list[TcpClient]]:
    clients = DEAF
    yield clients
    while clients:
        clients.pop().close()


DEAF: list[TcpClient] = []


def deaf_client(server: SpallocServer) -> TcpClient:
    """A client with a small buffer, that the test will not read from."""
    DEAF.append(TcpClient(server.port, receive_buffer=4096))
    return DEAF[-1]


def test_all_together_hold_so_much_and_the_fullest_is_dropped(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "MAX_TOTAL", 1_000_000)
    deaf = [deaf_client(server) for _ in range(4)]
    for each in (client, *deaf):
        each.call("notify_job")
    for _ in range(1000):
        monkeypatch.setattr(server._controller._records, "changed_jobs", set(range(5000)))
        client.call("version")
        client.notifications.clear()
        if len(server._client_job_watches) < 5:
            break
    else:
        pytest.fail("nobody was dropped")

    assert server.memory.total <= 1_000_000
    assert client.call("version") == VERSION_NUMBER


# --- malformed input ---


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x00\xa5\n",
        b"[" * 50_000 + b"\n",
        b'{"command": "fly"}\n',
        b" " * ((1 << 20) + 1),
        b"x" * (3 << 20),
    ],
)
def test_malformed_input_gets_a_clean_end_of_file(
    server: SpallocServer, client: TcpClient, data: bytes
) -> None:
    with TcpClient(server.port) as bad:
        bad.send(VERSION)
        try:
            bad.send(data)
            bad.send(VERSION)
        except OSError:
            pass  # the server had enough already

        assert bad.rest() == [{"return": VERSION_NUMBER}]

    assert client.call("version") == VERSION_NUMBER


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8))
def test_random_bytes_harm_nobody(shared: Any, pieces: list[bytes]) -> None:
    server, witness = shared
    with TcpClient(server.port) as bad:
        try:
            for piece in pieces:
                bad.send(piece)
            bad.end()
        except OSError:
            pass
        assert bad.rest() == []
    assert witness.call("version") == VERSION_NUMBER


@pytest.fixture
def shared(server: SpallocServer, client: TcpClient) -> tuple[SpallocServer, TcpClient]:
    return server, client


# --- exceptions in a command ---


def test_who_comes_again_and_again_with_nonsense_fills_no_log(
    server: SpallocServer, client: TcpClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            with TcpClient(server.port) as bad:
                bad.send(b"GET / HTTP/1.1\r\n\r\n")
                assert bad.rest() == []

    assert 1 <= len([r for r in caplog.records if "disconnected" in r.getMessage()]) < 25


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even words")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("v"), KeyError("k"), OSError(5, "io"), RecursionError("r"), MemoryError(),
        SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(), AssertionError("a"),
    ],
)  # fmt: skip
def test_whatever_a_command_raises_is_its_client_s_alone(
    server: SpallocServer,
    client: TcpClient,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(server, "_commands", {**server._commands, "fail": fail})
    with TcpClient(server.port) as other:
        client.ask("fail")
        assert client.reply() == {"exception": str(error)}
        assert client.call("version") == other.call("version") == VERSION_NUMBER


@pytest.mark.parametrize("result", [object(), {"a": b"bytes"}, OddError])
def test_what_cannot_be_answered_is_its_client_s_alone(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    def odd(*_: object) -> object:
        if result is OddError:
            raise OddError
        return result

    monkeypatch.setattr(server, "_commands", {**server._commands, "odd": odd})
    with TcpClient(server.port) as bad:
        bad.ask("odd")
        for line in bad.rest() if result is OddError else [bad.reply()]:
            assert "exception" in line

    assert client.call("version") == VERSION_NUMBER


@pytest.mark.parametrize("error", [RuntimeError("r"), SystemExit(1)])
def test_a_turn_that_fails_is_not_the_last(
    server: SpallocServer,
    client: TcpClient,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    failed = threading.Event()

    def fail() -> None:
        if not failed.is_set():
            failed.set()
            raise error

    monkeypatch.setattr(server, "_send_change_notifications", fail)
    server.wake()

    assert failed.wait(10)
    assert client.call("version") == VERSION_NUMBER


def test_a_log_that_fails_does_not_end_the_loop(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **_keywords: object) -> None:
        raise ValueError("I/O operation on closed file.")

    with monkeypatch.context() as patch:
        patch.setattr(serving.log, "exception", fail)
        patch.setattr(server, "_send_change_notifications", fail)
        wait_until(server, lambda: server.unlogged_faults)

    assert client.call("version") == VERSION_NUMBER
    assert not server.ended_by_fault


def test_a_loop_that_ends_by_a_fault_says_so(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    monkeypatch.setattr(server, "_survive", fail)
    monkeypatch.setattr(server, "_send_change_notifications", fail)

    server.wake()
    server.join(20)

    assert not server.is_alive()
    assert server.ended_by_fault


def test_a_loop_that_was_stopped_has_not_ended_by_a_fault(server: SpallocServer) -> None:
    server.stop_and_join()

    assert not server.ended_by_fault


# --- time ---


def test_punctual_keepalives_count_although_the_loop_was_busy(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [_clock.monotonic()]
    monkeypatch.setattr(_clock, "monotonic", lambda: now[0])
    client.call("create_job", owner="known", keepalive=10)
    client.call("create_job", owner="new", keepalive=10)
    client.call("create_job", owner="late", keepalive=10)
    entered, go_on = threading.Event(), threading.Event()

    def busy(*_: object) -> None:
        entered.set()
        assert go_on.wait(10)

    monkeypatch.setattr(server, "_commands", {**server._commands, "busy": busy})
    with TcpClient(server.port) as blocker:
        blocker.ask("busy")
        assert entered.wait(10)
        now[0] += 9
        client.ask("job_keepalive", 1)
        with TcpClient(server.port) as new:
            new.ask("job_keepalive", 2)
            now[0] += 5
            go_on.set()
            blocker.reply()
            assert new.reply() == {"return": None}
        client.reply()

        wait_until(server, lambda: len(server.list_jobs(None)) < 3)
        wait_until(server, lambda: server._judging is None)
        assert [job["owner"] for job in client.call("list_jobs")] == ["known", "new"]


def test_keepalives_count_of_whoever_has_not_been_accepted_yet(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_MAX_ACCEPTS", 1)
    now = [_clock.monotonic()]
    monkeypatch.setattr(_clock, "monotonic", lambda: now[0])
    for _ in range(5):
        client.call("create_job", owner="punctual", keepalive=10)
    client.call("create_job", owner="late", keepalive=10)
    entered, go_on = threading.Event(), threading.Event()

    def busy(*_: object) -> None:
        entered.set()
        assert go_on.wait(10)

    monkeypatch.setattr(server, "_commands", {**server._commands, "busy": busy})
    client.ask("busy")
    assert entered.wait(10)
    keepers = [TcpClient(server.port) for _ in range(5)]
    for job_id, keeper in enumerate(keepers, 1):
        keeper.ask("job_keepalive", job_id)
    now[0] += 15
    go_on.set()
    client.reply()
    for keeper in keepers:
        assert keeper.reply() == {"return": None}
        keeper.close()

    wait_until(server, lambda: len(server.list_jobs(None)) < 6)
    wait_until(server, lambda: server._judging is None)
    assert [job["owner"] for job in client.call("list_jobs")] == ["punctual"] * 5


def test_a_job_that_times_out_is_told_without_anybody_asking(client: TcpClient) -> None:
    client.call("notify_job")
    client.call("create_job", owner="me", keepalive=0.05)
    for _ in ("created", "ready"):
        assert client.notification() == {"jobs_changed": [1]}

    assert client.notification() == {"jobs_changed": [1]}
    assert client.call("get_job_state", 1)["reason"] == "Job timed out."


# --- the configuration and the signal for it ---


def test_watchers_hear_of_a_reload_at_once(
    server: SpallocServer, client: TcpClient, config: Path
) -> None:
    client.call("notify_machine")
    config.write_text("configuration = Configuration(ip='127.0.0.1')")

    os.kill(os.getpid(), signal.SIGHUP)

    assert client.notification() == {"machines_changed": ["m"]}
    assert client.call("list_machines") == []


def test_a_broken_configuration_changes_nothing(
    server: SpallocServer, client: TcpClient, config: Path
) -> None:
    config.write_text("raise SystemExit")
    os.kill(os.getpid(), signal.SIGHUP)

    wait_until(server, lambda: not server.config_needs_reloading)
    assert len(client.call("list_machines")) == 1


def test_another_ip_takes_new_clients_and_keeps_old_ones(
    server: SpallocServer, client: TcpClient, config: Path
) -> None:
    port = server.port
    config.write_text(CONFIG.format(ip="127.0.0.2"))
    assert server.read_config_file() is True

    assert client.call("version") == VERSION_NUMBER
    assert server.port == port
    with socket.create_connection(("127.0.0.2", port)) as new:
        new.sendall(VERSION)
        assert new.recv(100) == REPLY
    with pytest.raises(ConnectionRefusedError):
        TcpClient(port)

    config.write_text(CONFIG.format(ip=""))
    assert server.read_config_file() is True
    with TcpClient(port) as everywhere:
        assert everywhere.call("version") == VERSION_NUMBER


def test_everybody_who_has_connected_is_kept_when_the_ip_changes(
    server: SpallocServer, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_MAX_ACCEPTS", 2)
    with server._controller.undisturbed:  # so that the loop accepts nobody
        clients = [TcpClient(server.port) for _ in range(20)]
        config.write_text(CONFIG.format(ip="127.0.0.2"))
        assert server.read_config_file() is True

    for each in clients:
        assert each.call("version") == VERSION_NUMBER
        each.close()


def test_an_ip_that_cannot_be_had_leaves_the_old_one(
    server: SpallocServer, client: TcpClient, config: Path
) -> None:
    for ip in ("192.0.2.1", "no.such.host.invalid"):
        config.write_text(CONFIG.format(ip=ip))
        assert server.read_config_file() is False

    assert client.call("version") == VERSION_NUMBER
    with TcpClient(server.port) as new:
        assert new.call("version") == VERSION_NUMBER
    config.write_text(CONFIG.format(ip="127.0.0.1"))
    assert server.read_config_file() is True


def test_an_address_that_is_not_there_does_not_cost_the_one_that_is(
    server: SpallocServer, config: Path
) -> None:
    listening = list(server._listening.sockets)

    config.write_text(CONFIG.format(ip="192.0.2.1"))
    assert server.read_config_file() is False

    assert list(server._listening.sockets) == listening


def test_a_server_that_lost_its_address_listens_again_when_it_can(
    server: SpallocServer,
    client: TcpClient,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    port, taken = server.port, OSError(errno.EADDRINUSE, "Address already in use")
    refused = threading.Event()

    def refuse(ip: str, port: int) -> socket.socket:
        if not server._listening.sockets:
            refused.set()
        raise taken

    with monkeypatch.context() as patch:
        patch.setattr(server, "_open_server_socket", refuse)
        config.write_text(CONFIG.format(ip=""))
        assert server.read_config_file() is False
        assert refused.wait(10)
        assert client.call("version") == VERSION_NUMBER  # whoever is there is served
        assert server.port == port
        with pytest.raises(ConnectionRefusedError):
            TcpClient(port)

    wait_for_turns(server, client, 2)
    with TcpClient(port) as new:
        assert new.call("version") == VERSION_NUMBER
    assert caplog.text.count("no new clients until 127.0.0.1 can be had again") == 1


def test_who_connects_without_end_does_not_keep_the_server_from_stopping(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_in = Mock(return_value=True)
    monkeypatch.setattr(server, "_accept_all", taken_in)

    server.stop_and_join()

    assert 1 < taken_in.call_count < 1000
    assert not server.is_alive()


def test_a_socket_closed_behind_the_loops_back_does_not_listen() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        assert serving._is_listening(listening)

    assert not serving._is_listening(listening)


def test_who_connects_while_the_address_changes_is_accepted(
    server: SpallocServer, client: TcpClient, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    early: list[TcpClient] = []
    opening = server._open_server_socket

    def open_and_connect(ip: str, port: int) -> socket.socket:
        made = opening(ip, port)
        early.append(TcpClient(port, host="127.0.0.2"))
        wait_for_turns(server, client, 2)  # the loop sees it before it is the server's
        return made

    monkeypatch.setattr(server, "_open_server_socket", open_and_connect)
    config.write_text(CONFIG.format(ip="127.0.0.2"))

    assert server.read_config_file() is True

    with early[0] as new:
        assert new.call("version") == VERSION_NUMBER


# --- descriptors, keepalive of TCP, the end ---


def test_without_descriptors_those_who_are_there_are_served(
    server: SpallocServer, client: TcpClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.call("version")
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    waiting = socket.socket()
    taken: list[int] = []
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 20, limits[1]))
    try:
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            waiting.connect(("127.0.0.1", server.port))
            before = server.turns
            for _ in range(20):
                assert client.call("version") == VERSION_NUMBER
            assert server.turns - before < 30
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    waiting.settimeout(10)
    waiting.sendall(VERSION)
    assert waiting.recv(100) == REPLY
    waiting.close()


def test_dead_peers_will_be_noticed(server: SpallocServer, client: TcpClient) -> None:
    client.call("version")

    (accepted,) = server._client_buffers
    assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert accepted.getblocking() is False


def test_every_client_sees_a_clean_end_when_the_server_stops(
    server: SpallocServer, client: TcpClient
) -> None:
    clients = [TcpClient(server.port) for _ in range(10)]
    for each in clients:
        each.call("version")
        each.send(b'{"command": "half')

    server.stop_and_join()

    for each in (client, *clients):
        assert each.rest() == []
        each.close()
    assert not server._client_buffers


def test_whoever_waits_to_be_accepted_sees_a_clean_end_too(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_MAX_ACCEPTS", 1)
    entered, go_on = threading.Event(), threading.Event()

    def busy(*_: object) -> None:
        entered.set()
        assert go_on.wait(10)
        server._stop = True

    monkeypatch.setattr(server, "_commands", {**server._commands, "busy": busy})
    with TcpClient(server.port) as blocker:
        blocker.ask("busy")
        assert entered.wait(10)
        waiting = [TcpClient(server.port) for _ in range(5)]
        waiting[0].send(VERSION)
        go_on.set()

        server.stop_and_join()

        for each in waiting:
            assert each.rest() == []
            each.close()


def test_lingering_connections_end_in_time(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lingering, "_SECONDS", 0.0)
    with TcpClient(server.port) as bad:
        bad.send(b"nonsense\n")
        assert bad.rest() == []
        wait_until(server, lambda: not server._lingering.sockets)


@pytest.mark.parametrize(
    "line", [b'{"command": "version", "kwargs": {"%s": 1}}', b'{"command": "%s"}']
)
def test_of_what_is_refused_no_more_is_made_ready_for_the_log_than_goes_there(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    """A megabyte of line breaks takes a second to escape."""
    lengths = []

    def escape(text: object) -> str:
        lengths.append(len(str(text)))
        return escaped(text)

    monkeypatch.setattr(refusals, "escaped", escape)
    with TcpClient(server.port) as bad:
        bad.send(line.replace(b"%s", rb"\n" * 10_000) + b"\n")
        bad.end()
        bad.rest()

    assert len(lengths) == 1
    assert max(lengths) <= 1000


def test_refusals_are_logged_on_one_line(
    server: SpallocServer, client: TcpClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), TcpClient(server.port) as other:
        client.ask("create_job", owner="me", machine="evil\nline", tags=["x"])
        client.reply()
        other.ask("create_job", owner="me", **{"evil\nname": 3})
        other.reply()

    lines = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert len(lines) == 2
    assert not any("\n" in line for line in lines)
    assert sys.exc_info() == (None, None, None)


# --- what only happens at a certain moment ---


class HeldLoop:
    """The loop waits in a command of `holder` until the block ends."""

    def __init__(
        self, server: SpallocServer, holder: TcpClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._held, self._go_on = threading.Event(), threading.Event()
        self._holder = holder
        commands = {**server._commands, "hold": self._hold}
        monkeypatch.setattr(server, "_commands", commands)

    def _hold(self, *_: object) -> None:
        self._held.set()
        assert self._go_on.wait(20)

    def __enter__(self) -> None:
        self._holder.ask("hold")
        assert self._held.wait(20)

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        assert self._holder.reply() == {"return": None}


@pytest.fixture
def slow(server: SpallocServer, monkeypatch: pytest.MonkeyPatch) -> TcpClient:
    """A client that reads late, and may `flood`: ask for more than the kernel takes."""
    flood = {"flood": lambda *_: "x" * FLOOD}
    monkeypatch.setattr(server, "_commands", {**server._commands, **flood})
    return deaf_client(server)


FLOOD = 12_000_000


def test_more_clients_at_once_than_a_turn_accepts_are_all_served(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "_MAX_ACCEPTS", 1)
    with ExitStack() as stack:
        with HeldLoop(server, client, monkeypatch):
            many = [stack.enter_context(TcpClient(server.port)) for _ in range(3)]

        assert [each.call("version") for each in many] == [VERSION_NUMBER] * 3


def test_a_client_that_cannot_be_prepared_is_let_go(
    server: SpallocServer,
    client: TcpClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    assert client.call("version") == VERSION_NUMBER
    with monkeypatch.context() as patch:
        patch.setattr(peer, "_KEEPALIVE", ((9999, 1),))
        with TcpClient(server.port) as other:
            assert other.rest() == []

    assert "a client was gone before it could be served" in caplog.text
    with TcpClient(server.port) as other:
        assert other.call("version") == client.call("version") == VERSION_NUMBER


def test_a_slow_reader_that_has_caught_up_is_served_as_before(
    server: SpallocServer, client: TcpClient, slow: TcpClient
) -> None:
    slow.ask("flood")
    slow.ask("version")
    wait_until(server, lambda: any_slow(server))

    with slow.socket.makefile("rb") as answers:
        assert len(json.loads(answers.readline())["return"]) == FLOOD
        assert json.loads(answers.readline()) == {"return": VERSION_NUMBER}
    assert slow.call("version") == client.call("version") == VERSION_NUMBER
    assert not any_slow(server)


@pytest.mark.parametrize("time", ["first", "again"])
def test_one_reply_may_be_longer_than_what_may_be_left_unread(
    server: SpallocServer, slow: TcpClient, monkeypatch: pytest.MonkeyPatch, time: str
) -> None:
    monkeypatch.setattr(peer, "MAX_UNREAD", 1000)
    if time == "again":
        messages.decode(b'{"command": "flood", "args": [], "kwargs": {}}')
    slow.ask("flood")
    wait_until(server, lambda: any_slow(server))

    assert len(slow.reply()["return"]) == FLOOD


def test_what_is_malformed_is_found_also_after_a_pause(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "PAUSE_ABOVE", 10)
    client.send(VERSION + b"GET / HTTP/1.1\n" + VERSION)

    assert client.rest() == [{"return": VERSION_NUMBER}]


def test_what_is_malformed_is_found_also_after_a_hang_up(
    server: SpallocServer,
    slow: TcpClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(peer, "PAUSE_ABOVE", 10)
    slow.send(b'{"command": "flood"}\nGET / HTTP/1.1\n')
    wait_until(server, lambda: any_slow(server))

    slow.reset()

    wait_until(server, lambda: "ended with a malformed line" in caplog.text)
    wait_until(server, lambda: len(server._client_buffers) == 1)


def test_only_blank_lines_after_the_last_answer_end_the_connection(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "PAUSE_ABOVE", 10)
    monkeypatch.setattr(peer, "_READ", 1)  # so that the end is read with the lines
    with TcpClient(server.port) as ending:
        assert ending.call("version") == VERSION_NUMBER
        with HeldLoop(server, client, monkeypatch):
            ending.send(VERSION + b"\n\n")
            ending.end()

        assert ending.rest() == [{"return": VERSION_NUMBER}]


def test_a_hang_up_between_two_answers_still_has_the_commands_carried_out(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "PAUSE_ABOVE", 10)
    monkeypatch.setattr(peer, "_READ", 1)
    after_turn = server._after_turn
    going = TcpClient(server.port)
    assert going.call("version") == VERSION_NUMBER

    def hang_up_when_it_is_to_be_resumed() -> None:
        if server._backlog.peers and going.socket.fileno() >= 0:
            going.reset()
        after_turn()

    monkeypatch.setattr(server, "_after_turn", hang_up_when_it_is_to_be_resumed)
    with HeldLoop(server, client, monkeypatch):
        going.send(VERSION + VERSION)
        going.ask("create_job", owner="late")
        going.end()

    wait_until(server, lambda: len(server.list_jobs(None)) == 1)
    wait_until(server, lambda: len(server._client_buffers) == 2)
    assert going.socket.fileno() == -1


def test_output_that_waits_for_somebody_who_is_not_polled_is_only_kept(
    server: SpallocServer, client: TcpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StandIn:
        taken = 0

        def fileno(self) -> int:
            return -1

        def send(self, data: bytes) -> int:
            self.taken += 1
            return 0 if self.taken == 1 else len(data)

    stand_in = StandIn()

    def tell(*_: object) -> None:
        server._msg_client(stand_in, "news")

    monkeypatch.setattr(server, "_commands", {**server._commands, "tell": tell})

    assert client.call("tell") is None

    wait_until(server, lambda: stand_in.taken == 2)
    assert not any_slow(server)


def test_a_loop_that_writes_nothing_rests_as_long_as_it_may(server: SpallocServer) -> None:
    assert server._write_ahead.seconds_at_rest() == math.inf
