"""Loopback addresses for simulated frames.

``127.0.0.0/8`` is all local on Linux, so each frame has an address of its own, all on the BMP's
port. Owns the choice and the bound socket; must not know frames.
"""

import errno
import ipaddress
import os
import socket
from collections.abc import Iterator

from spalloc_server._simulator.packets import BMP_PORT

_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")

# Low addresses are left to people, and to configurations that name them.
_FIRST = int(ipaddress.IPv4Address("127.32.0.1"))
_LAST = int(ipaddress.IPv4Address("127.255.255.254"))
_STEP = 4096  # addresses between processes of neighbouring ids; arbitrary
_TRIES = 2 * _STEP

_RECEIVE_BUFFER = 1 << 18  # bytes; a frame's peers wait for each reply, so this is plenty


def is_loopback(host: str) -> bool:
    """Whether a host is an address under ``127.0.0.0/8`` (names are not looked up)."""
    try:
        return ipaddress.IPv4Address(host) in _LOOPBACK
    except ValueError:
        return False


def bind(address: str) -> socket.socket:
    """UDP socket at a loopback address, on the BMP's port.

    Parameters
    ----------
    address : str
        ``127.x.y.z``.

    Returns
    -------
    socket
        Non-blocking.

    Raises
    ------
    ValueError
        If it is not a loopback address.
    OSError
        If it cannot be bound, e.g. EADDRINUSE.
    """
    if not is_loopback(address):
        raise ValueError(f"{address!r} is not a loopback address (127.x.y.z)")
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        bound.bind((address, BMP_PORT))
    except OSError:
        bound.close()
        raise
    return bound


class FreeAddresses:
    """Finds free loopback addresses.

    It begins at a place that depends on the process, so that several run side by side.
    """

    def __init__(self) -> None:
        self._candidates = self._from(os.getpid())

    @staticmethod
    def _from(pid: int) -> Iterator[str]:
        span = _LAST - _FIRST + 1
        places = (_FIRST + (pid * _STEP + offset) % span for offset in range(span))
        return map(str, map(ipaddress.IPv4Address, places))

    def bind_next(self) -> tuple[str, socket.socket]:
        """Bind the next free address.

        Returns
        -------
        (address, socket)
            As of `bind`.

        Raises
        ------
        OSError
            EADDRINUSE if thousands in a row are taken (somebody sits on the port at all
            addresses); any other failure at once.
        """
        for _, address in zip(range(_TRIES), self._candidates, strict=False):
            try:
                return address, bind(address)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
        raise OSError(errno.EADDRINUSE, f"no free loopback address for UDP port {BMP_PORT}")
