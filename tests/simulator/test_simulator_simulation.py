"""Simulated frames over real UDP, in this process, and the commands that steer them."""

import errno
import json
import logging
import socket
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spalloc_server import _clock
from spalloc_server._simulator import Simulation, addresses, sockets
from spalloc_server._simulator.control import ControlFailed, ask
from spalloc_server._simulator.faults import BadText
from spalloc_server._simulator.frame import Reply

OK = 0x80
PORT = 17893


class Peer:
    """Talks SCP to one address."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(20)
        self._socket.connect((address, PORT))
        self._sequence = count(1)

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, command: int, board: int, *args: int, data: bytes = b"") -> int:
        sequence = next(self._sequence)
        header = struct.pack("<2x8B2H", 0x87, 0xFF, board, 0xFF, 0, 0, 0, 0, command, sequence)
        self._socket.send(header + struct.pack("<3I", *args) + data)
        return sequence

    def send_bytes(self, data: bytes) -> None:
        self._socket.send(data)

    def receive(self) -> tuple[int, int, bytes]:
        """(sequence, result, data) of the next reply."""
        reply = self._socket.recv(512)
        result, sequence = struct.unpack_from("<2H", reply, 10)
        return sequence, result, reply[14:]

    def ask(self, command: int, board: int, *args: int, data: bytes = b"") -> tuple[int, bytes]:
        """(result, data)."""
        sequence = self.send(command, board, *args, data=data)
        answered, result, answer = self.receive()
        assert answered == sequence
        return result, answer

    def power(self, on: bool, *boards: int) -> int:
        return self.ask(57, 0, on, sum(1 << board for board in boards), 0)[0]

    def stop_east(self, board: int) -> int:
        return self.ask(18, board, 0x5C, 4, 0, data=b"\1\0\0\0")[0]


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    with Simulation(seed=1) as started:
        yield started


# --- addresses ---


def test_each_host_name_gets_an_address_of_its_own_for_good(simulation: Simulation) -> None:
    names = ["192.168.0.0", "192.168.1.0", "bmp.example"]

    resolved = [simulation.resolve(name) for name in names]

    assert len(set(resolved)) == 3
    assert all(addresses.is_loopback(address) for address in resolved)
    assert [simulation.resolve(name) for name in names] == resolved


def test_all_threads_are_told_the_same(simulation: Simulation) -> None:
    with ThreadPoolExecutor(8) as pool:
        resolved = set(pool.map(lambda _: simulation.resolve("192.168.0.0"), range(32)))

    assert len(resolved) == 1


def test_frames_answer_for_themselves(simulation: Simulation) -> None:
    with (
        Peer(simulation.resolve("192.168.0.0")) as first,
        Peer(simulation.resolve("192.168.1.0")) as second,
    ):
        assert first.power(True, 3) == OK
        assert second.power(True, 4) == OK

    assert simulation.command("power").data["192.168.0.0"]["3"]
    assert not simulation.command("power").data["192.168.0.0"]["4"]


def _free_address() -> str:
    address, bound = addresses.FreeAddresses().bind_next()
    bound.close()
    return address


def test_a_loopback_address_is_served_at_itself(simulation: Simulation) -> None:
    address = _free_address()

    assert simulation.resolve(address) == address


def test_a_loopback_address_in_use_is_served_elsewhere(simulation: Simulation) -> None:
    address, bound = addresses.FreeAddresses().bind_next()
    with bound:
        resolved = simulation.resolve(address)

    assert resolved != address
    with Peer(resolved) as peer:
        assert peer.power(True, 0) == OK


def test_simulations_run_side_by_side(simulation: Simulation) -> None:
    with Simulation() as other:
        resolved = {each.resolve("192.168.0.0") for each in (simulation, other)}

    assert len(resolved) == 2


def test_hundreds_of_frames_are_served(simulation: Simulation) -> None:
    resolved = [simulation.resolve(f"bmp{number}") for number in range(300)]

    for number in (0, 150, 299):
        with Peer(resolved[number]) as peer:
            assert peer.power(True, 0) == OK
    assert len(set(resolved)) == 300


def test_a_frame_at_its_own_address(simulation: Simulation) -> None:
    address = _free_address()

    simulation.add_frame(address, boards=1)

    with Peer(address) as peer:
        assert peer.ask(0, 0, 0, 0, 0)[0] == OK
        assert peer.ask(0, 1, 0, 0, 0)[0] == 0x88
    with pytest.raises(ValueError, match="already"):
        simulation.add_frame(address)
    with pytest.raises(ValueError, match=r"'192.168.0.0' is not a loopback address"):
        simulation.add_frame("192.168.0.0")


def test_a_frame_that_cannot_be_made_gives_its_address_back(simulation: Simulation) -> None:
    address = _free_address()

    with pytest.raises(ValueError, match="not 25"):
        simulation.add_frame(address, boards=25)

    addresses.bind(address).close()


@pytest.mark.parametrize("boards", [0, 25])
def test_frames_of_other_sizes_than_1_to_24_are_refused(boards: int) -> None:
    with pytest.raises(ValueError, match=f"not {boards}"):
        Simulation(boards_per_frame=boards)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.255.0.9", True), ("128.0.0.1", False), ("localhost", False)],
)
def test_loopback_is_told_without_a_look_up(host: str, loopback: bool) -> None:
    assert addresses.is_loopback(host) == loopback


# --- life ---


def test_frames_made_before_the_start_answer_after_it() -> None:
    simulation = Simulation()
    with Peer(simulation.resolve("192.168.0.0")) as peer:
        sequence = peer.send(0, 0, 0, 0, 0)
        simulation.start()
        assert peer.receive()[:2] == (sequence, OK)
    simulation.stop()


def test_stopping_gives_the_addresses_back_and_is_final() -> None:
    simulation = Simulation()
    simulation.start()
    address = simulation.resolve("192.168.0.0")

    simulation.stop()
    simulation.stop()

    addresses.bind(address).close()
    assert simulation.resolve("192.168.0.0") == address
    with pytest.raises(RuntimeError, match="stopped"):
        simulation.resolve("192.168.1.0")
    with pytest.raises(RuntimeError, match="stopped"):
        simulation.start()


def test_stopping_before_the_start() -> None:
    simulation = Simulation()
    address = simulation.resolve("192.168.0.0")

    simulation.stop()

    addresses.bind(address).close()


# --- UDP ---


def test_late_replies_wait_for_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(_clock, "monotonic", lambda: now[0])
    with (
        Simulation(real_time=True) as simulation,
        Peer(simulation.resolve("192.168.0.0")) as peer,
    ):
        power = peer.send(57, 0, 1, 1, 0)
        version = peer.send(0, 0, 0, 0, 0)

        assert peer.receive()[0] == version
        assert not simulation.command("power").data["192.168.0.0"]["0"]
        now[0] += 0.5
        assert simulation.command("power").data["192.168.0.0"]["0"]
        # Whatever arrives makes the thread look at the clock.
        another = peer.send(0, 0, 0, 0, 0)
        assert {peer.receive()[0], peer.receive()[0]} == {power, another}


def test_silence_holds_late_replies_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(_clock, "monotonic", lambda: now[0])
    with (
        Simulation(real_time=True) as simulation,
        Peer(simulation.resolve("192.168.0.0")) as peer,
    ):
        peer.send(57, 0, 1, 1, 0)
        version = peer.send(0, 0, 0, 0, 0)
        assert peer.receive()[0] == version
        simulation.inject("board 0 mute")
        now[0] += 0.5
        # What is due is looked at after a packet: with the second one that has been done.
        for _ in range(2):
            version = peer.send(0, 1, 0, 0, 0)
            assert peer.receive()[0] == version
        simulation.inject("clear")

        heard = peer.send(0, 0, 0, 0, 0)

        assert peer.receive()[0] == heard


def test_a_failure_is_logged_and_ends_nothing(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    frame = simulation.frame("192.168.0.0")
    with Peer(simulation.resolve("192.168.0.0")) as peer:
        monkeypatch.setattr(frame, "receive", None)
        peer.send(0, 0, 0, 0, 0)
        with Peer(simulation.resolve("192.168.1.0")) as other:
            assert other.power(True, 0) == OK
        monkeypatch.undo()

        assert peer.ask(0, 0, 0, 0, 0)[0] == OK
    assert "it goes on" in caplog.text


@pytest.fixture(scope="module")
def rubbish_peer() -> Iterator[Peer]:
    with Simulation() as simulation, Peer(simulation.resolve("192.168.0.0")) as peer:
        yield peer


@settings(max_examples=50)
@given(st.lists(st.binary(max_size=700), max_size=5))
def test_rubbish_ends_nothing(rubbish_peer: Peer, datagrams: list[bytes]) -> None:
    for datagram in datagrams:
        rubbish_peer.send_bytes(datagram)

    asked = rubbish_peer.send(0, 0, 0, 0, 0)

    # Rubbish may have been a request by chance; its reply comes first.
    while rubbish_peer.receive()[0] != asked:
        pass


# --- commands ---


def test_what_is_shown(simulation: Simulation) -> None:
    first = simulation.resolve("192.168.0.0")
    with Peer(first) as peer:
        peer.power(True, 0, 1, 2, 7)
        peer.stop_east(1)
        peer.send_bytes(b"rubbish")
        peer.power(False, 7)

    assert simulation.describe() == ("192.168.0.0: on 0-2; off 3-23\n192.168.0.0 board 1: east")
    assert simulation.command("frames") == (
        f"192.168.0.0 at {first}, boards 0-23",
        {"192.168.0.0": {"address": first, "boards": 24}},
    )
    assert simulation.command("board 0-1 power") == (
        "192.168.0.0: on 0-1; off none",
        {"192.168.0.0": {"0": True, "1": True}},
    )
    assert simulation.command("links").data == {"192.168.0.0": {"1": ["east"]}}
    assert simulation.command("board 2 links") == ("no stopped links", {"192.168.0.0": {}})
    seen = simulation.command("board 7 seen 1")
    assert seen.text.splitlines()[:2] == [
        "192.168.0.0: packets power 2, write 1; outcomes malformed 1, ok 3",
        "192.168.0.0 board 7: switched on 1, off 1; writes while off 0",
    ]
    assert seen.text.endswith("192.168.0.0 board 7: power off: ok")
    assert seen.data["frames"]["192.168.0.0"]["boards"] == {
        "7": {"on": 1, "off": 1, "writes_lost": 0}
    }
    assert [entry["boards"] for entry in seen.data["log"]] == [[0, 1, 2, 7], [7]]
    assert "fpga-wrong" in simulation.command("help").text


def test_all_links_have_names(simulation: Simulation) -> None:
    with Peer(simulation.resolve("192.168.0.0")) as peer:
        peer.power(True, 0)
        for fpga in range(3):
            for address in (0x5C, 0x1005C):
                peer.ask(18, 0, address, 4, fpga, data=b"\1\0\0\0")

    assert simulation.command("links").data["192.168.0.0"]["0"] == [
        "east",
        "south",
        "south_west",
        "west",
        "north",
        "north_east",
    ]


def test_forgetting(simulation: Simulation) -> None:
    with (
        Peer(simulation.resolve("192.168.0.0")) as first,
        Peer(simulation.resolve("192.168.1.0")) as second,
    ):
        first.power(True, 0)
        second.power(True, 0)
    simulation.command("192.168.0.0 forget")

    seen = simulation.command("seen").data

    assert seen["frames"]["192.168.0.0"]["packets"] == {}
    assert seen["frames"]["192.168.0.0"]["boards"]["0"]["on"] == 0
    assert seen["frames"]["192.168.1.0"]["packets"] == {"power": 1}
    assert [(entry["number"], entry["frame"]) for entry in seen["log"]] == [(2, "192.168.1.0")]


def test_power_that_was_there_before(simulation: Simulation) -> None:
    simulation.set_power("192.168.0.0", 3, True)
    simulation.command("192.168.0.0 boards 5-6 set-power on")
    simulation.command("board 6 set-power off")

    assert simulation.command("power").text == "192.168.0.0: on 3,5; off 0-2,4,6-23"
    board = simulation.frame("192.168.0.0").boards[3]
    assert (board.times_on, board.read(1, 0x40004) & 3) == (0, 1)
    for number in (-1, 24):
        with pytest.raises(ValueError, match=f"no board {number}, only 0 to 23"):
            simulation.set_power("192.168.0.0", number, True)


def test_faults_by_name_and_by_address(simulation: Simulation) -> None:
    address = simulation.resolve("192.168.0.0")
    simulation.resolve("192.168.1.0")

    simulation.command("192.168.0.0 board 3 mute")
    simulation.command(f"{address} error 0x84")
    simulation.command("all boards 1-2 slow 1")

    assert simulation.command("faults").text.splitlines() == [
        "192.168.0.0 error 0x84",
        "192.168.0.0 board 1 slow 1",
        "192.168.0.0 board 2 slow 1",
        "192.168.0.0 board 3 silent",
        "192.168.1.0 board 1 slow 1",
        "192.168.1.0 board 2 slow 1",
    ]
    simulation.command("board 1 clear")
    simulation.command("192.168.0.0 clear error silent")
    assert simulation.command("faults").data == {
        "192.168.0.0": ["192.168.0.0 board 2 slow 1"],
        "192.168.1.0": ["192.168.1.0 board 2 slow 1"],
    }
    simulation.command("clear")
    assert simulation.command("faults").text == "no faults"


def test_what_is_shown_of_faults_can_be_injected(simulation: Simulation) -> None:
    simulation.resolve("192.168.0.0")
    for text in ("lose 12.5% replies", "error 0x84 write 2 times", "board 2 fpga-wrong 1 3 times"):
        simulation.inject(text)
    shown = simulation.command("faults")
    simulation.inject("clear")

    for text in shown.text.splitlines():
        simulation.inject(text)

    assert simulation.command("faults") == shown


def test_faults_wait_for_frames_to_come(simulation: Simulation) -> None:
    simulation.inject("slow 1")
    simulation.inject("192.168.0.0 board 3 mute")
    simulation.inject("192.168.0.0 lose 10%")
    simulation.inject("error 0x84")
    simulation.inject("clear slow")
    simulation.inject("192.168.0.0 clear lose")

    for name in ("192.168.0.0", "192.168.1.0"):
        simulation.resolve(name)

    assert simulation.command("faults").data == {
        "192.168.0.0": ["192.168.0.0 error 0x84", "192.168.0.0 board 3 silent"],
        "192.168.1.0": ["192.168.1.0 error 0x84"],
    }


def test_frames_that_are_not_there_are_named_only_by_inject(simulation: Simulation) -> None:
    simulation.resolve("192.168.0.0")

    simulation.inject("192.168.1.0 mute")
    with pytest.raises(BadText, match=r"'192.168.2.0' is neither a frame nor a command; frames"):
        simulation.command("192.168.2.0 mute")


def test_boards_that_are_not_there(simulation: Simulation) -> None:
    with Simulation(boards_per_frame=2) as small:
        small.resolve("192.168.0.0")
        with pytest.raises(BadText, match=r"192.168.0.0 has no board 5, only 0 to 1"):
            small.command("board 0,5 mute")
        assert small.command("faults").text == "no faults"

    # A text for all frames is for those that have the boards.
    simulation.resolve("192.168.0.0")
    simulation.add_frame(_free_address(), boards=1)
    simulation.command("board 5 mute")
    assert simulation.command("faults").text == "192.168.0.0 board 5 silent"


def test_the_seed_is_kept_or_chosen() -> None:
    chosen, given_seed = Simulation(), Simulation(seed=7)
    try:
        assert given_seed.seed == 7
        assert 0 <= chosen.seed < 1 << 32
    finally:
        chosen.stop()
        given_seed.stop()


# --- the control socket ---


def test_commands_through_the_control_socket(simulation: Simulation, tmp_path: Path) -> None:
    path = tmp_path / "control"
    simulation.listen(path)
    simulation.resolve("192.168.0.0")

    assert ask(path, "192.168.0.0 board 3 set-power on") == (True, "", {})
    assert ask(path, "board 3 power") == (
        True,
        "192.168.0.0: on 3; off none",
        {"192.168.0.0": {"3": True}},
    )
    ok, text, data = ask(path, "bmp9 explode")
    assert (ok, data) == (False, None)
    assert text.startswith("'bmp9' is neither a frame nor a command; frames are 127.")


def test_the_control_socket_goes_at_the_end(tmp_path: Path) -> None:
    with Simulation() as simulation:
        simulation.listen(str(tmp_path / "control"))
        with pytest.raises(ControlFailed, match="somebody listens"):
            simulation.listen(tmp_path / "control")

    assert list(tmp_path.iterdir()) == []


def _connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    connection.connect(str(path))
    return connection


def test_many_lines_and_long_answers_on_one_connection(
    simulation: Simulation, tmp_path: Path
) -> None:
    simulation.listen(tmp_path / "control")
    with Peer(simulation.resolve("192.168.0.0")) as peer:
        for _ in range(500):
            peer.ask(0, 0, 0, 0, 0)

    # Far more than the kernel takes at once, read only after all was asked.
    with _connect(tmp_path / "control") as connection, connection.makefile("rb") as stream:
        connection.sendall(b"seen\n" * 20)
        answers = [json.loads(stream.readline()) for _ in range(20)]

    assert all(len(answer["data"]["log"]) == 500 for answer in answers)


def test_a_line_without_end_closes_its_connection_only(
    simulation: Simulation, tmp_path: Path
) -> None:
    simulation.listen(tmp_path / "control")
    with _connect(tmp_path / "control") as bad, _connect(tmp_path / "control") as good:
        bad.sendall(b"x" * 9000)
        assert bad.recv(100) == b""

        good.sendall(b"frames\n")
        assert json.loads(good.recv(1000))["ok"]


def test_connections_are_limited(simulation: Simulation, tmp_path: Path) -> None:
    simulation.listen(tmp_path / "control")
    held = [_connect(tmp_path / "control") for _ in range(sockets._MAX_CONNECTIONS)]
    with _connect(tmp_path / "control") as one_more:
        assert one_more.recv(100) == b""
    for connection in held:
        connection.close()


def test_a_connection_open_at_the_end_is_closed(tmp_path: Path) -> None:
    with Simulation() as simulation:
        simulation.listen(tmp_path / "control")
        connection = _connect(tmp_path / "control")
        connection.sendall(b"frames\n")
        assert connection.recv(1000)

    with connection:
        assert connection.recv(100) == b""


# --- addresses and sockets that fail ---


def test_when_no_address_is_free_it_is_said_after_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def taken(address: str) -> socket.socket:
        tried.append(address)
        raise OSError(errno.EADDRINUSE, "taken")

    monkeypatch.setattr(addresses, "bind", taken)

    with pytest.raises(OSError, match="no free loopback address for UDP port 17893") as raised:
        addresses.FreeAddresses().bind_next()

    assert raised.value.errno == errno.EADDRINUSE
    assert len(set(tried)) == len(tried) == addresses._TRIES


@pytest.mark.parametrize("host", ["bmp-of-nowhere", "127.3.2.1"])
def test_an_address_that_fails_for_another_reason_is_told_at_once(
    simulation: Simulation, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    tried = []

    def fail(address: str) -> socket.socket:
        tried.append(address)
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(addresses, "bind", fail)

    with pytest.raises(OSError, match="too many open files"):
        simulation.resolve(host)

    assert len(tried) == 1


def test_packets_and_connections_that_are_gone_again_end_nothing(
    simulation: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.close()
    serving = simulation._sockets

    serving._receive(closed, simulation.frame("a"))
    serving._accept(closed)
    serving._send(closed, Reply(0.0, 0, b"x"), ("127.0.0.1", 9))

    assert "Reply to ('127.0.0.1', 9) lost: " in caplog.text
    with Peer(simulation.resolve("a")) as peer:
        assert peer.ask(0, 0, 0, 0, 0)[0] == OK
