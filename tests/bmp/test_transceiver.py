"""The packets to a BMP, and what happens when their answers do not come."""

from __future__ import annotations

import errno
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import pytest
from spinnman.exceptions import (
    SpinnmanGenericProcessException,
    SpinnmanIOException,
    SpinnmanTimeoutException,
)
from spinnman.messages.scp.abstract_messages import AbstractSCPRequest, AbstractSCPResponse

from spalloc_server import _clock
from spalloc_server._bmp import name_lookup, transceiver
from spalloc_server._bmp import wiring as _bmp_wiring
from spalloc_server._bmp.interface import (
    AbandonedError,
    BMPAnswerError,
    BMPSilentError,
    ShortageError,
    describe,
    is_silence,
    shortage,
)
from spalloc_server._bmp.transceiver import BMP_PORT, Transceiver
from tests.support.loopback import bound_address

PATIENCE = 10.0  # seconds before a test gives up; nothing waits this long
OK, RC_CMD, RC_TIMEOUT = 0x80, 0x83, 0x86


def sequence_of(packet: bytes) -> int:
    (sequence,) = struct.unpack_from("<H", packet, 12)
    return int(sequence)


def answer_to(packet: bytes, result: int = OK, data: bytes = b"") -> bytes:
    """Answer as a BMP would, with the addresses of the command swapped."""
    flags, tag, to, source, *chips = packet[2:10]
    header = bytes([0x07 & flags, tag, source, to, chips[2], chips[3], chips[0], chips[1]])
    return b"\0\0" + header + struct.pack("<2H", result, sequence_of(packet)) + data


class Peer:
    """Somebody at a BMP's address, who answers each packet with what `reply` returns."""

    def __init__(self) -> None:
        self.address, self._socket = bound_address(BMP_PORT)
        self.seen: SimpleQueue[bytes] = SimpleQueue()
        self.reply: Callable[[bytes], list[bytes]] = lambda packet: [answer_to(packet)]
        self._thread = threading.Thread(target=self._run, name="peer")
        self._thread.start()

    def _run(self) -> None:
        while True:
            packet, sender = self._socket.recvfrom(500)
            if not packet:
                return
            replies = self.reply(packet)
            self.seen.put(packet)
            for reply in replies:
                self._socket.sendto(reply, sender)

    def next(self) -> bytes:
        return self.seen.get(timeout=PATIENCE)

    def close(self) -> None:
        self._socket.sendto(b"", (self.address, BMP_PORT))
        self._thread.join(PATIENCE)
        self._socket.close()


@pytest.fixture(autouse=True)
def wiring(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let power-on wait for nothing, and tests run without patience."""
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 0.0)
    yield
    _bmp_wiring.reset()


@pytest.fixture
def peer() -> Iterator[Peer]:
    peer = Peer()
    yield peer
    peer.close()


@pytest.fixture
def bmp(peer: Peer) -> Iterator[Transceiver]:
    bmp = Transceiver(peer.address)
    yield bmp
    bmp.close()


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for waits in ("_REGISTER_WAITS", "_POWER_ON_WAITS", "_POWER_OFF_WAITS"):
        monkeypatch.setattr(transceiver, waits, (0.001, 0.001, 0.001, 0.001))
    monkeypatch.setattr(transceiver, "_PASSING_RESULT_PAUSE", 0.0)


# --- the packets, from the table of the specification ---

COMMANDS: list[tuple[str, Callable[[Transceiver], object], str]] = [
    (
        "version",
        lambda bmp: bmp.read_bmp_version(board=3, frame=0, cabinet=0),
        "0000 87ff03ff 00000000 0000 ssss 00000000 00000000 00000000",
    ),
    (
        "power on",
        lambda bmp: bmp.power_on(boards=[0, 2, 23], frame=0, cabinet=0),
        "0000 87ff00ff 00000000 3900 ssss 01000000 05008000 00000000",
    ),
    (
        "power off",
        lambda bmp: bmp.power_off(boards=[5], frame=0, cabinet=0),
        "0000 87ff00ff 00000000 3900 ssss 00000000 20000000 00000000",
    ),
    (
        "read",
        lambda bmp: bmp.read_fpga_register(
            fpga_num=2, register=0x40004, board=4, cabinet=0, frame=0
        ),
        "0000 87ff04ff 00000000 1100 ssss 04000400 04000000 02000000",
    ),
    (
        "write",
        lambda bmp: bmp.write_fpga_register(1, 0x1005C, 1, board=23, frame=0, cabinet=0),
        "0000 87ff17ff 00000000 1200 ssss 5c000100 04000000 01000000 01000000",
    ),
]

VERSION_DATA = (
    struct.pack("<4B2HI", 0, 0, 0, 0, 256, 0xFFFF, 0) + b"BC&MP/Spin5-BMP\0" + b"2.1.0\0"
)


@pytest.mark.parametrize(("name", "command", "expected"), COMMANDS)
def test_commands_are_sent_byte_by_byte_as_specified(
    peer: Peer,
    bmp: Transceiver,
    name: str,
    command: Callable[[Transceiver], object],
    expected: str,
) -> None:
    peer.reply = lambda packet: [answer_to(packet, data=VERSION_DATA)]

    command(bmp)

    sent = peer.next().hex()
    expected = expected.replace(" ", "")
    at = expected.index("ssss")
    assert sent[:at] + "ssss" + sent[at + 4 :] == expected


def test_a_register_is_one_little_endian_word(peer: Peer, bmp: Transceiver) -> None:
    peer.reply = lambda packet: [answer_to(packet, data=bytes.fromhex("01020304"))]

    value = bmp.read_fpga_register(fpga_num=0, register=0x40004, board=0)

    assert value == 0x04030201


@pytest.mark.parametrize(
    ("number", "text", "version"),
    [(0xFFFF, b"BC&MP/Spin5-BMP\0002.1.0\0", (2, 1, 0)), (133, b"BC&MP/Spin5-BMP\0", (1, 33, 0))],
)
def test_a_version_is_a_text_or_a_number(
    peer: Peer, bmp: Transceiver, number: int, text: bytes, version: tuple[int, int, int]
) -> None:
    data = struct.pack("<4B2HI", 0, 0, 0, 0, 256, number, 0) + text
    peer.reply = lambda packet: [answer_to(packet, data=data)]

    assert bmp.read_bmp_version(board=0).version_number == version


def test_one_socket_is_used_and_each_command_has_its_number(peer: Peer, bmp: Transceiver) -> None:
    for _ in range(3):
        bmp.power_off(boards=[0])

    numbers = [sequence_of(peer.next()) for _ in range(3)]
    assert len(set(numbers)) == 3


def test_numbers_start_again_after_16_bits(peer: Peer, bmp: Transceiver) -> None:
    bmp._sequence = 0xFFFF

    bmp.power_off(boards=[0])

    assert sequence_of(peer.next()) == 0


# --- packets that get lost, come late, come twice, or make no sense ---


def test_an_unanswered_command_is_sent_four_times(
    peer: Peer, bmp: Transceiver, short_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer.reply = lambda packet: []

    with pytest.raises(BMPSilentError):
        bmp.power_off(boards=[0])

    packets = [peer.next() for _ in range(4)]
    assert len(set(packets)) == 1
    peer.reply = lambda packet: [answer_to(packet)]
    monkeypatch.setattr(transceiver, "_POWER_OFF_WAITS", (20.0,))
    bmp.power_off(boards=[1])
    assert peer.next() != packets[0]


def test_the_fourth_copy_may_be_answered(
    peer: Peer, bmp: Transceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transceiver, "_POWER_OFF_WAITS", (0.001, 0.001, 0.001, PATIENCE))
    copies = 0

    def answer_fourth(packet: bytes) -> list[bytes]:
        nonlocal copies
        copies += 1
        return [answer_to(packet)] if copies == 4 else []

    peer.reply = answer_fourth

    bmp.power_off(boards=[0])

    assert copies == 4


def test_strays_do_no_harm(peer: Peer, bmp: Transceiver) -> None:
    peer.reply = lambda packet: [answer_to(packet, data=b"\x11\0\0\0")]
    assert bmp.read_fpga_register(fpga_num=0, register=4, board=0) == 0x11
    late = answer_to(peer.next(), data=b"\x22\0\0\0")

    def strays_first(packet: bytes) -> list[bytes]:
        answer = answer_to(packet, data=b"\x33\0\0\0")
        return [late, b"", b"\0", b"\xff" * 13, b"\xff" * 40, answer, answer, late]

    peer.reply = strays_first

    for _ in range(3):
        assert bmp.read_fpga_register(fpga_num=0, register=4, board=0) == 0x33


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x02\x03"])
def test_an_answer_cut_short_is_noise(
    peer: Peer, bmp: Transceiver, monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setattr(transceiver, "_REGISTER_WAITS", (0.01, PATIENCE))
    answers = iter([data])
    peer.reply = lambda packet: [answer_to(packet, data=next(answers, b"\x11\0\0\0"))]

    assert bmp.read_fpga_register(fpga_num=0, register=4, board=0) == 0x11


VERSION_DATA = bytes(4) + struct.pack("<HHI", 256, 0xFFFF, 0) + b"BC&MP/Spin5-BMP\0" + b"2.1.10\0"


@pytest.mark.parametrize("length", range(len(VERSION_DATA)))
def test_a_version_cut_short_is_noise(
    peer: Peer, bmp: Transceiver, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    monkeypatch.setattr(transceiver, "_REGISTER_WAITS", (0.01, PATIENCE))
    answers = iter([VERSION_DATA[:length]])
    peer.reply = lambda packet: [answer_to(packet, data=next(answers, VERSION_DATA))]

    assert bmp.read_bmp_version(board=0).version_number == (2, 1, 10)


def test_a_bmp_that_sends_nothing_but_pieces_is_silent(
    peer: Peer, bmp: Transceiver, short_waits: None
) -> None:
    peer.reply = lambda packet: [answer_to(packet, data=b"\x01")]

    with pytest.raises(BMPSilentError):
        bmp.read_fpga_register(fpga_num=0, register=4, board=0)


@pytest.mark.parametrize(
    ("result", "told"),
    [(RC_CMD, "RC_CMD"), (0x8D, "RC_"), (0x1234, "with the unknown result 4660")],
)
def test_an_error_reply_is_told_from_silence(
    peer: Peer, bmp: Transceiver, result: int, told: str
) -> None:
    peer.reply = lambda packet: [answer_to(packet, result)]

    with pytest.raises(BMPAnswerError) as error:
        bmp.power_on(boards=[0])

    assert not is_silence(error.value)
    assert f"CMD_BMP_POWER answered {told}" in str(error.value)


def test_an_error_reply_that_may_pass_is_asked_about_again(
    peer: Peer, bmp: Transceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transceiver, "_PASSING_RESULT_PAUSE", 0.0)
    results = iter([RC_TIMEOUT])
    # On a busy computer a copy may be sent before the answer is there.
    peer.reply = lambda packet: [answer_to(packet, next(results, OK))]

    bmp.power_off(boards=[0])

    assert next(results, OK) == OK


def test_an_error_reply_that_does_not_pass_is_an_error_after_four_times(
    peer: Peer, bmp: Transceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transceiver, "_PASSING_RESULT_PAUSE", 0.0)
    peer.reply = lambda packet: [answer_to(packet, RC_TIMEOUT)]

    with pytest.raises(BMPAnswerError, match="RC_TIMEOUT"):
        bmp.power_off(boards=[0])

    assert len([peer.next() for _ in range(4)]) == 4


def test_a_refused_connection_is_silence(short_waits: None) -> None:
    address, held = bound_address(BMP_PORT)
    held.close()
    bmp = Transceiver(address)

    with pytest.raises(BMPSilentError):
        bmp.power_off(boards=[0])

    assert bmp._connection is None


# --- shortages of this computer ---


def chained(inner: BaseException) -> SpinnmanIOException:
    """Wrap an exception as SpiNNMan does."""
    try:
        raise SpinnmanIOException(f"Error setting up socket: {inner}") from inner
    except SpinnmanIOException as error:
        return error


SHORTAGES = [
    OSError(errno.EMFILE, "Too many open files"),
    OSError(errno.ENFILE, "Too many open files in system"),
    OSError(errno.ENOBUFS, "No buffer space available"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    MemoryError(),
    ImportError("No module named 'spinnman'"),
    RuntimeError("can't start new thread"),
]


@pytest.mark.parametrize("error", SHORTAGES)
def test_a_shortage_is_named_and_is_neither_silence_nor_an_answer(error: Exception) -> None:
    assert shortage(error)
    assert shortage(chained(error)) == shortage(error)
    assert shortage(ShortageError("no descriptors")) == "no descriptors"
    assert not is_silence(error)


@pytest.mark.parametrize(
    "error", [OSError(errno.ECONNREFUSED, "refused"), RuntimeError("no"), BMPSilentError("no")]
)
def test_other_errors_are_no_shortage(error: Exception) -> None:
    assert shortage(error) is None
    assert shortage(chained(error)) is None


@pytest.mark.parametrize("error", SHORTAGES)
def test_a_shortage_while_connecting_is_not_the_frames_silence(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(host: str) -> str:
        raise error

    monkeypatch.setattr(_bmp_wiring, "resolve", fail)

    with pytest.raises(ShortageError):
        Transceiver("bmp").power_off(boards=[0])


def test_a_resolver_without_descriptors_is_not_the_frames_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(host: str) -> str:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    def refuse(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("socket.gethostbyname", fail)
    monkeypatch.setattr("socket.socket", refuse)

    with pytest.raises(ShortageError, match="descriptors"):
        Transceiver("bmp").power_off(boards=[0])


def test_a_shortage_while_sending_is_not_the_frames_silence(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    bmp, connection = slow(time)

    def fail(data: bytes) -> None:
        raise chained(OSError(errno.ENOBUFS, "No buffer space available"))

    monkeypatch.setattr(connection, "send", fail)

    with pytest.raises(ShortageError, match="buffers"):
        power_off(bmp)


# --- reaching the host ---


def test_nothing_is_opened_before_the_first_command(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved: list[str] = []
    monkeypatch.setattr(_bmp_wiring, "resolve", resolved.append)

    Transceiver("bmp").close()

    assert resolved == []


def test_the_host_is_resolved_again_after_silence(
    peer: Peer, short_waits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, mute = bound_address(BMP_PORT)
    addresses = {"bmp": address}
    monkeypatch.setattr(_bmp_wiring, "resolve", addresses.__getitem__)
    bmp = Transceiver("bmp")
    with pytest.raises(BMPSilentError):
        bmp.power_off(boards=[0])
    addresses["bmp"] = peer.address

    bmp.power_off(boards=[0])

    bmp.close()
    mute.close()


@pytest.mark.parametrize("error", [KeyError("bmp"), OSError("no"), RuntimeError("no")])
def test_a_host_that_cannot_be_resolved_is_silent(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(host: str) -> str:
        raise error

    monkeypatch.setattr(_bmp_wiring, "resolve", fail)

    with pytest.raises(BMPSilentError, match="cannot be reached"):
        Transceiver("bmp").power_off(boards=[0])


@pytest.mark.parametrize("error", [socket.gaierror(-2, "not known"), UnicodeError("too long")])
def test_a_name_that_nobody_knows_is_silent(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(host: str) -> str:
        raise error

    monkeypatch.setattr("socket.gethostbyname", fail)

    with pytest.raises(BMPSilentError, match="no-such-bmp"):
        Transceiver("no-such-bmp").power_off(boards=[0])


def test_a_name_is_looked_up(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"bmp": peer.address, peer.address: peer.address}
    monkeypatch.setattr("socket.gethostbyname", names.__getitem__)
    bmp = Transceiver("bmp")

    bmp.power_off(boards=[0])

    bmp.close()


def test_looking_a_name_up_can_be_abandoned(monkeypatch: pytest.MonkeyPatch) -> None:
    abandoned, released = threading.Event(), threading.Event()
    looker: list[threading.Thread] = []

    def hang(host: str) -> str:
        looker.append(threading.current_thread())
        abandoned.set()
        assert released.wait(PATIENCE)
        return "127.0.0.1"

    monkeypatch.setattr("socket.gethostbyname", hang)
    monkeypatch.setattr(name_lookup, "LONGEST_NAP", 0.01)

    with pytest.raises(AbandonedError):
        Transceiver("bmp", abandoned).power_off(boards=[0])

    released.set()
    looker[0].join(PATIENCE)


# --- waits, on a clock of their own ---


class Time(threading.Event):
    """A clock that waiting moves, and the event that ends all waits."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.abandon_at: float | None = None

    def monotonic(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
        if self.abandon_at is not None and self.now >= self.abandon_at:
            self.set()

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pass_by(timeout)
        return self.is_set()


class SlowConnection:
    """A connection whose packets arrive at given times.

    `arrive` maps seconds after the start to the number of the copy that is answered then.
    """

    def __init__(self, time: Time, arrive: list[float], refuse: bool = False) -> None:
        self.time = time
        self.arrive = arrive
        self.refuse = refuse
        self.sent: list[float] = []
        self.longest_nap = 0.0
        self._sequence = 0

    def get_scp_data(self, scp_request: AbstractSCPRequest[AbstractSCPResponse]) -> bytes:
        self._sequence = scp_request.scp_request_header.sequence
        return b"data"

    def send(self, data: bytes) -> None:
        self.sent.append(self.time.now)

    def receive(self, timeout: float | None = None) -> bytes:
        assert timeout is not None
        self.longest_nap = max(self.longest_nap, timeout)
        if self.refuse:
            raise SpinnmanIOException("connection refused")
        if self.arrive and self.arrive[0] <= self.time.now + timeout:
            self.time.pass_by(max(0.0, self.arrive.pop(0) - self.time.now))
            return b"\0\0\x07" + bytes(7) + struct.pack("<2H", OK, self._sequence) + bytes(4)
        self.time.pass_by(timeout)
        raise SpinnmanTimeoutException("receive", timeout)

    def close(self) -> None:
        """Nothing to close."""


def _with_sequence(packet: bytes, sequence: int) -> bytes:
    return packet[:12] + struct.pack("<H", sequence) + packet[14:]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(_clock, "monotonic", time.monotonic)
    return time


def slow(time: Time, *arrive: float, refuse: bool = False) -> tuple[Transceiver, SlowConnection]:
    bmp = Transceiver("bmp", time)
    connection = SlowConnection(time, list(arrive), refuse)
    bmp._connection = connection  # type: ignore[assignment]
    return bmp, connection


def read(bmp: Transceiver) -> None:
    bmp.read_fpga_register(fpga_num=0, register=4, board=0)


def power_on(bmp: Transceiver) -> None:
    bmp.power_on(boards=[0])


def power_off(bmp: Transceiver) -> None:
    bmp.power_off(boards=[0])


@pytest.mark.parametrize("refuse", [False, True])
@pytest.mark.parametrize(
    ("command", "sent", "end"),
    [
        (read, [0.0, 0.5, 1.0, 2.0], 3.0),
        (power_on, [0.0, 5.0, 10.0, 15.0], 25.0),
        (power_off, [0.0, 1.0, 2.0, 3.0], 4.0),
    ],
)
def test_silence_is_found_out_in_bounded_time(
    time: Time,
    command: Callable[[Transceiver], None],
    sent: list[float],
    end: float,
    refuse: bool,
) -> None:
    bmp, connection = slow(time, refuse=refuse)

    with pytest.raises(BMPSilentError):
        command(bmp)

    assert connection.sent == pytest.approx(sent)
    assert time.now == pytest.approx(end)
    assert connection.longest_nap <= 0.5


@pytest.mark.parametrize(
    ("command", "answer_at"), [(read, 0.4), (power_on, 4.9), (power_off, 0.6)]
)
def test_no_copy_is_sent_before_a_command_has_had_its_time(
    time: Time, command: Callable[[Transceiver], None], answer_at: float
) -> None:
    bmp, connection = slow(time, answer_at)

    command(bmp)

    assert connection.sent == [0.0]
    assert time.now == pytest.approx(answer_at)


@pytest.mark.parametrize(
    ("command", "answer_at"), [(read, 2.9), (power_on, 10.0), (power_on, 24.9), (power_off, 3.9)]
)
def test_a_slow_answer_counts(
    time: Time, command: Callable[[Transceiver], None], answer_at: float
) -> None:
    bmp, _ = slow(time, answer_at)

    command(bmp)

    assert time.now == pytest.approx(answer_at)


def test_power_on_waits_for_the_fpgas_and_power_off_does_not(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, _ = slow(time, 1.0, 6.5)

    power_on(bmp)
    assert time.now == pytest.approx(6.0)
    power_off(bmp)
    assert time.now == pytest.approx(6.5)


def test_the_wait_counts_from_the_answer_to_the_last_copy(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, connection = slow(time, 6.0, 9.0)

    power_on(bmp)

    assert connection.sent == pytest.approx([0.0, 5.0])
    assert time.now == pytest.approx(14.0)


def test_the_wait_is_kept_though_the_socket_fails(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, connection = slow(time, 1.0)
    receive = connection.receive

    def receive_then_fail(timeout: float | None = None) -> bytes:
        if not connection.arrive:
            raise SpinnmanIOException("network is down")
        return receive(timeout)

    monkeypatch.setattr(connection, "receive", receive_then_fail)

    power_on(bmp)

    assert time.now == pytest.approx(6.0)


def test_other_commands_are_given_while_fpgas_configure(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, _ = slow(time, 1.0, 1.5)

    wait = bmp.begin_power_on(boards=[0])
    power_off(bmp)

    assert time.now == pytest.approx(1.5)
    assert wait.over_at == pytest.approx(6.0)


def test_a_late_answer_during_another_command_begins_the_wait_anew(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, connection = slow(time, 1.0)
    wait = bmp.begin_power_on(boards=[0])
    first, connection.arrive = connection._sequence, [2.0, 2.5]
    packets = iter([first])
    receive = connection.receive

    def receive_late_one_first(timeout: float | None = None) -> bytes:
        packet = receive(timeout)
        return _with_sequence(packet, next(packets, connection._sequence))

    monkeypatch.setattr(connection, "receive", receive_late_one_first)

    bmp.power_off(boards=[3])

    assert time.now == pytest.approx(2.5)
    assert wait.over_at == pytest.approx(7.0)


def test_late_answers_are_taken_between_commands(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, connection = slow(time, 1.0)
    wait = bmp.begin_power_on(boards=[0])
    connection.arrive = [3.0]
    time.now = 4.0

    bmp.take_late_answers()

    assert wait.over_at == pytest.approx(9.0)
    assert time.now == pytest.approx(4.0, abs=0.01)


def test_an_answer_after_the_wait_begins_nothing(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, _ = slow(time, 1.0, 7.0)
    over = bmp.begin_power_on(boards=[0])
    time.now = 6.5
    bmp.begin_power_on(boards=[1])

    assert over.over_at == pytest.approx(6.0)
    assert len(bmp._waits) == 1


def test_nothing_is_read_from_a_frame_that_was_not_talked_to() -> None:
    Transceiver("bmp").take_late_answers()


def test_a_socket_that_fails_has_no_late_answers(time: Time) -> None:
    bmp, _ = slow(time, refuse=True)

    bmp.take_late_answers()

    assert time.now == 0.0


@pytest.mark.parametrize("refuse", [False, True])
def test_waiting_for_an_answer_can_be_abandoned(time: Time, refuse: bool) -> None:
    bmp, connection = slow(time, refuse=refuse)
    time.abandon_at = 7.0

    with pytest.raises(AbandonedError):
        power_on(bmp)

    assert len(connection.sent) == 2


def test_waiting_for_the_fpgas_can_be_abandoned(
    time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bmp_wiring, "fpga_wait", 5.0)
    bmp, _ = slow(time, 1.0)
    time.abandon_at = 2.0

    with pytest.raises(AbandonedError):
        power_on(bmp)

    assert time.now < 3.0


# --- exceptions ---


@pytest.mark.parametrize(
    ("error", "silence"),
    [
        (BMPSilentError("no answer"), True),
        (TimeoutError("timed out"), True),
        (SpinnmanTimeoutException("receive", 1.0), True),
        (
            SpinnmanGenericProcessException(
                SpinnmanTimeoutException("receive", 1.0), None, 0, 0, 0, ""
            ),
            True,
        ),
        (BMPAnswerError("RC_CMD"), False),
        (SpinnmanIOException("bad"), False),
        (ValueError("bad"), False),
        (
            SpinnmanGenericProcessException(ValueError("bad"), None, 0, 0, 0, ""),
            False,
        ),
    ],
)
def test_silence_is_known_from_exceptions(error: Exception, silence: bool) -> None:
    assert is_silence(error) is silence


def test_exceptions_are_described_in_one_line() -> None:
    inner = ValueError("of two\n   lines")

    assert describe(inner) == "of two lines"
    assert describe(KeyError()) == "KeyError"
    assert describe(SpinnmanGenericProcessException(inner, None, 0, 0, 0, "")) == "of two lines"


def test_wiring_can_be_reset() -> None:
    _bmp_wiring.fpga_wait = 0.0
    _bmp_wiring.resolve = str.upper

    _bmp_wiring.reset()

    assert _bmp_wiring.fpga_wait == 5.0
    assert _bmp_wiring.resolve("bmp-1.example") == "bmp-1.example"


def test_spinnman_is_not_imported_before_it_is_needed() -> None:
    program = "import sys, spalloc_server.async_bmp_controller; print('spinnman' in sys.modules)"

    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert done.stdout.strip() == "False"
