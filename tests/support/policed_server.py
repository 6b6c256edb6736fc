"""A server under a policy in this process, and clients from addresses of the test's choice."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from spalloc_server.server import SpallocServer
from tests.access.test_proxy_header import header, tls
from tests.support.tcp_client import TcpClient

CONFIG = """
m = Machine.with_standard_ips(
    "m", base_ip="10.1.0.0",
    board_locations={{(0, 0, z): (0, 0, z) for z in range(3)}},
)
configuration = Configuration(machines=[m], ip="127.0.0.1", seconds_before_free=0)
policy = {policy}
"""
#: ``start(policy, **options)`` starts a server under a policy that is written in Python.
Start = Callable[..., SpallocServer]


class Client(TcpClient):
    """A client from an address of this computer, or of a Unix socket."""

    def __init__(
        self, server: SpallocServer, source: str = "127.0.0.1", first: bytes = b""
    ) -> None:
        if source.startswith("/"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(20)
            self.socket.connect(source)
        else:
            self.socket = socket.create_connection(
                ("127.0.0.1", server.port), timeout=20, source_address=(source, 0)
            )
        self.notifications: list[Any] = []
        self._unread = b""
        if first:
            self.send(first)

    def __enter__(self) -> Client:
        return self

    def refused(self, name: str, *args: object, **kwargs: object) -> str:
        """Return the words with which a command is refused."""
        self.ask(name, *args, **kwargs)
        told = self.reply()["exception"]
        assert isinstance(told, str)
        return told


def proxied(address: str, name: bytes | None = None) -> bytes:
    """Return the header with which a proxy hands on a client, with a certificate if named."""
    body = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + bytes([1, 2, 3, 4])
    return header(body + (b"" if name is None else tls(name)))
