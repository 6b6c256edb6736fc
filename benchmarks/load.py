"""Clients: prebuilt requests out, replies counted.

Owns how load is made, so that its own cost stays small beside the server's: one thread,
epoll, plain sockets, no JSON while a clock runs.  Knows nothing of what is measured.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Sequence
from typing import Any

_BUFFER = bytearray(1 << 20)
_TIMEOUT = 60.0


def request(command: str, *args: Any, **kwargs: Any) -> bytes:
    """Return a command as clients send it: one line."""
    message = {"command": command, "args": args, "kwargs": kwargs}
    return json.dumps(message).encode() + b"\n"


class Wire:
    """One client's connection."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), _TIMEOUT)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def line(self) -> dict[str, Any]:
        """Wait for one line, whatever it says."""
        while b"\n" not in self._rest:
            data = self.socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def reply(self, line: bytes) -> Any:
        """Send a request, and return what it returns; notifications are thrown away."""
        self.socket.sendall(line)
        while True:
            message = self.line()
            if "return" in message:
                return message["return"]
            if "exception" in message:
                raise RuntimeError(f"{line!r} raised {message['exception']}")

    def call(self, command: str, *args: Any, **kwargs: Any) -> Any:
        """Carry out a command, and return what it returns."""
        return self.reply(request(command, *args, **kwargs))


def sequence(wire: Wire, lines: Sequence[bytes]) -> float:
    """Send requests one after the other, each after the last one's reply; returns seconds."""
    connection = wire.socket
    began = time.perf_counter()
    for line in lines:
        connection.sendall(line)
        while not connection.recv(1 << 16).endswith(b"\n"):
            continue
    return time.perf_counter() - began


def rate(
    wires: Sequence[Wire], lines: Sequence[bytes], seconds: float, depth: int = 1
) -> tuple[int, float]:
    """Keep clients busy for a while.

    Parameters
    ----------
    wires : sequence of Wire
        Each has `depth` requests on their way at any time: 1 is a client that waits for
        each reply, more is pipelining.
    lines : sequence of bytes
        Requests, sent in turn by each client.
    seconds : float

    Returns
    -------
    (int, float)
        Replies, of all clients together, and the seconds that they took.
    """
    ring = list(lines) * (1 + depth // len(lines) + 1)
    places = len(lines)
    poll = select.epoll()
    busy: dict[int, tuple[socket.socket, list[int]]] = {}
    for number, wire in enumerate(wires):
        start = number * 7 % places
        busy[wire.socket.fileno()] = wire.socket, [start, 0]
        poll.register(wire.socket.fileno(), select.EPOLLIN)
    began = time.perf_counter()
    end, done, waiting = began + seconds, 0, depth * len(wires)
    for connection, place in busy.values():
        connection.sendall(b"".join(ring[place[0] : place[0] + depth]))
        place[0] = (place[0] + depth) % places
    while waiting:
        ready = poll.poll(_TIMEOUT)
        if not ready:
            raise TimeoutError(f"no reply within {_TIMEOUT} s")
        more = time.perf_counter() < end
        for descriptor, _ in ready:
            connection, place = busy[descriptor]
            size = connection.recv_into(_BUFFER)
            if not size:
                raise ConnectionError("the server closed the connection")
            replies = _BUFFER.count(b"\n", 0, size)
            if not replies:
                continue
            done += replies
            if not more:
                waiting -= replies
                continue
            at = place[0]
            if replies == 1:
                connection.send(ring[at])
            else:
                connection.send(b"".join(ring[at : at + replies]))
            place[0] = (at + replies) % places
    taken = time.perf_counter() - began
    poll.close()
    return done, taken


def drain(wires: Sequence[Wire], lines_each: int) -> None:
    """Wait until each of many clients has got so many lines."""
    poll = select.epoll()
    left: dict[int, tuple[socket.socket, int]] = {}
    for wire in wires:
        left[wire.socket.fileno()] = wire.socket, lines_each
        poll.register(wire.socket.fileno(), select.EPOLLIN)
    while left:
        ready = poll.poll(_TIMEOUT, len(wires))
        if not ready:
            raise TimeoutError(f"{len(left)} clients got nothing within {_TIMEOUT} s")
        for descriptor, _ in ready:
            connection, missing = left[descriptor]
            size = connection.recv_into(_BUFFER)
            if not size:
                raise ConnectionError("the server closed the connection")
            missing -= _BUFFER.count(b"\n", 0, size)
            left[descriptor] = connection, missing
            if missing <= 0:
                poll.unregister(descriptor)
                del left[descriptor]
    poll.close()
