"""A client over TCP that sends and reads what the test says."""

from __future__ import annotations

import json
import socket
import struct
from types import TracebackType
from typing import Any


class TcpClient:
    """One connection; lines that nobody asked for are kept in `notifications`."""

    def __init__(
        self,
        port: int,
        *,
        host: str = "127.0.0.1",
        source: str | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        try:
            if source is not None:
                self.socket.bind((source, 0))
            self.socket.connect((host, port))
        except OSError:
            self.socket.close()
            raise
        self.notifications: list[Any] = []
        self._unread = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def ask(self, name: str, *args: object, **kwargs: object) -> None:
        """Send a command."""
        self.send(json.dumps({"command": name, "args": args, "kwargs": kwargs}).encode() + b"\n")

    def line(self) -> Any:
        """Next line; EOFError at the end of the connection."""
        while b"\n" not in self._unread:
            data = self.socket.recv(1 << 16)
            if not data:
                raise EOFError(self._unread)
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)

    def reply(self) -> Any:
        """Next line that answers something."""
        while True:
            line = self.line()
            if "return" in line or "exception" in line:
                return line
            self.notifications.append(line)

    def notification(self) -> Any:
        """Next line that answers nothing."""
        return self.notifications.pop(0) if self.notifications else self.line()

    def call(self, name: str, *args: object, **kwargs: object) -> Any:
        """Return what a command answers; its exception is raised as RuntimeError."""
        self.ask(name, *args, **kwargs)
        reply = self.reply()
        if "exception" in reply:
            raise RuntimeError(reply["exception"])
        return reply["return"]

    def end(self) -> None:
        """Say that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def rest(self) -> list[Any]:
        """All lines up to a clean end of file; a reset raises ConnectionResetError."""
        lines = []
        while True:
            try:
                lines.append(self.line())
            except EOFError as e:
                assert e.args == (b"",)
                return lines

    def reset(self) -> None:
        """Go away rudely."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> TcpClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
