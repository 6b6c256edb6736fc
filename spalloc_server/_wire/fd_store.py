"""systemd's file descriptor store: descriptors that survive this process.

Owns the datagrams that put descriptors in and out (FDSTORE=1, FDSTOREREMOVE=1 of sd_notify(3))
and the descriptors that the process was started with (LISTEN_FDS of sd_listen_fds(3)).  Must not
know their use.  Datagrams are sent in order and without waiting; those that the manager
does not take yet are sent later.
"""

from __future__ import annotations

import array
import errno
import logging
import os
import select
import socket
from collections import deque
from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

log = logging.getLogger(__name__)

#: The first descriptor that a service manager hands over.
_FIRST = 3
#: Name of the descriptor that tries the store.
_TRIAL = "trial"


class Inherited(NamedTuple):
    """A descriptor that the process was started with."""

    name: str
    descriptor: int


class FdStore:
    """The store of the service manager that started this process.

    Parameters
    ----------
    address : str
        Where the manager listens (NOTIFY_SOCKET): a path, or ``@`` and an abstract name.

    Raises
    ------
    OSError
        If there is no socket to be had.
    """

    def __init__(self, address: str) -> None:
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._waiting: deque[tuple[str, bytes, tuple[int, ...]]] = deque()
        self._complained = False

    def __bool__(self) -> bool:
        """Whether datagrams wait to be sent."""
        return bool(self._waiting)

    def keep(self, name: str, descriptors: Sequence[int]) -> None:
        """Put descriptors in, under one name.

        They must stay open until they are sent; `remove` takes them out of the queue.
        """
        message = f"FDSTORE=1\nFDNAME={name}\n".encode()
        self._waiting.append((name, message, tuple(descriptors)))

    def remove(self, name: str) -> None:
        """Take the descriptors with a name out."""
        self._waiting = deque(each for each in self._waiting if each[0] != name or not each[2])
        self._waiting.append((name, f"FDSTOREREMOVE=1\nFDNAME={name}\n".encode(), ()))

    def flush(self) -> bool:
        """Send as much as the manager takes now; returns whether nothing is left."""
        while self._waiting:
            _, message, descriptors = self._waiting[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            try:
                self._socket.sendmsg([message], rights if descriptors else [], 0, self._address)
            except (BlockingIOError, InterruptedError, TimeoutError):
                return False
            except OSError as e:
                if e.errno == errno.ETOOMANYREFS:
                    return False  # too many descriptors are on their way already
                if not self._complained:
                    self._complained = True
                    log.warning("the service manager keeps no connections: %s", e)
            self._waiting.popleft()
        return True

    def flush_for(self, seconds: float) -> bool:
        """Send all that waits, for some time; returns whether nothing is left."""
        self._socket.settimeout(seconds)
        try:
            return self.flush()
        finally:
            self._socket.setblocking(False)

    def takes_descriptors(self, seconds: float) -> bool:
        """Tell whether the manager has room for descriptors, by giving it one for a moment.

        A manager without room (``FileDescriptorStoreMax=0``) closes the descriptor unseen.  One
        that has not answered after some seconds is trusted.

        Raises
        ------
        OSError
            If there is no pipe to be had.
        """
        kept, given = os.pipe()
        try:
            self.keep(_TRIAL, [given])
            answered = self._answers(seconds, given)
            hung_up = select.poll()
            hung_up.register(kept, 0)
            takes = not answered or not hung_up.poll(0)
        finally:
            os.close(kept)
        self.remove(_TRIAL)
        return takes

    def _answers(self, seconds: float, given: int) -> bool:
        """Close a descriptor that was given away, and wait until the manager has read of it."""
        try:
            read, barrier = os.pipe()
        except OSError:
            os.close(given)
            raise
        try:
            # BARRIER=1 of sd_notify(3): the manager closes this one when all before it is done.
            self._waiting.append((_TRIAL, b"BARRIER=1", (barrier,)))
            sent = self.flush_for(seconds)
        finally:
            os.close(given)
            os.close(barrier)
        try:
            hung_up = select.poll()
            hung_up.register(read, 0)
            return sent and bool(hung_up.poll(1000 * seconds))
        finally:
            os.close(read)

    def close(self) -> None:
        """Send nothing more."""
        self._waiting.clear()
        self._socket.close()


def take_inherited(environ: MutableMapping[str, str]) -> list[Inherited]:
    """Return the descriptors that a service manager handed over, each name and number once.

    The variables are removed, so that no child takes them for its own, and the descriptors
    are closed in children.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    environ.pop("LISTEN_PIDFDID", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    for number in range(int(count)):
        descriptor = _FIRST + number
        try:
            os.set_inheritable(descriptor, False)
        except OSError as e:
            log.warning("descriptor %d was promised and is not there: %s", descriptor, e)
            continue
        found.append(Inherited(names[number] if number < len(names) else "", descriptor))
    return found
