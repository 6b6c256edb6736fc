"""Which channels are ready: the bottom of the server's loop.

Owns the poll object and the difference between `select.epoll` and `select.poll`, the table of
channels by descriptor, the wake-up socket pair and listening sockets. Must not know the bytes of
a channel, nor the work of a server that is woken.
"""

import logging
import math
import os
import select
import socket
import threading
from collections.abc import Iterator
from typing import Protocol

from spalloc_server import _clock

_log = logging.getLogger(__name__)

# The event bits of `select.epoll` on Linux are the same numbers.
POLLIN = select.POLLIN
POLLOUT = select.POLLOUT
POLLNVAL = select.POLLNVAL

#: Linux takes 278 one-byte sends into a socket pair, so one read drains it.
_DRAIN_BYTES = 4096
#: Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn.
BACKLOG = 4096
#: Seconds; a client that was heard of again this soon is likely to be once more.  A client on this
#: computer that sends as soon as it is answered takes 20 to 100 us, most of it to be woken.
_SHORT = 200e-6
#: How often is looked before the thread goes to sleep; together about 50 us.
_LOOKS = 40


class Channel(Protocol):
    """A socket, or anything else with a descriptor, to be waited for."""

    def fileno(self) -> int:
        """Descriptor, or -1 if closed."""


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


class PollingServerCore:
    """Waits for channels, and can be woken.

    One thread, the loop's, uses it; only `wake` is for all others. `_fdmap`
    {descriptor: channel} and `_poll` (as `select.poll`) are looked up at each
    use and may be replaced or filled from outside.
    """

    def __init__(self) -> None:
        self._poll: Poller = new_poller()
        self._fdmap: dict[int, Channel] = {}
        #: Channels that are not listened to, and until when (`_clock.monotonic`).
        self._paused: dict[Channel, float] = {}
        #: Guards the sending end against being closed in the middle of a send, which
        #: would reach the new holder of its descriptor. Re-entrant, for signal handlers.
        self._wake_lock = threading.RLock()
        self._notify_send, self._notify_recv = socket.socketpair()
        self._notify_send.setblocking(False)
        self._notify_recv.setblocking(False)
        self.register_channel(self._notify_recv)

    def close_polling(self) -> None:
        """Close all channels still registered, the wake-up and the poll object.

        The loop has ended by then. May be called twice.
        """
        with self._wake_lock:
            self._notify_send.close()
        for channel in list(self._fdmap.values()):
            self.unregister_channel(channel)
            if isinstance(channel, socket.socket):
                channel.close()
        self._notify_recv.close()
        if hasattr(self._poll, "close"):
            self._poll.close()

    # --- any thread, and signal handlers ---

    def wake(self) -> None:
        """End the loop's waiting: its queues have something in them.

        Says only that, never how much; harmless after closing.
        """
        with self._wake_lock:
            if self._notify_send.fileno() < 0:
                return
            try:
                self._notify_send.send(b"w")
            except BlockingIOError:
                return  # Full of wakes that the loop has yet to read: awake already.

    # --- loop thread only ---

    def register_channel(self, channel: Channel) -> None:
        """Wait for a channel to be readable from now on.

        Parameters
        ----------
        channel : Channel
            Open; registering it again has only its input waited for.

        Raises
        ------
        ValueError
            If the channel is closed.
        """
        descriptor = channel.fileno()
        if descriptor < 0:
            raise ValueError(f"channel {channel!r} is closed: expected an open one")
        self._fdmap[descriptor] = channel
        self._paused.pop(channel, None)
        self._poll.register(descriptor, POLLIN)

    def unregister_channel(self, channel: Channel) -> None:
        """Wait for a channel no longer; unknown and closed ones are fine.

        Best before closing it, while it still knows its descriptor.
        """
        self._paused.pop(channel, None)
        descriptor = self._descriptor_of(channel)
        if descriptor is not None:
            del self._fdmap[descriptor]
            self._forget(descriptor)

    def watch(self, channel: Channel, events: int) -> bool:
        """Wait for other events of a channel.

        Parameters
        ----------
        channel : Channel
        events : int
            `POLLIN`, `POLLOUT`, both, or 0 for a hang-up alone.

        Returns
        -------
        bool
            False if the channel is not registered, closed or paused; nothing happens then.
        """
        descriptor = channel.fileno()
        if self._fdmap.get(descriptor) is not channel or channel in self._paused:
            return False
        try:
            self._poll.modify(descriptor, events)
        except FileNotFoundError:  # Put into `_fdmap` from outside.
            self._poll.register(descriptor, events)
        return True

    def pause_channel(self, channel: Channel, seconds: float) -> None:
        """Leave a channel alone for a while; it stays registered.

        Parameters
        ----------
        channel : Channel
            Nothing happens if it is not registered.
        seconds : float
            After which it is waited for again, unless `resume_channel` comes first.
        """
        descriptor = self._descriptor_of(channel)
        if descriptor is not None:
            self._paused[channel] = _clock.monotonic() + seconds
            self._forget(descriptor)

    def resume_channel(self, channel: Channel) -> None:
        """Wait for a paused channel again; others are left as they are."""
        if self._paused.pop(channel, None) is not None:
            descriptor = channel.fileno()
            if self._fdmap.get(descriptor) is channel:
                self._poll.register(descriptor, POLLIN)

    def ready_channels(self, timeout_check_interval: float | None) -> Iterator[Channel]:
        """Wait once, then hand out the channels that can be read.

        Parameters
        ----------
        timeout_check_interval : float or None
            Longest wait in seconds; None waits for ever.

        Yields
        ------
        Channel
            Readable, hung up or broken; the wake-up is not among them. A channel that is
            unregistered before its turn is left out, also if something new has got
            its descriptor. Channels that only take output go to `_channel_writable`.
        """
        try:
            events = self._poll.poll(self._wait_ms(timeout_check_interval))
        except InterruptedError:
            events = []
        if self._paused:
            self._resume_due()
        # The channels are looked up before any of them is handled, since handling one may
        # close another, and a third may be given its number.
        ready = []
        wake = self._notify_recv.fileno()
        for fd, event in events:
            if fd == wake:
                self._drain_wakes()
            else:
                ready.append((fd, event, self._fdmap.get(fd)))
        for fd, event, channel in ready:
            if channel is None:
                self._drop_stray(fd)
                continue
            if event == POLLIN:  # as most are
                if self._fdmap.get(fd) is channel:
                    yield channel
                continue
            if event & POLLOUT and self._fdmap.get(fd) is channel:
                self._channel_writable(channel)
            if event & ~POLLOUT and self._fdmap.get(fd) is channel:
                if event & POLLNVAL:
                    # Closed behind our back; reading it will tell its owner.
                    self._forget(fd)
                yield channel

    def _channel_writable(self, channel: Channel) -> None:
        """Take up sending to a channel again; to be overridden.

        Called in the loop's thread from within `ready_channels`, for channels that are
        watched for `POLLOUT`.
        """
        self.watch(channel, POLLIN)

    def _open_server_socket(self, ipaddress: str, port: int) -> socket.socket:
        """Listen, and wait for connections.

        Parameters
        ----------
        ipaddress : str
            Host or address of this computer; empty for all of its IPv4 addresses.
        port : int
            TCP; 0 lets the kernel choose.

        Returns
        -------
        socket.socket
            Registered, non-blocking.

        Raises
        ------
        OSError
            If it cannot be had; nothing is left open.
        """
        family = socket.AF_INET6 if ":" in ipaddress else socket.AF_INET
        server_socket = socket.socket(family, socket.SOCK_STREAM)
        try:
            server_socket.setblocking(False)
            server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # All of IPv6 leaves the port of IPv4 to another socket.
                server_socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server_socket.bind((ipaddress, port))
            server_socket.listen(BACKLOG)
            self.register_channel(server_socket)
        except BaseException:
            server_socket.close()
            raise
        return server_socket

    # --- helpers, loop thread only ---

    def _descriptor_of(self, channel: Channel) -> int | None:
        """Descriptor that a channel is registered under, also after it was closed."""
        descriptor = channel.fileno()
        if self._fdmap.get(descriptor) is channel:
            return descriptor
        # A closed channel no longer knows its own; rare, so a search will do.
        return next((fd for fd, known in self._fdmap.items() if known is channel), None)

    def _forget(self, descriptor: int) -> None:
        try:
            self._poll.unregister(descriptor)
        except (KeyError, TypeError, ValueError, OSError) as exc:
            # Closed, and so gone by itself, or never there; channels that other programs put into
            # the table may have no number at all.
            _log.debug("Descriptor %s was not waited for: %s", descriptor, exc)

    def _drop_stray(self, descriptor: int) -> None:
        """Stop waiting for a descriptor without channel, which would wake the loop for ever."""
        if descriptor not in self._fdmap:
            self._forget(descriptor)

    def _wait_ms(self, seconds: float | None) -> int | None:
        """Whole milliseconds to wait, rounded up so that a deadline is past afterwards."""
        if self._paused:
            until_due = max(0.0, min(self._paused.values()) - _clock.monotonic())
            seconds = until_due if seconds is None else min(seconds, until_due)
        if seconds is None:
            return None
        if seconds <= 0.0:
            return 0
        return math.ceil(seconds * 1000) if seconds < 1e6 else 10**9

    def _resume_due(self) -> None:
        now = _clock.monotonic()
        for channel in [channel for channel, due in self._paused.items() if due <= now]:
            self.resume_channel(channel)

    def _drain_wakes(self) -> None:
        try:
            self._notify_recv.recv(_DRAIN_BYTES)
        except BlockingIOError:
            return  # Someone replaced the poll object by one that reports as it likes.
