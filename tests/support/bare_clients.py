"""The clients' side of a server without its loop: a test takes each step itself."""

from __future__ import annotations

import json
import select
import socket
import threading
from collections.abc import Collection, Mapping
from typing import Any, cast

from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._wire.running import Handler
from spalloc_server._wire.serving import Server
from spalloc_server.controller import Controller


class Safety:
    """Stands for what is written ahead: a test says which position is reached, and safe."""

    def __init__(self) -> None:
        self.position = self.safe = 0
        self.uncommitted = False

    def commit(self) -> int:
        return self.position

    def commit_and_wait(self) -> None:
        self.safe = self.position

    def settle(self) -> None:
        """Nothing is left to others."""


class BareClients(Server):
    """Clients and visitors, whose loop is the test."""

    def __init__(self, commands: Mapping[str, Handler], read_only: Collection[str] = ()) -> None:
        self.safety = Safety()
        write_ahead = cast(WriteAhead, self.safety)
        super().__init__("", 0, commands, read_only, Controller(), write_ahead=write_ahead)
        self._server_thread = threading.current_thread()
        self._ends: list[socket.socket | FarEnd] = []

    def pair(self) -> tuple[socket.socket, FarEnd]:
        """Return both ends of a TCP connection, ours first."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            theirs = socket.create_connection(listening.getsockname(), timeout=20)
            ours = listening.accept()[0]
        return self.both(ours, theirs)

    def both(self, ours: socket.socket, theirs: socket.socket) -> tuple[socket.socket, FarEnd]:
        """Return both ends ready for use, until the clients are closed."""
        ours.setblocking(False)
        far = FarEnd(theirs)
        self._ends += ours, far
        return ours, far

    def client(self) -> tuple[socket.socket, FarEnd]:
        """Return both ends of a connection that is served."""
        ours, theirs = self.pair()
        assert self._welcome(ours)
        return ours, theirs

    def turn(self, *clients: socket.socket) -> None:
        """Do with clients that have sent something all that a turn of the loop does."""
        for client in clients:
            wait_for(client)
            self._guarded(client, self._handle_commands)
        self._serve_backlog(float("inf"))
        self._answer_all()

    def close(self) -> None:
        self._lingering.close()
        for end in self._ends:
            end.close()
        self.stop_listening_to_sighup()
        self.close_polling()


class FarEnd:
    """The client's end of a connection; it waits for all that it is asked for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def end(self) -> None:
        """Say that nothing more will be sent."""
        self._connection.shutdown(socket.SHUT_WR)

    def lines(self, count: int) -> list[Any]:
        """Return so many lines."""
        return [json.loads(self._stream.readline()) for _ in range(count)]

    def take_some(self) -> None:
        """Throw away the bytes that have come so far."""
        while not self.silent and self._connection.recv(1 << 20):
            pass

    def rest(self) -> list[Any]:
        """Return all lines up to the end of the connection."""
        return [json.loads(line) for line in self._stream.readlines()]

    @property
    def silent(self) -> bool:
        """Whether nothing has come so far, not even the end."""
        return not select.select([self._connection], [], [], 0)[0]

    def close(self) -> None:
        self._stream.close()
        self._connection.close()


def wait_for(ours: socket.socket) -> None:
    """Wait until something can be read at our end of a connection."""
    assert select.select([ours], [], [], 20)[0]


def command(name: str, *args: Any) -> bytes:
    """Return a command's line."""
    return json.dumps({"command": name, "args": args}).encode() + b"\n"
