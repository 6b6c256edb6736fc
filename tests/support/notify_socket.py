"""A socket that stands in for systemd's."""

from __future__ import annotations

import socket
from pathlib import Path


class NotifySocket:
    """Receives what a service tells its manager.

    Parameters
    ----------
    where : Path or str
        A path, or ``@`` and an abstract name.
    """

    def __init__(self, where: Path | str) -> None:
        self.environ = {"NOTIFY_SOCKET": str(where)}
        address = str(where)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    def __enter__(self) -> NotifySocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def received(self) -> list[str]:
        """Return the assignments that have arrived since this was last asked."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(65536, socket.MSG_DONTWAIT).decode().splitlines()
            except BlockingIOError:
                return lines

    def wait_for(self, line: str, seconds: float = 30.0) -> list[str]:
        """Wait until an assignment arrives; returns it and those before it."""
        self._socket.settimeout(seconds)
        lines: list[str] = []
        while not any(each.startswith(line) for each in lines):
            lines += self._socket.recv(65536).decode().splitlines()
        return lines
