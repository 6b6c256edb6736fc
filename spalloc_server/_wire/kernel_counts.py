"""How many bytes the kernel has moved over a TCP connection.

The kernel counts bytes that it received and bytes that the peer acknowledged.  Less the bytes
that are still to be read, and with those that are still to be acknowledged, these are the bytes
that all processes together have read and written since the connection began, save for a constant.

Source: ``struct tcp_info`` of linux/tcp.h (bytes_acked and bytes_received since Linux 4.2), and
tcp(7) for SIOCINQ (FIONREAD) and SIOCOUTQ (TIOCOUTQ).
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from typing import NamedTuple

#: Places of tcpi_state, tcpi_bytes_acked and tcpi_bytes_received in the structure.
_STATE, _ACKED, _RECEIVED, _SIZE = 0, 120, 128, 136
#: The peer has ended its side: its FIN is counted as a byte received.
_CLOSE_WAIT = 8
#: Readings that may be disturbed by traffic before it is given up. # arbitrary
_TRIES = 5


class Counts(NamedTuple):
    """Bytes read and written so far, each but for a constant of the connection."""

    read: int
    written: int


def counts(client: socket.socket) -> Counts:
    """Read the counts of a connection.

    Raises
    ------
    OSError
        If it is no TCP connection, the kernel does not count, or traffic never pauses.
    """
    for _ in range(_TRIES):
        before = _info(client)
        unread, unsent = waiting(client, termios.FIONREAD), waiting(client, termios.TIOCOUTQ)
        if _info(client) == before:
            return Counts(before.read - unread, before.written + unsent)
    raise OSError("the counts of a connection do not come to rest")


def waiting(client: socket.socket, kind: int) -> int:
    """Return how many bytes wait in a socket, to be read or to be acknowledged.

    Raises
    ------
    OSError
        If the socket is closed.
    """
    (count,) = struct.unpack("i", fcntl.ioctl(client, kind, bytes(4)))
    assert isinstance(count, int)
    return count


def _info(client: socket.socket) -> Counts:
    info = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _SIZE)
    if len(info) < _SIZE:
        raise OSError("the kernel does not count the bytes of connections")
    (acked,) = struct.unpack_from("=Q", info, _ACKED)
    (received,) = struct.unpack_from("=Q", info, _RECEIVED)
    return Counts(received - (info[_STATE] == _CLOSE_WAIT), acked)
