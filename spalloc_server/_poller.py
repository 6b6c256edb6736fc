"""One way to wait for descriptors, whichever the system has.

Owns the difference between `select.epoll` and `select.poll`. Must not know the
owners of the descriptors. On Linux the event bits of both are the same numbers.
"""

import os
import select
from typing import Protocol

from spalloc_server import _clock

POLLIN = select.POLLIN
POLLOUT = select.POLLOUT
POLLNVAL = select.POLLNVAL

#: Seconds; a client that was heard of again this soon is likely to be once more.  A client on this
#: computer that sends as soon as it is answered takes 20 to 100 us, most of it to be woken.
_SHORT = 200e-6
#: How often is looked before the thread goes to sleep; together about 50 us.
_LOOKS = 40


class Poller(Protocol):
    """The part of `select.poll` that is used, with waits in milliseconds."""

    def register(self, fd: int, eventmask: int, /) -> None:
        """Wait for events of a descriptor; if known, as `modify`."""

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Wait for other events of a descriptor (OSError if unknown)."""

    def unregister(self, fd: int, /) -> None:
        """Wait for a descriptor no longer (KeyError or OSError if unknown)."""

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Descriptors with their events; wait at most `timeout` milliseconds for one."""


class EpollPoller:
    """`select.epoll` behind the interface of `select.poll`.

    Only ready descriptors cost anything, however many are waited for.

    After a short wait the next one begins with looking again and again, for about
    as long as it takes to put a thread to sleep and to wake it: a client that sends
    its next command as soon as it is answered finds us awake.  Another thread that wants
    the processor, or the interpreter, gets it between two looks.
    """

    def __init__(self) -> None:
        self._epoll = select.epoll()
        #: Upper bound of how many can be ready at once: all are to be told of in one turn.
        self._registered: set[int] = set()
        #: Whether the last wait was short.
        self._brisk = False

    def register(self, fd: int, eventmask: int, /) -> None:
        """Wait for events of a descriptor; if known, as `modify`."""
        try:
            self._epoll.register(fd, eventmask)
        except FileExistsError:
            self._epoll.modify(fd, eventmask)
        self._registered.add(fd)

    def modify(self, fd: int, eventmask: int, /) -> None:
        """Wait for other events of a descriptor.

        Raises
        ------
        OSError
            If it is not waited for.
        """
        self._epoll.modify(fd, eventmask)

    def unregister(self, fd: int, /) -> None:
        """Wait for a descriptor no longer.

        Raises
        ------
        OSError
            If it is not waited for, or was closed.
        """
        self._registered.discard(fd)
        self._epoll.unregister(fd)

    def poll(self, timeout: float | None = None, /) -> list[tuple[int, int]]:
        """Wait for events.

        Parameters
        ----------
        timeout : float or None
            Milliseconds; None waits for ever.

        Returns
        -------
        [(descriptor, events), ...]
            All that are ready.
        """
        most = len(self._registered) or 1
        if self._brisk and timeout != 0:
            for _ in range(_LOOKS):
                events = self._epoll.poll(0, most)
                if events:
                    return events
                os.sched_yield()
        began = _clock.monotonic()
        events = self._epoll.poll(-1 if timeout is None else timeout / 1000, most)
        self._brisk = bool(events) and _clock.monotonic() - began <= _SHORT
        return events

    def close(self) -> None:
        """Give the epoll descriptor back; may be called twice."""
        self._epoll.close()


def new_poller() -> Poller:
    """Empty poller of the best kind there is."""
    return EpollPoller() if hasattr(select, "epoll") else select.poll()
