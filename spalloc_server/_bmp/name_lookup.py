"""Looks host names up in such a way that the wait can be given up.

Owns the threads that wait for the resolver. Knows nothing of the use of an address.
"""

import socket
import threading
from collections.abc import Callable

from spalloc_server._bmp.interface import shortage

#: Longest time, in seconds, for which a wait is not interrupted.
LONGEST_NAP = 0.5


def ipv4_address(host: str, check: Callable[[], object]) -> str:
    """IPv4 address of a host.

    Parameters
    ----------
    host : str
        Name or address.
    check : callable
        Called without arguments, at least once every `LONGEST_NAP`; an exception of its
        ends the wait.

    Returns
    -------
    str
        Four numbers with dots.

    Raises
    ------
    OSError
        If the host is not known.
    """
    try:
        socket.inet_pton(socket.AF_INET, host)
    except OSError:
        look_up = _LookUp(host)
        look_up.start()
        while not look_up.done.wait(LONGEST_NAP):
            check()
        return look_up.address()
    return host


def no_descriptors() -> str | None:
    """Find out whether a failed look-up may be due to a lack of file descriptors.

    The resolver does not say so: it tells of a host that it could not find.

    Returns
    -------
    str or None
        The lack, for people; None if a descriptor can be had.
    """
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()
    except OSError as error:
        return shortage(error)
    return None


class _LookUp(threading.Thread):
    """Asks the resolver for one host; a daemon, as nothing can interrupt a resolver."""

    def __init__(self, host: str) -> None:
        super().__init__(name=f"resolve-{host}", daemon=True)
        self.done = threading.Event()
        self._host = host
        self._address: str | None = None
        self._error: OSError | UnicodeError | None = None

    def run(self) -> None:
        """Ask; ends when the resolver answers."""
        try:
            self._address = socket.gethostbyname(self._host)
        except (OSError, UnicodeError) as error:
            self._error = error
        finally:
            self.done.set()

    def address(self) -> str:
        """Give the result once `done` is set, or raise the resolver's error."""
        if self._address is None:
            raise OSError(f"{self._host}: {self._error}") from self._error
        return self._address
