"""Which connections go on after a restart, and which must not."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server import server as server_module
from spalloc_server._wire import carrier as carrier_module
from spalloc_server._wire.carrier import Carrier
from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server._wire.fd_store import FdStore, Inherited
from spalloc_server._wire.peer import Peer
from spalloc_server.server import SpallocServer
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.tcp_client import TcpClient

CONFIG = """
m = Machine.with_standard_ips(
    "m", width=2, height=1, base_ip="10.1.0.0",
    board_locations={(x, 0, z): (0, 0, 3 * x + z) for x in range(2) for z in range(3)},
)
configuration = Configuration(machines=[m], ip="127.0.0.1", seconds_before_free=0)
"""


class KeepingStore(FdStore):
    """Keeps descriptors in this process, as a service manager does."""

    def __init__(self, kept: dict[str, list[int]]) -> None:
        super().__init__("@nobody")
        self.kept = kept

    def keep(self, name: str, descriptors: Any) -> None:
        self.kept[name] = [os.dup(number) for number in descriptors]

    def remove(self, name: str) -> None:
        for number in self.kept.pop(name, []):
            os.close(number)

    def inherited(self) -> list[Inherited]:
        """Return duplicates, as a started process has them."""
        return [
            Inherited(name, os.dup(number))
            for name, numbers in self.kept.items()
            for number in numbers
        ]


class Life:
    """Servers one after the other, with one store."""

    def __init__(self, config: Path) -> None:
        self._config = config
        self.kept: dict[str, list[int]] = {}
        self.store = KeepingStore(self.kept)
        self.port = 0

    def server(self, **options: Any) -> SpallocServer:
        self.store.close()
        self.store = KeepingStore(self.kept)
        carrier = Carrier(self.store, self.store.inherited())
        server = SpallocServer(
            self._config, port=self.port, durability="none", carrier=carrier, **options
        )
        self.port = server.port
        return server

    @property
    def connections(self) -> list[str]:
        """Names of the connections in the store."""
        return [name for name in self.store.kept if name.startswith("c")]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which the clock is moved."""
    moved, monotonic = [0.0], _clock.monotonic
    monkeypatch.setattr(_clock, "monotonic", lambda: monotonic() + moved[0])
    return moved


@pytest.fixture
def life(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: list[float]) -> Iterator[Life]:
    Rack(monkeypatch).at_once = True
    config = tmp_path / "a.cfg"
    config.write_text(CONFIG)
    life = Life(config)
    yield life
    for name in list(life.kept):
        life.store.remove(name)
    life.store.close()


def wait_until(life: Life, count: int, now: list[float]) -> None:
    """Let servers keep connections, or give them up."""
    now[0] += 2
    with TcpClient(life.port) as other:
        for _ in range(2000):
            other.call("version")
            if len(life.connections) == count:
                return
            time.sleep(0.005)
    raise AssertionError(life.connections)


def test_a_connection_goes_on_with_its_watches(life: Life, now: list[float]) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        job_id = client.call("create_job", owner="me", keepalive=None)
        client.call("notify_job", job_id)
        client.call("notify_machine")
        wait_until(life, 1, now)
        client.call("notify_job", 99)
        client.call("notify_events")

        server.stop_and_join()
        client.ask("get_job_state", job_id)  # while nobody listens
        with life.server() as again:
            assert client.reply()["return"]["state"] == 3
            (accepted,) = again._client_job_watches
            assert again._client_job_watches[accepted] == {job_id, 99}
            assert again._client_machine_watches[accepted] is None
            assert accepted in again._watchers.event_watches
            client.notifications.clear()
            client.call("destroy_job", job_id)
            while {"jobs_changed": [job_id]} not in client.notifications:
                client.notifications.append(client.line())
            assert client.call("list_jobs") == []


@pytest.mark.parametrize("calls", [1, 2, 3, 8])
def test_a_connection_goes_on_after_replies_that_were_sent_since_it_is_kept(
    life: Life, now: list[float], calls: int
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        job_id = client.call("create_job", owner="me", keepalive=None)
        wait_until(life, 1, now)
        for _ in range(calls):
            client.call("get_job_state", job_id)
            client.call("list_jobs")

        server.stop_and_join()
        client.ask("get_job_state", job_id)  # while nobody listens
        with life.server():
            assert "return" in client.reply()


def test_a_client_behind_a_proxy_is_still_itself(life: Life, now: list[float]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        place = Endpoint(Kind.proxy, *probe.getsockname())
    header = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + bytes([10, 9, 8, 7, 127, 0, 0, 1])
    with life.server(more_endpoints=[place]) as server, TcpClient(place.port or 0) as client:
        client.send(header + b"\x11\x11\x22\x22")
        client.call("create_job", owner="me", keepalive=60)
        wait_until(life, 1, now)

        server.stop_and_join()
        with life.server(more_endpoints=[place]) as again:
            client.call("job_keepalive", 1)
            assert [job["keepalivehost"] for job in client.call("list_jobs")] == ["10.9.8.7"]
            (peer,) = again._peers.values()
            assert again._called(peer.client) == "client 10.9.8.7"


def test_a_connection_that_the_next_policy_denies_ends_unheard(
    life: Life, tmp_path: Path, now: list[float]
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        job = client.call("create_job", owner="me", keepalive=None)
        wait_until(life, 1, now)
        server.stop_and_join()
        client.ask("destroy_job", job)  # while nobody listens
        text = CONFIG + 'policy = Policy([("127.0.0.1", "deny"), ("0.0.0.0/0", "use")])\n'
        (tmp_path / "a.cfg").write_text(text)

        with life.server() as again:
            assert client.rest() == []
            assert life.connections == []
            assert again.get_job_state(None, job)["state"] == 3


def test_a_connection_has_the_rights_that_the_next_policy_gives(
    life: Life, tmp_path: Path, now: list[float]
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        job = client.call("create_job", owner="me", keepalive=None)
        wait_until(life, 1, now)
        server.stop_and_join()
        client.ask("destroy_job", job)  # while nobody listens
        (tmp_path / "a.cfg").write_text(CONFIG + 'policy = Policy([("127.0.0.1", "read")])\n')

        with life.server() as again:
            assert "destroy_job needs the right to use" in client.reply()["exception"]
            assert again.get_job_state(None, job)["state"] == 3
            assert client.call("job_keepalive", job) is None


def test_it_is_counted_how_many_go_on(
    life: Life, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with life.server() as server, TcpClient(server.port) as one, TcpClient(server.port) as two:
        assert server.kept_count == 0
        one.call("notify_job")
        two.call("notify_job")
        wait_until(life, 2, now)
        assert server.kept_count == 2
        for name in life.connections[:1]:  # as if the other end had hung up
            life.store.remove(name)
            life.kept[name] = [os.memfd_create("test")]
        server.stop_and_join()

        with life.server() as again:
            assert again.kept_count == again.client_count == 1
        assert "connections that go on: 1; closed in the middle: 1" in caplog.text


def test_who_watches_is_told_of_all_that_may_have_changed_meanwhile(
    life: Life, now: list[float]
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        client.call("notify_job")
        client.call("create_job", owner="me", keepalive=None)
        wait_until(life, 1, now)
        client.call("version")
        client.notifications.clear()

        server.stop_and_join()
        with life.server():
            assert client.notification() == {"jobs_changed": [1]}


def test_new_clients_connect_while_nobody_listens(life: Life) -> None:
    server = life.server()
    server.stop_and_join()

    with TcpClient(life.port) as client:
        client.ask("version")
        with life.server():
            assert client.reply()["return"]


def test_who_only_looks_sees_a_clean_end(life: Life, now: list[float]) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        client.call("list_jobs")
        wait_until(life, 0, now)

        server.stop_and_join()

        assert client.rest() == []


@pytest.mark.parametrize("sent", [b'{"command": "version"', b"\n\n{", b" "])
def test_half_a_command_ends_the_connection_cleanly(
    life: Life, now: list[float], sent: bytes
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        client.call("notify_job")
        wait_until(life, 1, now)
        client.send(sent)
        assert came(server)

        server.stop_and_join()

        assert client.rest() == []
        assert life.connections == []


def came(server: SpallocServer) -> bool:
    """Wait until a server has read what is no whole line."""
    for _ in range(2000):
        if any(server._client_buffers.values()):
            return True
        time.sleep(0.005)
    return False


def killed(server: SpallocServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """End a server as if the process had been killed: nothing is put in order."""
    carrier = server._carrier
    assert carrier is not None
    with monkeypatch.context() as patch:
        patch.setattr(carrier, "leave", lambda _: True)
        patch.setattr(server, "_answer", lambda _: None)
        server.stop_and_join()


def test_a_command_that_was_read_and_not_answered_ends_the_connection(
    life: Life, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        client.call("notify_job")
        wait_until(life, 1, now)
        client.send(b'{"command": "version"')
        assert came(server)
        killed(server, monkeypatch)
        client.send(b"}\n")  # it must not be taken for a command of its own

        with life.server() as again:
            assert client.rest() == []
            assert again.client_count == 0
        assert life.connections == []


def test_a_reply_that_was_sent_in_part_ends_the_connection(
    life: Life, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with life.server() as server, TcpClient(server.port, receive_buffer=4096) as client:
        flood = {"flood": lambda *_: "x" * 12_000_000}
        client.call("notify_job")
        wait_until(life, 1, now)
        monkeypatch.setattr(server, "_commands", {**server._commands, **flood})
        client.ask("flood")
        assert client.socket.recv(10)
        killed(server, monkeypatch)

        with life.server() as again:
            while client.socket.recv(1 << 16):
                continue  # the end comes cleanly, within the line
            assert again.client_count == 0


def test_a_client_that_goes_is_kept_no_longer(life: Life, now: list[float]) -> None:
    with life.server() as server:
        with TcpClient(server.port) as client:
            client.call("notify_job")
            wait_until(life, 1, now)

        wait_until(life, 0, now)


def test_one_that_is_dropped_sees_the_end_although_it_was_kept(
    life: Life, now: list[float]
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        client.call("notify_job")
        wait_until(life, 1, now)

        client.send(b"nonsense\n")

        assert client.rest() == []
        wait_until(life, 0, now)


def test_a_client_that_ended_while_nobody_listened_has_its_commands_carried_out(
    life: Life, now: list[float]
) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        client.call("create_job", owner="me", keepalive=None)
        wait_until(life, 1, now)
        server.stop_and_join()
        client.ask("destroy_job", 1)
        client.end()

        with life.server() as again:
            assert client.rest() == [{"return": None}]
            assert again.list_jobs(None) == []


def test_too_many_watches_are_not_kept(life: Life, now: list[float]) -> None:
    with life.server() as server, TcpClient(server.port) as client:
        client.call("notify_machine", "x")
        wait_until(life, 1, now)

        for number in range(70):
            client.call("notify_machine", f"{number}" + "y" * 1000)

        wait_until(life, 0, now)
        assert client.call("version")


def test_an_address_that_changes_is_kept_by_nobody(life: Life, tmp_path: Path) -> None:
    with life.server() as server:
        (before,) = life.kept
        (tmp_path / "a.cfg").write_text(CONFIG.replace("127.0.0.1", "127.0.0.2"))
        assert server.read_config_file() is True

        (after,) = life.kept
        assert after != before
        with pytest.raises(ConnectionRefusedError):
            TcpClient(server.port)


def test_an_address_that_the_next_configuration_does_not_have_is_given_up(
    life: Life, tmp_path: Path
) -> None:
    life.server().stop_and_join()
    (tmp_path / "a.cfg").write_text(CONFIG.replace("127.0.0.1", "127.0.0.2"))

    with life.server() as server:
        assert len(life.kept) == 1
        with pytest.raises(ConnectionRefusedError):
            TcpClient(server.port)


def test_a_stop_waits_for_hardware_only_if_no_client_waits_for_the_next_start(
    life: Life, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []

    def joined(_frames: object, seconds: float, _hurry: object) -> bool:
        waited.append(seconds)
        return True

    monkeypatch.setattr(server_module, "join_frames", joined)
    with life.server(stop_timeout=7.0) as server:
        server._join([])
        with TcpClient(server.port) as client:
            client.call("notify_job")
            wait_until(life, 1, now)

            server._join([])
            server.stop_timeout = 0.1
            server._join([])

    assert waited[:3] == [7.0, 0.5, 0.1]


def test_no_more_are_kept_than_the_store_has_room_for(
    life: Life, now: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrier_module, "MOST_KEPT", 1)
    with life.server() as server, TcpClient(server.port) as one, TcpClient(server.port) as two:
        one.call("notify_job")
        wait_until(life, 1, now)
        two.call("notify_job")
        wait_until(life, 1, now)
        server.stop_and_join()

        assert two.rest() == []
        with life.server() as again:
            assert again.client_count == 1


def test_a_connection_is_kept_when_it_has_lived_for_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = HandClock(monkeypatch)
    store = KeepingStore({})
    carrier = Carrier(store)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        accepted, _ = listening.accept()
    peer = Peer(accepted)
    assert carrier.seconds_to_look() == math.inf
    carrier.note_command(peer, "version")
    assert carrier.seconds_to_look() == math.inf
    carrier.note_command(peer, "create_job")
    assert carrier.seconds_to_look() == 0.25

    kept = []
    for _ in range(8):
        carrier.tend(lambda _: carrier_module.body_of({}, None))
        kept.append(carrier.kept)
        clock.advance(0.2)

    # It is looked at each 0.25 s at most: at 0, 0.4, 0.8 and 1.2 s.
    assert kept == [0, 0, 0, 0, 0, 0, 1, 1]
    assert len(store.kept) == 1
    assert carrier.seconds_to_look() == math.inf
    carrier.end(peer)
    assert (carrier.kept, store.kept) == (0, {})
    for each in (client, accepted):
        each.close()
    store.close()


def test_names_of_others_are_left_to_others(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    store = KeepingStore({})
    with socket.socket() as other:
        inherited = [Inherited("spalloc_server.socket", other.fileno()), Inherited("c", 0)]

        carrier = Carrier(store, inherited)

        assert carrier.strangers == inherited
        assert carrier.returned() == []
        assert not caplog.messages
    store.close()


def test_half_of_what_belongs_together_is_closed(
    life: Life, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = socket.socketpair()
    record = os.memfd_create("test")
    names = ["c" + "0" * 8, "c" + "1" * 8]
    carrier = Carrier(
        life.store, [Inherited(names[0], os.dup(here.fileno())), Inherited(names[1], record)]
    )

    with caplog.at_level("INFO"):
        assert carrier.returned() == []

    assert caplog.messages == ["connections that go on: 0; closed in the middle: 2"]
    there.settimeout(20)
    assert there.recv(10) == b""
    with pytest.raises(OSError, match="descriptor"):
        os.fstat(record)
    here.close()
    there.close()
