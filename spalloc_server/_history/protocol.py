"""A small client of the server's protocol, for one thread.

Owns a connection and its lines.  Knows no command's meaning.
"""

from __future__ import annotations

import ipaddress
import json
import select
import socket
import time
from collections.abc import Iterable
from types import TracebackType
from typing import Any

#: The server's port unless told otherwise.
DEFAULT_PORT = 22244
#: Seconds to wait for a connection, or an answer.
TIMEOUT = 20.0
#: The longest line that is read; the server's replies are 1 MiB at most, escapes apart.
_LONGEST = 64 << 20


class ProtocolError(Exception):
    """An answer that is none, or a refusal; for people."""


def server_address(text: str) -> tuple[str, int]:
    """Read HOST, HOST:PORT, [HOST] or [HOST]:PORT; an IPv6 address may stand without brackets.

    Raises
    ------
    ValueError
        If it is none of these.
    """
    host, separator, port = text.rpartition(":")
    if not separator or text.endswith("]") or _is_ipv6(text):
        host, port = text, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no server, expected HOST or HOST:PORT")
    return host, int(port)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


class Client:
    """A connection to a server.

    Parameters
    ----------
    address : (host, port)
    timeout : float
        Seconds to wait for the connection, and for each answer.

    Raises
    ------
    OSError
        If there is no connection.
    """

    def __init__(self, address: tuple[str, int], timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._socket = socket.create_connection(address, timeout)
        self._lines: list[bytes] = []
        self._rest = bytearray()
        self._notices: list[dict[str, Any]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def call(self, command: str, *args: Any, **kwargs: Any) -> Any:
        """Send a command and return the answer.

        Raises
        ------
        ProtocolError
            If the server refuses it, or its answer is none.
        OSError
            If the connection is lost, or nothing comes in time.
        """
        request = {"command": command, "args": args, "kwargs": kwargs}
        self._socket.settimeout(self._timeout)
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._message(deadline)
            if "return" in message:
                return message["return"]
            if "exception" in message:
                raise ProtocolError(f"{command}: {message['exception']}")
            self._notices.append(message)

    def wait(self, timeout: float, others: Iterable[Any] = ()) -> list[dict[str, Any]]:
        """Wait for notices of the server.

        Parameters
        ----------
        timeout : float
            Seconds.
        others : iterable
            Files that end the waiting when they can be read.

        Returns
        -------
        list of dict
            The notices since the last time; none if the time is over, or another file ended it.

        Raises
        ------
        ProtocolError, OSError
            As of `call`.
        """
        if not self._notices and not self._lines:
            readable, _, _ = select.select([self._socket, *others], [], [], max(0.0, timeout))
            if self._socket in readable:
                self._receive(time.monotonic() + self._timeout)
        while self._lines:
            self._notices.append(self._message(time.monotonic()))
        told, self._notices = self._notices, []
        return told

    def _message(self, deadline: float) -> dict[str, Any]:
        while not self._lines:
            self._receive(deadline)
        line = self._lines.pop(0)
        try:
            message = json.loads(line)
        except ValueError as e:
            raise ProtocolError(f"the server sent {line[:80]!r}, which is no JSON") from e
        if not isinstance(message, dict):
            raise ProtocolError(f"the server sent {line[:80]!r}, which is no object")
        return message

    def _receive(self, deadline: float) -> None:
        self._socket.settimeout(max(0.001, deadline - time.monotonic()))
        data = self._socket.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the server closed the connection")
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > _LONGEST:
            raise ProtocolError(f"the server sent a line of more than {_LONGEST >> 20} MiB")
        self._lines += [line for line in lines if line.strip()]
