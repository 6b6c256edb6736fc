"""SCP in SDP in UDP, as a BMP hears and speaks it.

Owns the layout of the bytes and the numbers of the protocol. Must not know boards, time,
sockets, nor SpiNNMan: the server's frame threads read SpiNNMan's layout, this module the
specification's, so that one misunderstanding cannot hide on both sides.

::

    0   2            10              14                      26
    +---+------------+---------------+-----------------------+------
    | 0 | SDP header | command, seq. | arg1, arg2, arg3      | data      request
    +---+------------+---------------+-----------------------+------
    | 0 | SDP header | result, seq.  | data                              reply
    +---+------------+---------------+------------------------------
          flags, tag, destination port/cpu, source port/cpu,
          destination y, x, source y, x        (a byte each)
"""

import struct
from enum import IntEnum
from typing import NamedTuple

BMP_PORT = 17893
"""UDP port of every BMP (SpiNNaker's SCP port)."""

MAX_PACKET = 512
"""Bytes to receive of a datagram: more than any SCP packet (2 + 8 + 16 + 256) has."""

REPLY_EXPECTED = 0x87
NO_REPLY_EXPECTED = 0x07

_REQUEST = struct.Struct("<2x8B2H3I")
_REPLY = struct.Struct("<2x8B2H")
_VERSION = struct.Struct("<4BHHI")
_WORD = struct.Struct("<I")

_VERSION_IS_TEXT = 0xFFFF
_BUFFER_SIZE = 256
_BUILD_TIME = 1_400_000_000  # arbitrary, but the same in every reply
_SOFTWARE = "BC&MP/Spin5-BMP"


class Command(IntEnum):
    """The SCP commands that a BMP of the simulator carries out."""

    VERSION = 0
    LINK_READ = 17
    LINK_WRITE = 18
    POWER = 57


class Result(IntEnum):
    """The result in an SCP reply; all but `OK` are errors."""

    OK = 0x80
    LEN = 0x81
    SUM = 0x82
    CMD = 0x83
    ARG = 0x84
    PORT = 0x85
    TIMEOUT = 0x86
    ROUTE = 0x87
    CPU = 0x88
    DEAD = 0x89
    BUF = 0x8A
    P2P_NOREPLY = 0x8B
    P2P_REJECT = 0x8C
    P2P_BUSY = 0x8D
    P2P_TIMEOUT = 0x8E
    PKT_TX = 0x8F


class Malformed(ValueError):  # noqa: N818 - names the datagram
    """A datagram that is no SCP request; a BMP ignores it."""


class Request(NamedTuple):
    """An SCP request, taken apart.

    Attributes
    ----------
    header : (int, ...)
        The eight bytes of the SDP header, in their order on the wire.
    command : int
        SCP command; any 16 bit number.
    sequence : int
        16 bit number that the reply repeats.
    args : (int, int, int)
        32 bit arguments.
    data : bytes
        The bytes after the arguments.
    """

    header: tuple[int, ...]
    command: int
    sequence: int
    args: tuple[int, int, int]
    data: bytes

    @property
    def board(self) -> int:
        """Board that the request is for, 0-31: the destination's core."""
        return self.header[2] & 0x1F

    @property
    def port(self) -> int:
        """SDP port at the destination, 0-7; a BMP listens on 0."""
        return self.header[2] >> 5

    @property
    def reply_expected(self) -> bool:
        """Whether the sender's flags ask for a reply."""
        return self.header[0] & 0x80 != 0


def read_request(data: bytes) -> Request:
    """Take a datagram apart.

    Parameters
    ----------
    data : bytes
        Whole UDP payload.

    Returns
    -------
    Request
        Of any command; the arguments are not judged here.

    Raises
    ------
    Malformed
        If it is too short, does not begin with two zero bytes or has flags that SDP does not know.
    """
    if len(data) < _REQUEST.size:
        raise Malformed(f"{len(data)} bytes, an SCP request has at least {_REQUEST.size}")
    if data[:2] != b"\0\0":
        raise Malformed(f"begins with {data[:2].hex()}, not with two zero bytes")
    fields = _REQUEST.unpack_from(data)
    # Bit 5 asks not to route the packet from chip to chip, which a BMP does not do anyway.
    if fields[0] & ~0x20 not in (REPLY_EXPECTED, NO_REPLY_EXPECTED):
        raise Malformed(f"SDP flags {fields[0]:#04x}")
    return Request(fields[:8], fields[8], fields[9], fields[10:13], data[_REQUEST.size :])


def write_reply(request: Request, result: int, data: bytes = b"") -> bytes:
    """Bytes of the reply to a request: addresses swapped, sequence repeated.

    Parameters
    ----------
    request : Request
        The request that is answered.
    result : int
        16 bit result, see `Result`.
    data : bytes
        The bytes after the header.

    Returns
    -------
    bytes
        Whole UDP payload.
    """
    _, tag, to, sender, to_y, to_x, sender_y, sender_x = request.header
    return (
        _REPLY.pack(
            NO_REPLY_EXPECTED,
            tag,
            sender,
            to,
            sender_y,
            sender_x,
            to_y,
            to_x,
            result,
            request.sequence,
        )
        + data
    )


def version_data(board: int, version: tuple[int, int, int]) -> bytes:
    """Compose the data of a reply to `Command.VERSION`.

    Parameters
    ----------
    board : int
        The board that says it.
    version : (major, minor, patch)
        Software before 2.0.0 said its version as a number, 100 * major + minor, software since
        as text.

    Returns
    -------
    bytes
    """
    major, minor, patch = version
    if major < 2 and minor < 100 and not patch:
        number, text = 100 * major + minor, f"{_SOFTWARE}\0"
    else:
        number, text = _VERSION_IS_TEXT, f"{_SOFTWARE}\0{major}.{minor}.{patch}\0"
    return _VERSION.pack(board, board, 0, 0, _BUFFER_SIZE, number, _BUILD_TIME) + text.encode()


def write_word(value: int) -> bytes:
    """Four bytes of a 32 bit register."""
    return _WORD.pack(value)


def read_word(data: bytes) -> int:
    """Value of a 32 bit register from its four bytes."""
    (value,) = _WORD.unpack(data)
    assert isinstance(value, int)
    return value
