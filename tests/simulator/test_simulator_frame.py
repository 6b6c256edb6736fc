"""A simulated frame without sockets: every command, every fault, repeats, time as an argument."""

import struct
from collections.abc import Hashable
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._simulator.faults import parse_fault
from spalloc_server._simulator.frame import Frame, Reply
from spalloc_server._simulator.seen import Log

OK, LEN, CMD, ARG, PORT, CPU, DEAD = 0x80, 0x81, 0x83, 0x84, 0x85, 0x88, 0x89
FLAGS = 0x40004
EAST = (0, 0x5C)


def packet(
    command: int,
    board: int = 0,
    args: tuple[int, int, int] = (0, 0, 0),
    data: bytes = b"",
    *,
    sequence: int = 0,
    flags: int = 0x87,
    port: int = 0,
) -> bytes:
    """SCP request, packed independently of the code under test."""
    to = port << 5 | board
    header = struct.pack("<8B", flags, 0xFF, to, 0xFF, 0, 0, 0, 0)
    return b"\0\0" + header + struct.pack("<2H3I", command, sequence, *args) + data


class Client:
    """Asks a frame, each time with a new sequence number, at a time that the test sets."""

    def __init__(self, frame: Frame, peer: Hashable = "peer") -> None:
        self.frame = frame
        self.peer = peer
        self.now = 100.0
        self._sequence = count(1)

    def send(self, data: bytes) -> Reply | None:
        return self.frame.receive(data, self.peer, self.now)

    def ask(
        self,
        command: int,
        board: int = 0,
        args: tuple[int, int, int] = (0, 0, 0),
        data: bytes = b"",
        *,
        port: int = 0,
    ) -> tuple[int, bytes] | None:
        """(result, data) of the reply; None if there is none."""
        sequence = next(self._sequence)
        reply = self.send(packet(command, board, args, data, sequence=sequence, port=port))
        if reply is None:
            return None
        result, answered = struct.unpack_from("<2H", reply.data, 10)
        assert answered == sequence
        return result, reply.data[14:]

    def result(
        self,
        command: int,
        board: int = 0,
        args: tuple[int, int, int] = (0, 0, 0),
        data: bytes = b"",
    ) -> int | None:
        """Result of the reply; None if there is none."""
        answer = self.ask(command, board, args, data)
        return None if answer is None else answer[0]

    def power(self, on: bool, *boards: int, delay_ms: int = 0) -> int | None:
        mask = sum(1 << board for board in boards)
        return self.result(57, 0, (delay_ms << 16 | on, mask, 0))

    def read(self, board: int, fpga: int, address: int) -> int:
        answer = self.ask(17, board, (address, 4, fpga))
        assert answer is not None
        assert answer[0] == OK
        assert len(answer[1]) == 4
        return int.from_bytes(answer[1], "little")

    def write(self, board: int, fpga: int, address: int, value: int) -> int | None:
        return self.result(18, board, (address, 4, fpga), struct.pack("<I", value))

    def on(self) -> list[int]:
        self.frame.advance(self.now)
        return [board.number for board in self.frame.boards if board.on]


def inject(frame: Frame, text: str, board: int | None = None) -> None:
    frame.faults.inject(board, parse_fault(text.split()))


@pytest.fixture
def client() -> Client:
    return Client(Frame("frame"))


# --- commands ---


@pytest.mark.parametrize("boards", [0, 25])
def test_a_frame_has_1_to_24_boards(boards: int) -> None:
    with pytest.raises(ValueError, match=f"not {boards}"):
        Frame("frame", boards)


def test_all_boards_are_off_at_first(client: Client) -> None:
    assert client.on() == []


def test_power_switches_the_boards_of_the_mask(client: Client) -> None:
    assert client.power(True, 0, 5, 23) == OK
    assert client.on() == [0, 5, 23]
    assert client.power(False, 5) == OK
    assert client.on() == [0, 23]


@pytest.mark.parametrize(
    ("board", "args"),
    [
        (1, (1, 1, 0)),
        (0, (2, 1, 0)),
        (0, (0xFFFF, 1, 0)),
        (0, (1, 0, 0)),
        (0, (1, 1 << 24, 0)),
        (0, (1, 1 << 31 | 1, 0)),
    ],
)
def test_a_wrong_power_command_is_refused_and_switches_nothing(
    client: Client, board: int, args: tuple[int, int, int]
) -> None:
    assert client.result(57, board, args) == ARG
    assert client.on() == []


def test_flags_tell_each_fpga_its_number_beside_other_bits(client: Client) -> None:
    client.power(True, 3)

    flags = [client.read(3, fpga, FLAGS) for fpga in range(3)]

    assert [value & 3 for value in flags] == [0, 1, 2]
    assert all(value > 3 for value in flags)


def test_flags_cannot_be_written(client: Client) -> None:
    client.power(True, 3)

    assert client.write(3, 1, FLAGS, 0) == OK

    assert client.read(3, 1, FLAGS) & 3 == 1


def test_a_register_keeps_what_was_written_to_it_alone(client: Client) -> None:
    client.power(True, 3, 4)

    assert client.write(3, *EAST, 0xDEADBEEF) == OK

    assert client.read(3, *EAST) == 0xDEADBEEF
    assert client.read(3, 1, 0x5C) == 0
    assert client.read(3, 0, 0x1005C) == 0
    assert client.read(4, *EAST) == 0


@pytest.mark.parametrize("on", [False, True])
def test_power_commands_reset_the_registers(client: Client, on: bool) -> None:
    client.power(True, 3)
    client.write(3, *EAST, 1)

    client.power(on, 3)
    client.power(True, 3)

    assert client.read(3, *EAST) == 0


def test_fpgas_without_power_are_nobody(client: Client) -> None:
    assert client.write(3, *EAST, 1) == OK
    assert client.read(3, *EAST) == 0xFFFFFFFF
    assert client.read(3, 0, FLAGS) == 0xFFFFFFFF

    client.power(True, 3)

    assert client.read(3, *EAST) == 0
    assert client.frame.boards[3].writes_lost == 1


def test_an_fpga_remembers_a_limited_number_of_registers(client: Client) -> None:
    client.power(True, 0)

    for register in range(0, 8192, 4):
        assert client.write(0, 0, register, 7) == OK

    assert client.read(0, 0, 0) == 7
    assert client.read(0, 0, 8188) == 0
    client.write(0, 0, 0, 8)
    assert client.read(0, 0, 0) == 8


@pytest.mark.parametrize("command", [17, 18])
@pytest.mark.parametrize("args", [(0x5C, 8, 0), (0x5C, 0, 0), (0x5D, 4, 0), (0x5C, 4, 3)])
def test_a_register_that_there_is_not_is_refused(
    client: Client, command: int, args: tuple[int, int, int]
) -> None:
    assert client.result(command, 0, args, b"\1\0\0\0") == ARG


@pytest.mark.parametrize("data", [b"", b"\1\0\0", b"\1\0\0\0\0"])
def test_a_write_needs_one_word(client: Client, data: bytes) -> None:
    assert client.result(18, 0, (0x5C, 4, 0), data) == LEN


@pytest.mark.parametrize("command", [1, 2, 25, 48, 0xFFFF])
def test_other_commands_are_refused(client: Client, command: int) -> None:
    assert client.result(command) == CMD


def test_other_ports_are_refused(client: Client) -> None:
    assert client.ask(0, port=1) == (PORT, b"")


def test_boards_beyond_the_frame_are_refused() -> None:
    client = Client(Frame("frame", boards=2))

    assert client.result(0, 1) == OK
    assert client.result(0, 2) == CPU
    assert client.power(True, 2) == ARG


def test_a_request_that_wants_no_reply_is_carried_out_quietly(client: Client) -> None:
    assert client.send(packet(57, 0, (1, 1, 0), flags=0x07)) is None

    assert client.on() == [0]


# --- time ---


def test_without_real_time_everything_is_due_at_once(client: Client) -> None:
    reply = client.send(packet(57, 0, (1 | 2000 << 16, 7, 0)))

    assert reply is not None
    assert reply.due == client.now
    assert client.on() == [0, 1, 2]


def test_in_real_time_boards_switch_with_the_reply_after_half_a_second() -> None:
    client = Client(Frame("frame", real_time=True))

    reply = client.send(packet(57, 0, (1, 7, 0)))

    assert reply is not None
    assert reply.due == 100.5
    assert client.on() == []
    client.now = 100.4
    assert client.on() == []
    client.now = 100.5
    assert client.on() == [0, 1, 2]


def test_in_real_time_the_delay_lies_between_the_boards() -> None:
    client = Client(Frame("frame", real_time=True))

    reply = client.send(packet(57, 0, (1 | 2000 << 16, 0b1011, 0)))

    assert reply is not None
    assert reply.due == 104.5
    found = []
    for client.now in (100.5, 102.4, 102.5, 104.4, 104.5):
        found.append(client.on())
    assert found == [[0], [0], [0, 1], [0, 1], [0, 1, 3]]


def test_in_real_time_registers_answer_at_once() -> None:
    client = Client(Frame("frame", real_time=True))

    reply = client.send(packet(17, 0, (FLAGS, 4, 0)))

    assert reply is not None
    assert reply.due == client.now


# --- repeats ---


def test_a_repeated_power_command_gets_the_same_reply_and_cycles_nothing(client: Client) -> None:
    power_on = packet(57, 0, (1, 1, 0), sequence=7)
    first = client.send(power_on)
    client.write(0, *EAST, 1)

    again = client.send(power_on)

    assert again == first
    assert client.read(0, *EAST) == 1
    assert client.frame.boards[0].times_on == 1
    assert client.frame.seen.outcomes["repeat"] == 1


def test_a_power_command_repeated_while_it_runs_is_answered_when_it_is_done() -> None:
    client = Client(Frame("frame", real_time=True))
    power_on = packet(57, 0, (1, 1, 0), sequence=7)
    first = client.send(power_on)
    client.now += 0.3

    again = client.send(power_on)

    assert again == first
    client.now = 200.0
    assert client.on() == [0]
    assert client.frame.boards[0].times_on == 1


def test_a_late_repeat_of_a_write_does_not_undo_a_newer_one(client: Client) -> None:
    client.power(True, 0)
    stop = packet(18, 0, (0x5C, 4, 0), b"\1\0\0\0", sequence=1000)
    client.send(stop)
    client.write(0, *EAST, 0)

    client.send(stop)

    assert client.read(0, *EAST) == 0


def test_a_repeat_after_an_error_is_tried_again(client: Client) -> None:
    inject(client.frame, "error 0x86 once")
    version = packet(0, sequence=7)

    first, again = client.send(version), client.send(version)

    assert first is not None
    assert again is not None
    assert first.data[10] == 0x86
    assert again.data[10] == OK


def test_a_power_command_refused_in_part_is_not_tried_again(client: Client) -> None:
    inject(client.frame, "refuse-power once", board=1)
    power_on = packet(57, 0, (1, 3, 0), sequence=7)

    first, again = client.send(power_on), client.send(power_on)

    assert first is not None
    assert first.data[10] == DEAD
    assert again == first
    assert client.on() == [0]
    assert client.frame.boards[0].times_on == 1


def test_the_same_sequence_number_with_another_request_is_no_repeat(client: Client) -> None:
    for on in (1, 0, 1):
        client.send(packet(57, 0, (on, 1, 0), sequence=7))

    assert client.frame.boards[0].times_on == 2
    assert client.frame.boards[0].times_off == 1


def test_the_same_request_of_another_peer_is_no_repeat(client: Client) -> None:
    power_on = packet(57, 0, (1, 1, 0), sequence=7)

    client.send(power_on)
    client.peer = "another"
    client.send(power_on)

    assert client.frame.boards[0].times_on == 2


def test_requests_are_forgotten_after_a_minute(client: Client) -> None:
    power_on = packet(57, 0, (1, 1, 0), sequence=7)
    client.send(power_on)

    client.now += 59
    client.send(power_on)
    client.now += 2
    client.send(power_on)

    assert client.frame.boards[0].times_on == 2


def test_few_requests_of_few_peers_are_remembered(client: Client) -> None:
    power_on = packet(57, 0, (1, 1, 0), sequence=60000)

    client.send(power_on)
    for _ in range(70):
        client.result(0)
    client.send(power_on)
    for client.peer in range(300):
        client.send(packet(0))
    client.peer = "peer"
    client.send(power_on)

    assert client.frame.boards[0].times_on == 3


# --- faults ---


@pytest.mark.parametrize("board", [None, 3])
def test_silent_hears_and_says_nothing(client: Client, board: int | None) -> None:
    client.power(True, 3)
    inject(client.frame, "silent", board)

    assert client.result(0, 3) is None
    assert client.write(3, *EAST, 1) is None
    client.frame.faults.clear()
    assert client.read(3, *EAST) == 0


def test_a_silent_frame_switches_nothing(client: Client) -> None:
    inject(client.frame, "mute")

    assert client.power(True, 3) is None
    assert client.on() == []


def test_a_silent_board_fails_power_commands_that_name_it_but_not_its_neighbours(
    client: Client,
) -> None:
    inject(client.frame, "silent", board=3)

    assert client.result(0, 4) == OK
    assert client.power(True, 2, 3, 4) == DEAD
    assert client.power(True, 5) == OK
    assert client.on() == [2, 4, 5]


def test_replies_still_to_go_are_dropped_by_silence(client: Client) -> None:
    assert not client.frame.is_silent(3)

    inject(client.frame, "silent", board=3)

    assert client.frame.is_silent(3)
    assert not client.frame.is_silent(2)


def test_lost_requests_are_not_carried_out_and_lost_replies_are(client: Client) -> None:
    inject(client.frame, "lose 100% requests")
    assert client.power(True, 1) is None
    inject(client.frame, "lose 100% replies")
    assert client.power(True, 2) is None

    assert client.on() == [2]
    assert client.frame.seen.outcomes == {"request lost": 1, "reply lost": 1}


def test_a_share_is_lost_half_of_it_on_each_way(client: Client) -> None:
    inject(client.frame, "lose 10%")

    answered = sum(client.result(0) == OK for _ in range(10_000))

    outcomes = client.frame.seen.outcomes
    assert outcomes["ok"] == answered
    assert 8_800 < answered < 9_200
    assert 400 < outcomes["request lost"] < 600
    assert 400 < outcomes["reply lost"] < 600


def test_the_same_seed_loses_the_same_packets() -> None:
    def lost(seed: int, name: str) -> list[bool]:
        client = Client(Frame(name, seed=seed))
        inject(client.frame, "lose 50%")
        return [client.result(0) is None for _ in range(64)]

    assert lost(1, "frame") == lost(1, "frame")
    assert lost(1, "frame") != lost(2, "frame")
    assert lost(1, "frame") != lost(1, "other")


def test_four_tries_get_past_a_loss_and_cycle_the_power_once(client: Client) -> None:
    inject(client.frame, "lose 10%")

    for sequence in range(200):
        power_on = packet(57, 0, (1, 1, 0), sequence=sequence)
        assert any(client.send(power_on) for _ in range(4))

    assert client.frame.boards[0].times_on == 200


def test_nothing_is_lost_of_no_share(client: Client) -> None:
    inject(client.frame, "lose 0%")

    assert all(client.result(0) == OK for _ in range(100))


@pytest.mark.parametrize("code", ["0x81", "0x8f"])
def test_errors_of_a_frame(client: Client, code: str) -> None:
    inject(client.frame, f"error {code}")

    assert client.result(0, 3) == int(code, 16)
    assert client.power(True, 3) == int(code, 16)
    assert client.on() == []


def test_errors_of_a_board_do_not_strike_its_neighbours(client: Client) -> None:
    inject(client.frame, "error ARG", board=3)

    assert client.result(0, 3) == ARG
    assert client.result(0, 4) == OK
    assert client.power(True, 2, 3, 4) == ARG
    assert client.on() == [2, 4]


def test_errors_of_board_0_do_not_strike_power_commands_for_others(client: Client) -> None:
    inject(client.frame, "error ARG", board=0)

    assert client.power(True, 1) == OK
    assert client.power(True, 0, 1) == ARG
    assert client.on() == [1]


def test_errors_of_one_command_for_some_times(client: Client) -> None:
    inject(client.frame, "error 0x8c write 2 times")
    client.power(True, 0)

    assert client.result(0) == OK
    assert [client.write(0, *EAST, 1) for _ in range(3)] == [0x8C, 0x8C, OK]
    assert client.frame.faults.list() == []


def test_slow_replies_are_due_later_and_boards_switch_with_them(client: Client) -> None:
    inject(client.frame, "slow 2.5", board=0)

    reply = client.send(packet(57, 0, (1, 2, 0)))

    assert reply is not None
    assert reply.due == 102.5
    assert client.on() == []
    client.now = 102.5
    assert client.on() == [1]
    other = client.send(packet(0, 1))
    assert other is not None
    assert other.due == client.now


def test_slow_and_real_time_add_up() -> None:
    client = Client(Frame("frame", real_time=True))
    inject(client.frame, "slow 2")

    reply = client.send(packet(57, 0, (1, 2, 0)))

    assert reply is not None
    assert reply.due == 102.5


def test_repeats_are_slow_too(client: Client) -> None:
    inject(client.frame, "slow 2")
    client.send(packet(0))
    client.now += 5

    again = client.send(packet(0))

    assert again is not None
    assert again.due == 107.0


def _wrong(client: Client, board: int) -> list[int]:
    return [fpga for fpga in range(3) if client.read(board, fpga, FLAGS) & 3 != fpga]


def test_fpgas_come_up_wrong_always(client: Client) -> None:
    inject(client.frame, "fpga-wrong", board=1)

    for _ in range(5):
        client.power(True, 0, 1)
        assert _wrong(client, 0) == []
        assert _wrong(client, 1) == [0, 1, 2]


def test_fpgas_come_up_wrong_some_times_counted_per_board(client: Client) -> None:
    inject(client.frame, "fpga-wrong 1 2 times")

    found = []
    for _ in range(3):
        client.power(True, 0, 1)
        found.append((_wrong(client, 0), _wrong(client, 1)))

    assert found == [([1], [1]), ([1], [1]), ([], [])]


def test_fpgas_that_are_up_stay_right(client: Client) -> None:
    client.power(True, 0)

    inject(client.frame, "fpga-wrong")

    assert _wrong(client, 0) == []


def test_a_repeated_power_command_does_not_use_up_a_fault(client: Client) -> None:
    inject(client.frame, "fpga-wrong once")
    power_on = packet(57, 0, (1, 1, 0), sequence=7)

    client.send(power_on)
    client.send(power_on)

    assert _wrong(client, 0) == [0, 1, 2]


def test_refused_power(client: Client) -> None:
    inject(client.frame, "refuse-power", board=1)

    assert client.power(True, 0, 1, 2) == DEAD
    assert client.power(False, 0) == OK
    assert client.on() == [2]


def test_refused_power_in_one_direction_some_times(client: Client) -> None:
    inject(client.frame, "refuse-power off once")
    assert client.power(True, 0, 1) == OK

    assert client.power(False, 0) == DEAD
    assert client.on() == [0, 1]
    assert client.power(False, 0, 1) == DEAD
    assert client.on() == [1]
    assert client.power(False, 1) == OK


@pytest.mark.parametrize("board", [None, 3])
def test_an_old_version_has_no_registers(client: Client, board: int | None) -> None:
    client.power(True, 3)
    inject(client.frame, "old", board)

    assert client.result(17, 3, (FLAGS, 4, 0)) == CMD
    assert client.write(3, *EAST, 1) == CMD
    assert client.power(False, 3) == OK


def test_version_2_has_registers(client: Client) -> None:
    inject(client.frame, "version 2.0.0")

    assert client.result(17, 3, (FLAGS, 4, 0)) == OK


def test_a_boards_own_fault_goes_before_the_frames(client: Client) -> None:
    inject(client.frame, "slow 2")
    inject(client.frame, "slow 1", board=3)

    own, others = client.send(packet(0, 3)), client.send(packet(0, 4))

    assert own is not None
    assert others is not None
    assert (own.due, others.due) == (101.0, 102.0)


def test_faults_combine_and_go_one_by_one(client: Client) -> None:
    inject(client.frame, "slow 1")
    inject(client.frame, "error 0x85", board=3)
    inject(client.frame, "fpga-wrong 2 times", board=3)

    assert client.frame.faults.list() == [
        (None, "slow 1"),
        (3, "error 0x85"),
        (3, "fpga-wrong 2 times"),
    ]
    client.frame.faults.clear(3, ["error"])
    assert client.frame.faults.list() == [(None, "slow 1"), (3, "fpga-wrong 2 times")]
    client.frame.faults.clear(3)
    assert client.frame.faults.list() == [(None, "slow 1")]
    client.frame.faults.clear()
    assert not client.frame.faults


# --- seen ---


def test_packets_are_counted_and_logged_in_order() -> None:
    log = Log()
    client = Client(Frame("frame", log=log))
    client.power(True, 0, 2)
    client.write(2, *EAST, 1)
    client.now += 1.5
    client.read(2, 0, FLAGS)
    client.result(0, 2)
    client.result(99, 2)
    client.send(b"rubbish")

    assert client.frame.seen.packets == {
        "power": 1,
        "write": 1,
        "read": 1,
        "version": 1,
        "command-99": 1,
    }
    assert client.frame.seen.outcomes == {"ok": 4, "error 0x83": 1, "malformed": 1}
    assert [str(entry) for entry in log.entries(lambda _: True)] == [
        "     1      0.000 frame board 0,2: power on: ok",
        "     2      0.000 frame board 2: write FPGA 0 0x5c = 1: ok",
        "     3      1.500 frame board 2: read FPGA 0 0x40004: ok",
        "     4      1.500 frame board 2: version: ok",
        "     5      1.500 frame board 2: command-99: error 0x83",
        "     6      1.500 frame: malformed",
    ]


def test_the_log_is_bounded() -> None:
    log = Log()
    client = Client(Frame("frame", log=log))

    for _ in range(10_100):
        client.send(b"")

    entries = log.entries(lambda _: True)
    assert (len(entries), entries[0].number, entries[-1].number) == (10_000, 101, 10_100)


# --- rubbish ---

_REQUESTS = st.builds(
    packet,
    st.sampled_from([0, 17, 18, 57, 58]) | st.integers(0, 0xFFFF),
    st.integers(0, 31),
    st.tuples(*[st.sampled_from([0, 1, 2, 4, 0x5C, FLAGS]) | st.integers(0, 0xFFFFFFFF)] * 3),
    st.binary(max_size=300),
    sequence=st.integers(0, 2),
    flags=st.sampled_from([0x07, 0x87, 0xA7]) | st.integers(0, 255),
    port=st.integers(0, 7),
)
_FAULTS = st.sampled_from(
    [
        "lose 50%",
        "silent",
        "error 0x84 2 times",
        "slow 1",
        "fpga-wrong once",
        "refuse-power on",
        "version 1.3.1",
    ]
)


@given(st.lists(st.binary(max_size=600) | _REQUESTS | _FAULTS, max_size=30), st.booleans())
def test_nothing_ends_a_frame(things: list[bytes | str], real_time: bool) -> None:
    client = Client(Frame("frame", real_time=real_time))

    for thing in things:
        client.now += 0.25
        if isinstance(thing, str):
            inject(client.frame, thing, board=len(things) % 2 or None)
            continue
        reply = client.send(thing)
        assert reply is None or (reply.due >= client.now and len(reply.data) >= 14)

    client.frame.faults.clear()
    client.peer = "another"
    assert client.result(0, 5) == OK
