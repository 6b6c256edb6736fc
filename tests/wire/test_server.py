"""The commands, called in process and by clients that are not sockets."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import MagicMock, Mock

import pytest

import spalloc_server
from spalloc_server import server as server_module
from spalloc_server._wire import watchers
from spalloc_server.controller import Controller
from spalloc_server.server import _COMMANDS, SpallocServer, spalloc_command
from tests.support.fake_client import FakeClient
from tests.support.fake_frame import Rack
from tests.support.tcp_client import TcpClient

CONFIG = """
m = Machine.with_standard_ips(
    "m", width=2, height=1, base_ip="10.1.0.0", tags={"default", "big"},
    board_locations={(x, 0, z): (0, 0, 3 * x + z) for x in range(2) for z in range(3)},
    dead_boards={(1, 0, 2)}, dead_links={(0, 0, 0, Links.south)},
)
configuration = Configuration(
    machines=[m, Machine.single_board("s", tags={"solo"}, bmp_ip="10.2.0.0", spinnaker_ip="s1")],
    ip="127.0.0.1", seconds_before_free=0,
)
"""


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    return Rack(monkeypatch)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "test.cfg"
    path.write_text(CONFIG)
    return path


@pytest.fixture
def server(rack: Rack, config: Path) -> Iterator[SpallocServer]:
    with SpallocServer(config, port=0) as made:
        yield made


# --- the version, the table of commands, the constructor ---


def test_the_version_suits_every_published_client() -> None:
    version = spalloc_server.__version__

    assert re.fullmatch(r"\d+\.\d+\.\d+", version)
    numbers = tuple(int(part) for part in version.split("."))
    assert (0, 4, 0) <= numbers < (2, 0, 0)


def test_all_commands_of_published_clients_are_there() -> None:
    assert set(_COMMANDS) >= {
        "version", "create_job", "job_keepalive", "get_job_state", "get_job_machine_info",
        "power_on_job_boards", "power_off_job_boards", "destroy_job", "notify_job",
        "no_notify_job", "notify_machine", "no_notify_machine", "list_jobs", "list_machines",
        "get_board_position", "get_board_at_position", "where_is", "get_takeover_code",
        "take_over_job", "list_events", "notify_events", "no_notify_events", "get_facility",
        "list_boards", "list_places", "list_queue", "get_job_outlook", "list_ended_jobs",
        "report_problem", "operate", "list_job_times",
    }  # fmt: skip


def test_the_decorator_fills_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_COMMANDS", {})

    @spalloc_command
    def answer(self: SpallocServer, client: object) -> int:
        return 42

    assert {"answer": answer} == server_module._COMMANDS


def test_the_constructor_leaves_the_loop_idle(server: SpallocServer, rack: Rack) -> None:
    assert server.is_alive() is True
    assert server._controller.changed_jobs == set()
    assert server._controller.changed_machines == set()
    with pytest.raises(BlockingIOError):
        server._notify_recv.recv(1)
    assert signal.getsignal(signal.SIGHUP) == server._sighup_handler
    assert isinstance(server._controller, Controller)
    for table in ("_client_buffers", "_client_job_watches", "_client_machine_watches"):
        assert getattr(server, table) == {}


def test_starting_a_command_and_stopping_take_no_time(rack: Rack, config: Path) -> None:
    began = time.process_time()
    server = SpallocServer(config, cold_start=True, port=0)
    server.create_job(None, owner="me")
    server.stop_and_join()

    assert server.is_alive() is False
    assert time.process_time() - began < 0.5
    server.stop_and_join()
    server.join()


def test_a_sighup_during_the_start_is_not_forgotten(rack: Rack, config: Path) -> None:
    read_again = threading.Event()

    class SignalledServer(SpallocServer):
        def _load_valid_config(self, validated_config: Any) -> None:
            super()._load_valid_config(validated_config)
            if self.is_alive():
                read_again.set()
            else:
                os.kill(os.getpid(), signal.SIGHUP)

    config.write_text(CONFIG.replace("seconds_before_free=0", "timeout_check_interval=1e6"))
    with SignalledServer(config, port=0):
        assert read_again.wait(10)


def test_stopping_leaves_the_signal_as_it_was(rack: Rack, config: Path) -> None:
    before = signal.getsignal(signal.SIGHUP)

    SpallocServer(config, port=0).stop_and_join()

    assert signal.getsignal(signal.SIGHUP) == before


@pytest.mark.parametrize(
    "text", ["", "configuration = 3", "1 / 0", "raise SystemExit", "raise KeyboardInterrupt", "("]
)
def test_a_configuration_that_cannot_be_loaded_leaves_nothing(
    rack: Rack, config: Path, text: str
) -> None:
    config.write_text(text)
    before = signal.getsignal(signal.SIGHUP)

    with pytest.raises(Exception, match="Config file could not be loaded"):
        SpallocServer(config, port=0)

    assert signal.getsignal(signal.SIGHUP) == before
    config.write_text(CONFIG)
    SpallocServer(config, port=0).stop_and_join()


def test_a_missing_configuration_leaves_nothing(rack: Rack, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="Config file could not be loaded"):
        SpallocServer(tmp_path / "none.cfg", port=0)


def test_a_port_that_is_taken_leaves_nothing(
    rack: Rack, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Exception, match="Config file could not be loaded"):
            SpallocServer(config, port=port)

    assert f"port {port}" in caplog.text
    assert "Traceback" not in caplog.text
    assert all(frame.stops for frame in rack.frames)
    SpallocServer(config, port=port).stop_and_join()


def test_a_frame_that_cannot_be_made_leaves_nothing(rack: Rack, config: Path) -> None:
    rack.broken = "10.2.0.0"
    with pytest.raises(Exception, match="Config file could not be loaded"):
        SpallocServer(config, port=0)
    rack.broken = None

    SpallocServer(config, port=0).stop_and_join()


@pytest.mark.parametrize("name", ["Control Thread", "Server Thread", "journal-sync"])
def test_a_thread_that_cannot_be_had_leaves_nothing(
    rack: Rack, config: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    start = threading.Thread.start

    def start_others(thread: threading.Thread) -> None:
        if thread.name == name:
            raise RuntimeError("can't start new thread")
        start(thread)

    def left() -> tuple[int, set[threading.Thread]]:
        return len(list(Path("/proc/self/fd").iterdir())), set(threading.enumerate())

    SpallocServer(config, port=0).stop_and_join()  # what is opened once for all is open now
    before = left()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_others)
        with pytest.raises(RuntimeError, match="can't start"):
            SpallocServer(config, port=0)

    assert left() == before
    assert not (config.parent / f".{config.name}.control").exists()
    SpallocServer(config, port=0).stop_and_join()


def test_a_second_server_on_the_same_state_is_refused(server: SpallocServer, config: Path) -> None:
    with pytest.raises(Exception, match=f"port {server.port}"):
        SpallocServer(config, port=0)

    assert server.version(None) == spalloc_server.__version__


# --- state ---


def test_jobs_survive_a_restart(rack: Rack, config: Path) -> None:
    with SpallocServer(config, port=0) as server:
        server.create_job(None, 3, owner="me", tags=["big"])
        server.create_job(None, owner="you", keepalive=None)
        rack.answer_all()
        server.destroy_job(None, 2, "enough")
        before = server.list_jobs(None)
        info = server.get_job_machine_info(None, 1)

    with SpallocServer(config, port=0) as server:
        assert server.list_jobs(None) == before
        assert server.get_job_machine_info(None, 1) == info
        assert server.get_job_state(None, 2)["reason"] == "enough"
        assert server.create_job(None, owner="me") == 3


def test_a_cold_start_forgets_jobs_but_no_ids(
    rack: Rack, config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with SpallocServer(config, port=0) as server:
        server.create_job(None, owner="me")
    assert "cold start" not in caplog.text

    with SpallocServer(config, cold_start=True, port=0) as server:
        assert server.list_jobs(None) == []
        assert server.create_job(None, owner="me") == 2
    assert "cold start: no job is taken over" in caplog.text


@pytest.mark.parametrize("damage", ["delete", "empty"])
def test_the_state_file_is_the_whole_state(rack: Rack, config: Path, damage: str) -> None:
    with SpallocServer(config, port=0) as server:
        server.create_job(None, owner="me")
    state = config.parent / f".{config.name}.state.{spalloc_server.__version__}"
    assert state.stat().st_mode & 0o777 == 0o600

    if damage == "delete":
        state.unlink()
    else:
        state.write_bytes(b"")

    with SpallocServer(config, port=0) as server:
        assert server.list_jobs(None) == []


def test_what_the_original_left_is_never_unpickled(rack: Rack, config: Path) -> None:
    state = config.parent / f".{config.name}.state.{spalloc_server.__version__}"
    state.write_bytes(pickle.dumps(Trap()))

    with SpallocServer(config, port=0) as server:
        assert server.list_jobs(None) == []

    assert Trap.sprung == []
    assert pickle.dumps(Trap()) in [path.read_bytes() for path in config.parent.iterdir()]


class Trap:
    """Tells if it was unpickled."""

    sprung: ClassVar[list[str]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Trap.sprung.append, ("sprung",)


# --- commands in process ---


def test_commands_act_at_once_in_process(server: SpallocServer, rack: Rack) -> None:
    assert server.version(None) == spalloc_server.__version__
    assert server.create_job(None, 3, owner="me") == 1
    assert server.get_job_state(None, 1)["state"] == 2
    rack.answer_all()
    assert server.get_job_state(None, 1)["state"] == 3
    assert server.get_job_machine_info(None, 1) == {
        "width": 16,
        # The machine is one triad high, so that it is joined to itself in y.
        "height": 12,
        "connections": [
            ((0, 0), "10.1.0.1"),
            ((4, 8), "10.1.0.17"),
            ((8, 4), "10.1.0.9"),
        ],
        "machine_name": "m",
        "boards": [(0, 0, 0), (0, 0, 1), (0, 0, 2)],
    }
    assert server.power_off_job_boards(None, 1) is None
    assert server.power_on_job_boards(None, 1) is None
    assert server.job_keepalive(None, 1) is None
    assert server.destroy_job(None, 1) is None
    assert server.get_job_state(None, 1)["state"] == 4
    assert server.get_board_position(None, "m", 1, 0, 1) == (0, 0, 4)
    places = server.list_places(None, "m")
    assert places is not None
    assert [place[3:6] for place in places if place[:3] == (1, 0, 1)] == [(0, 0, 4)]
    assert server.list_places(None, "nowhere") is None
    assert server.list_job_times(None) == []
    assert server.get_board_at_position(None, "m", 0, 0, 4) == (1, 0, 1)
    assert server.where_is(None, machine="m", x=1, y=0, z=1) is not None


def test_what_is_answered_in_process_may_be_changed(server: SpallocServer) -> None:
    server.create_job(None, owner="me", tags=["big"])
    for _ in range(2):
        state = server.get_job_state(None, 1)
        (job,) = server.list_jobs(None)
        machine = server.list_machines(None)[0]
        assert (state.pop("state"), job.pop("owner"), machine.pop("name")) == (2, "me", "m")
        assert job["kwargs"] == {"tags": ["big"]}
        job["kwargs"].clear()
        job["boards"].clear()


def test_machines_are_listed_as_on_the_wire(server: SpallocServer) -> None:
    assert json.loads(json.dumps(server.list_machines(None))) == [
        {
            "name": "m", "tags": ["big", "default"], "width": 2, "height": 1,
            "dead_boards": [[1, 0, 2]], "dead_links": [[0, 0, 0, 5]],
        },
        {
            "name": "s", "tags": ["solo"], "width": 1, "height": 1,
            "dead_boards": [[0, 0, 1], [0, 0, 2]], "dead_links": [],
        },
    ]  # fmt: skip


def test_watching_from_within_is_of_no_use_and_does_no_harm(server: SpallocServer) -> None:
    server.notify_job(None)
    server.notify_machine(None, "m")
    server.create_job(None, owner="me")
    server._send_change_notifications()
    server.no_notify_job(None)
    server.no_notify_machine(None)

    assert server._client_job_watches == {}


# --- watches ---


@pytest.mark.parametrize(
    ("commands", "watched"),
    [
        (["notify 1"], {1}),
        (["notify 1", "notify 2", "notify 1"], {1, 2}),
        (["notify"], None),
        (["notify 1", "notify"], None),
        (["notify", "notify 1"], None),
        (["notify", "no 1"], None),
        (["notify 1", "no 2"], {1}),
        (["notify 1", "notify 2", "no 1"], {2}),
        (["notify 1", "no 1"], "none"),
        (["notify 1", "no"], "none"),
        (["notify", "no"], "none"),
        (["no"], "none"),
        (["no 1"], "none"),
    ],
)
def test_watches(server: SpallocServer, commands: list[str], watched: Any) -> None:
    client = FakeClient()
    for command in commands:
        verb, *ids = command.split()
        jobs, machines = [int(word) for word in ids], [f"m{word}" for word in ids]
        if verb == "notify":
            server.notify_job(client, *jobs)
            server.notify_machine(client, *machines)
        else:
            server.no_notify_job(client, *jobs)
            server.no_notify_machine(client, *machines)

    names = {f"m{each}" for each in watched} if isinstance(watched, set) else watched
    assert server._client_job_watches.get(client, "none") == watched
    assert server._client_machine_watches.get(client, "none") == names


def test_so_many_ids_may_be_watched(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchers, "MAX_WATCHED", 2)
    client = FakeClient()
    server.notify_job(client, 1)
    server.notify_job(client, 2)
    server.notify_job(client, 2)

    with pytest.raises(ValueError, match="2 are allowed"):
        server.notify_job(client, 3)

    server.notify_job(client)
    server.notify_job(client, 3)
    assert watchers.MAX_WATCHED == 2


def test_the_limits_are_those_of_the_specification() -> None:
    assert watchers.MAX_WATCHED == 10_000


@pytest.mark.parametrize("name", ["notify_job", "no_notify_job"])
@pytest.mark.parametrize("odd", [2.0, True, "3"])
def test_ids_are_whole_numbers(server: SpallocServer, name: str, odd: Any) -> None:
    with pytest.raises(TypeError, match="job_id must be a whole number"):
        getattr(server, name)(FakeClient(), odd)


# --- clients that are no sockets ---


def ask(name: str, *args: object, **kwargs: object) -> bytes:
    return json.dumps({"command": name, "args": args, "kwargs": kwargs}).encode() + b"\n"


@pytest.mark.parametrize(
    ("name", "keywords", "words"),
    [
        ("list_places", {"machine_name": 3}, "machine_name"),
        ("get_board_position", {"machine_name": 3, "x": 0, "y": 0, "z": 0}, "machine_name"),
        ("get_board_at_position", {"machine_name": None, "x": 0, "y": 0, "z": 0}, "machine_name"),
        ("where_is", {"machine": 3, "x": 0, "y": 0, "z": 0}, "machine must be text, not 3"),
    ],
)
def test_names_of_machines_are_texts(
    server: SpallocServer, name: str, keywords: dict[str, Any], words: str
) -> None:
    with pytest.raises(TypeError, match=words):
        _COMMANDS[name](server, None, **keywords)


def test_a_client_s_commands_are_run_and_answered(server: SpallocServer) -> None:
    client = FakeClient(ask("version") + ask("create_job", owner="me") + b'{"command": ')
    server._client_buffers[client] = b""

    server._handle_commands(client)

    assert client.lines == [{"return": spalloc_server.__version__}, {"return": 1}]
    assert server._client_buffers[client] == b'{"command": '
    assert server.list_jobs(None)[0]["keepalivehost"] == "10.0.0.7"


def test_pieces_make_a_line(server: SpallocServer) -> None:
    data = ask("version")
    client = FakeClient(*(data[n : n + 1] for n in range(len(data))))
    server._client_buffers[client] = b""

    for _ in data:
        server._handle_commands(client)

    assert client.lines == [{"return": spalloc_server.__version__}]
    assert server._client_buffers[client] == b""


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\n", b"nonsense\n", b"[]\n", b"{}\n", b'{"command": 3}\n', b'{"command": "fly"}\n',
        b'{"command": "_disconnect_client"}\n', b'{"command": "version", "args": 3}\n',
        b'{"command": "version", "kwargs": []}\n',
    ],
)  # fmt: skip
def test_malformed_input_disconnects_once_after_what_came_before(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    client = FakeClient(ask("version") + line + ask("create_job", owner="me"))
    server._client_buffers[client] = b""
    dropped = MagicMock()
    monkeypatch.setattr(server, "_disconnect_client", dropped)

    server._handle_commands(client)

    dropped.assert_called_once_with(client)
    assert client.lines == [{"return": spalloc_server.__version__}]
    assert server.list_jobs(None) == []


def test_a_line_may_be_1_mib_long_and_no_longer(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped = MagicMock()
    monkeypatch.setattr(server, "_disconnect_client", dropped)
    client = FakeClient()
    server._client_buffers[client] = b" " * (1 << 20)

    server._handle_commands(client)
    dropped.assert_not_called()
    client.incoming.append(b" ")
    server._handle_commands(client)

    dropped.assert_called_once_with(client)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("stand_in", [FakeClient, MagicMock])
def test_a_client_that_cannot_be_read_is_disconnected_once(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, known: bool, stand_in: Any
) -> None:
    client = stand_in()
    client.recv = Mock(side_effect=OSError("gone"))
    if known:
        server._client_buffers[client] = b""
    dropped = MagicMock()
    monkeypatch.setattr(server, "_disconnect_client", dropped)

    server._handle_commands(client)

    dropped.assert_called_once_with(client)


def test_a_stand_in_that_gives_more_than_it_is_asked_for_is_read_once(
    server: SpallocServer,
) -> None:
    client = Mock(recv=Mock(side_effect=[b'{"command": "version"}\n' * 5000]))

    server._handle_commands(client)

    sent = b"".join(call.args[0] for call in client.send.call_args_list)
    assert sent.count(b"return") == 5000


@pytest.mark.parametrize("pieces", [1, 2])
def test_a_client_that_cannot_be_answered_is_disconnected_once(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    line = b'{"command": "create_job", "kwargs": {"owner": "me"}}\n'
    client = Mock(recv=Mock(side_effect=[line] * pieces), send=Mock(side_effect=OSError("gone")))
    dropped = Mock(wraps=server._disconnect_client)
    monkeypatch.setattr(server, "_disconnect_client", dropped)

    server._handle_commands(client)

    dropped.assert_called_once_with(client)
    assert len(server.list_jobs(None)) == 1


def test_the_end_of_file_disconnects(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = MagicMock()
    client.recv.return_value = b""
    dropped = MagicMock()
    monkeypatch.setattr(server, "_disconnect_client", dropped)

    server._handle_commands(client)

    dropped.assert_called_once_with(client)


@pytest.mark.parametrize("make", [MagicMock, Mock])
def test_a_message_is_sent_before_returning_or_the_client_dropped(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    client = make()
    server._msg_client(client, {"return": None})
    client.send.assert_called_once_with(b'{"return": null}\n')

    client = make()
    client.send = Mock(side_effect=OSError)
    dropped = MagicMock()
    monkeypatch.setattr(server, "_disconnect_client", dropped)
    server._msg_client(client, {"return": None})
    dropped.assert_called_once_with(client)
    assert not server._peers[client].output.size


@pytest.mark.parametrize("wrapped", [True, False])
def test_replies_and_notifications_go_through_whatever_messages_clients(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, wrapped: bool
) -> None:
    client = FakeClient(b'{"command": "version"}\n{"command": "notify_job"}\n')
    message = Mock(wraps=server._msg_client) if wrapped else Mock()
    monkeypatch.setattr(server, "_msg_client", message)

    server._handle_commands(client)
    with monkeypatch.context() as patch:
        patch.setattr(server, "_controller", controller_with({2, 1}, set()))
        server._send_change_notifications()

    lines = [{"return": spalloc_server.__version__}, {"return": None}, {"jobs_changed": [1, 2]}]
    assert [call.args for call in message.call_args_list] == [(client, line) for line in lines]
    assert client.lines == (lines if wrapped else [])
    server._disconnect_client(client)


class SimpleClient:
    """Not even an address."""

    def send(self, data: bytes) -> int:
        return len(data)


def test_disconnecting_never_raises_and_forgets_everything(server: SpallocServer) -> None:
    client = MagicMock()
    client.fileno.side_effect = OSError
    client.close.side_effect = OSError
    server._client_buffers[client] = b"half"
    server._client_job_watches[client] = {1}
    server._client_machine_watches[client] = None
    server._fdmap[12345] = client

    server._disconnect_client(client)
    server._disconnect_client(client)

    for table in ("_client_buffers", "_client_job_watches", "_client_machine_watches"):
        assert client not in getattr(server, table)
    server._fdmap.pop(12345, None)


def test_a_stand_in_is_unregistered_and_closed(server: SpallocServer) -> None:
    client = MagicMock()
    client.fileno.return_value = 12345
    server._fdmap[12345] = client

    server._disconnect_client(client)

    client.close.assert_called_once_with()
    assert 12345 not in server._fdmap


def test_names_are_ip_addresses(server: SpallocServer) -> None:
    assert server._name(FakeClient()) == "10.0.0.7"
    assert server._name(None) is None
    assert server._name(SimpleClient()) is None


def test_the_log_calls_clients_by_their_address(server: SpallocServer) -> None:
    assert server._called(FakeClient()) == "client 10.0.0.7"
    assert server._called(SimpleClient()) == "a client of unknown address"


@pytest.mark.parametrize("stand_in", [Mock, MagicMock])
def test_a_stand_in_without_a_real_address_can_have_jobs(
    rack: Rack, config: Path, stand_in: Any
) -> None:
    line = b'{"command": "create_job", "kwargs": {"owner": "me"}}\n{"command": "list_jobs"}\n'
    client = stand_in(recv=Mock(return_value=line))
    with SpallocServer(config, port=0) as server:
        server._handle_commands(client)
        server._disconnect_client(client)

        assert server.list_jobs(None)[0]["keepalivehost"] == ""

    assert b"exception" not in client.send.call_args.args[0]
    with SpallocServer(config, port=0) as again:
        assert len(again.list_jobs(None)) == 1


# --- notifications ---


def controller_with(jobs: set[int], machines: set[str]) -> Any:
    return SimpleNamespace(changed_jobs=jobs, changed_machines=machines)


def test_everybody_hears_of_what_they_watch(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything, some, other, nothing = (FakeClient() for _ in range(4))
    server._client_job_watches.update({everything: None, some: {2, 9}, other: {7}})
    server._client_machine_watches.update({everything: None, some: {"b"}, other: {"z"}})
    with monkeypatch.context() as patch:
        patch.setattr(server, "_controller", controller_with({3, 1, 2}, {"b", "a"}))
        server._send_change_notifications()

    assert everything.lines == [{"jobs_changed": [1, 2, 3]}, {"machines_changed": ["a", "b"]}]
    assert some.lines == [{"jobs_changed": [2]}, {"machines_changed": ["b"]}]
    assert other.lines == nothing.lines == []


def test_who_cannot_be_told_is_dropped_jobs_watchers_first(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, machine, healthy = FakeClient(), FakeClient(), FakeClient()
    job.fails = machine.fails = BrokenPipeError()
    server._client_machine_watches.update({machine: None, healthy: None})
    server._client_job_watches.update({job: None, healthy: None})
    dropped = MagicMock()
    with monkeypatch.context() as patch:
        patch.setattr(server, "_controller", controller_with({1}, {"m"}))
        patch.setattr(server, "_disconnect_client", dropped)
        server._send_change_notifications()

    assert [call.args for call in dropped.call_args_list] == [(job,), (machine,)]
    assert len(healthy.lines) == 2


def test_a_watcher_of_any_kind_harms_no_other(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, healthy = FakeClient(), FakeClient()
    odd.fails = RuntimeError("what is this")
    server._client_job_watches.update({odd: None, healthy: None})
    with monkeypatch.context() as patch:
        patch.setattr(server, "_controller", controller_with({1}, set()))
        server._send_change_notifications()

    assert healthy.lines == [{"jobs_changed": [1]}]
    assert odd not in server._client_job_watches


def test_a_server_stops_although_its_controller_was_replaced(rack: Rack, config: Path) -> None:
    for stand_in in (controller_with(set(), set()), Mock(), MagicMock(), Controller()):
        server = SpallocServer(config, port=0)
        job_id = server.create_job(None, owner="me")
        server._controller = stand_in

        server.stop_and_join()

        assert not server.is_alive()
        assert all(frame.stops for frame in rack.frames)
        with SpallocServer(config, port=0) as again:
            assert [job["job_id"] for job in again.list_jobs(None)] == [job_id]
            again.destroy_job(None, job_id)


def test_a_stand_in_for_the_controller_is_stopped_too(rack: Rack, config: Path) -> None:
    server = SpallocServer(config, port=0)
    stand_in: Any = MachinesOnly()
    server._controller = stand_in

    server.stop_and_join()

    assert stand_in.asked[-2:] == ["stop", "join"]


class MachinesOnly:
    """Has no more than the specification gives a controller, and of that what the loop asks."""

    changed_jobs: ClassVar[set[int]] = set()
    changed_machines: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self.asked: list[str] = []

    def list_machines(self) -> list[Any]:
        self.asked.append("list_machines")
        return []

    def destroy_timed_out_jobs(self) -> None:
        self.asked.append("destroy_timed_out_jobs")

    def check_free(self) -> None:
        self.asked.append("check_free")

    def stop(self) -> None:
        self.asked.append("stop")

    def join(self) -> None:
        self.asked.append("join")


def test_clients_are_served_by_whatever_stands_in_for_the_controller(
    server: SpallocServer,
) -> None:
    stand_ins: list[Any] = [MachinesOnly(), Mock(list_machines=Mock(return_value=[]))]
    for stand_in in stand_ins:
        server._controller = stand_in
        with TcpClient(server.port) as client:
            assert client.call("list_machines") == []
            assert client.call("version") == spalloc_server.__version__


def test_a_stand_in_for_the_controller_is_looked_after_each_turn(server: SpallocServer) -> None:
    stand_in: Any = MachinesOnly()
    server._controller = stand_in
    with TcpClient(server.port) as client:
        for _ in range(3):
            client.call("list_machines")

    for task in ("destroy_timed_out_jobs", "check_free"):
        assert stand_in.asked.count(task) >= 2


def test_frames_of_any_kind_are_stopped_without_delay(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server.controller.AsyncBMPController", MagicMock())
    server = SpallocServer(config, port=0)
    server.create_job(None, owner="me")

    server.stop_and_join()

    assert not server.is_alive()


# --- reading the configuration again ---


def test_the_configuration_is_read_synchronously(server: SpallocServer, config: Path) -> None:
    config.write_text("configuration = Configuration(ip='127.0.0.1', max_retired_jobs=3)")
    assert server.read_config_file() is True
    assert server.list_machines(None) == []
    assert server._controller.max_retired_jobs == 3

    config.write_text("raise SystemExit(3)")
    assert server.read_config_file() is False
    assert server.is_alive()
    config.unlink()
    assert server.read_config_file() is False


def test_a_controller_that_refuses_machines_changes_nothing(
    server: SpallocServer, rack: Rack, config: Path
) -> None:
    rack.broken = "10.9.0.0"
    config.write_text(CONFIG.replace("10.2.0.0", "10.9.0.0"))

    assert server.read_config_file() is False

    assert [row["name"] for row in server.list_machines(None)] == ["m", "s"]
    rack.broken = None
    assert server.read_config_file() is True
