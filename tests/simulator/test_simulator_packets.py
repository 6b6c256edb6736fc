"""The simulator's packets against SpiNNMan's: requests recorded, replies read by SpiNNMan."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spinnman.messages.scp.enums import SCPResult
from spinnman.messages.scp.impl import BMPGetVersion, ReadFPGARegister

from spalloc_server._simulator import packets
from spalloc_server._simulator.faults import parse_fault
from spalloc_server._simulator.frame import Frame
from spalloc_server._simulator.packets import Malformed, Result
from tests.support.simulator_recording import MADE, RECORDED, make, record, recorded

# 2 zero bytes; flags, tag, to, from, and no chip; result, sequence.
_TO_23 = "000007ffff1700000000"


def _answer(frame: Frame, packet: bytes) -> bytes:
    reply = frame.receive(packet, "peer", 0.0)
    assert reply is not None
    return reply.data


def test_spinnman_still_sends_what_was_recorded() -> None:
    assert record() == json.loads(RECORDED.read_text())


@pytest.mark.parametrize(
    ("name", "board", "command", "args", "data"),
    [
        ("version of board 0", 0, 0, (0, 0, 0), ""),
        ("version of board 23", 23, 0, (0, 0, 0), ""),
        ("power on board 0", 0, 57, (1, 1, 0), ""),
        ("power on boards 1, 2 and 23", 0, 57, (1, 1 << 1 | 1 << 2 | 1 << 23, 0), ""),
        ("power on boards 0 and 3, 2 s apart", 0, 57, (2000 << 16 | 1, 0b1001, 0), ""),
        ("power off all boards", 0, 57, (0, (1 << 24) - 1, 0), ""),
        ("read flags of FPGA 2 of board 23", 23, 17, (0x40004, 4, 2), ""),
        ("read stop of east of board 1", 1, 17, (0x5C, 4, 0), ""),
        ("stop north_east of board 2", 2, 18, (0x1005C, 4, 2), "01000000"),
        ("run south of board 0", 0, 18, (0x1005C, 4, 0), "00000000"),
        ("write a whole word", 23, 18, (0x5C, 4, 1), "efcdab89"),
    ],
)
def test_a_recorded_request_is_understood(
    name: str, board: int, command: int, args: tuple[int, int, int], data: str
) -> None:
    request = packets.read_request(recorded(name))

    assert request.board == board
    assert request.port == 0
    assert request.reply_expected
    assert request.command == command
    assert request.sequence == 0x1200 + list(MADE).index(name)
    assert request.args == args
    assert request.data.hex() == data


def test_the_reply_to_version_byte_for_byte() -> None:
    reply = _answer(Frame("frame"), recorded("version of board 23"))

    assert reply.hex() == (
        _TO_23 + "80000112"
        # p, physical p, y, x; 256 bytes; version as text; build time
        "17170000"
        "0001"
        "ffff"
        "004e7253" + b"BC&MP/Spin5-BMP\x002.1.0\x00".hex()
    )


def test_the_reply_to_version_of_an_old_bmp_byte_for_byte() -> None:
    frame = Frame("frame")
    frame.faults.inject(None, parse_fault(["version", "1.31.0"]))

    reply = _answer(frame, recorded("version of board 23"))

    assert reply.hex() == (
        _TO_23 + "800001121717000000018300004e7253" + b"BC&MP/Spin5-BMP\0".hex()
    )


def test_the_replies_to_power_and_registers_byte_for_byte() -> None:
    frame = Frame("frame")

    replies = [
        _answer(frame, recorded(name)).hex()
        for name in (
            "power on boards 1, 2 and 23",
            "read flags of FPGA 2 of board 23",
            "write a whole word",
            "power off all boards",
        )
    ]

    assert replies == [
        "000007ffff000000000080000312",
        _TO_23 + "8000061232000000",
        _TO_23 + "80000a12",
        "000007ffff000000000080000512",
    ]


def test_an_error_byte_for_byte() -> None:
    frame = Frame("frame", boards=1)

    reply = _answer(frame, recorded("version of board 23"))

    assert reply.hex() == _TO_23 + "88000112"


@pytest.mark.parametrize("version", [(2, 1, 0), (1, 3, 1), (1, 31, 0), (0, 1, 0), (3, 100, 7)])
def test_spinnman_reads_the_version(version: tuple[int, int, int]) -> None:
    frame = Frame("frame")
    frame.faults.inject(None, parse_fault(["version", ".".join(map(str, version))]))

    response = BMPGetVersion(23).get_scp_response()
    response.read_bytestring(_answer(frame, recorded("version of board 23")), 2)

    assert response.version_info.version_number == version
    assert response.version_info.hardware == "Spin5-BMP"


def test_spinnman_reads_registers() -> None:
    frame = Frame("frame")
    _answer(frame, recorded("power on boards 1, 2 and 23"))

    response = ReadFPGARegister(2, 0x40004, 23).get_scp_response()
    response.read_bytestring(_answer(frame, recorded("read flags of FPGA 2 of board 23")), 2)

    assert response.fpga_register & 3 == 2


@pytest.mark.parametrize("name", list(MADE))
def test_spinnman_takes_the_reply_to_each_request(name: str) -> None:
    response = make(name).get_scp_response()

    response.read_bytestring(_answer(Frame("frame"), recorded(name)), 2)


def test_results_are_those_of_spinnman() -> None:
    assert {f"RC_{code.name}": int(code) for code in Result} == {
        code.name: code.value for code in SCPResult
    }


@pytest.mark.parametrize(
    ("packet", "what"),
    [
        (b"", "0 bytes"),
        (recorded("version of board 0")[:-1], "25 bytes"),
        (b"\1" + recorded("version of board 0")[1:], "0100"),
        (recorded("version of board 0")[:2] + b"\3" + recorded("version of board 0")[3:], "0x03"),
    ],
)
def test_what_is_no_request_is_malformed(packet: bytes, what: str) -> None:
    with pytest.raises(Malformed, match=what):
        packets.read_request(packet)


@pytest.mark.parametrize("flags", [0x87, 0xA7, 0x07, 0x27])
def test_all_flags_of_sdp_are_known(flags: int) -> None:
    packet = bytearray(recorded("version of board 0"))
    packet[2] = flags

    assert packets.read_request(bytes(packet)).reply_expected == bool(flags & 0x80)


@given(st.integers(0, 0xFFFFFFFF))
def test_words_come_back(value: int) -> None:
    assert packets.read_word(packets.write_word(value)) == value


def test_nothing_is_shared_with_the_frame_threads() -> None:
    code = (
        "import sys, spalloc_server._simulator.main, spalloc_server._simulator\n"
        "print(*sorted(n for n in sys.modules if n.startswith(('spinn', 'spalloc'))))"
    )

    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout

    allowed = {
        "spalloc_server",
        "spalloc_server._clock",
        "spalloc_server._wire",
        "spalloc_server._wire.control_socket",
        "spalloc_server._programs",
        "spalloc_server._programs.output",
        "spalloc_server._programs.parser",
        "spalloc_server._version",
    }
    others = {
        name for name in out.split() if not name.startswith("spalloc_server._simulator")
    } - allowed
    assert not others
