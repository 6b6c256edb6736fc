"""A connection to a spalloc server, for asyncio.

Owns one socket, the order of its replies, and the framing: a JSON object per line, in both
directions.  Notifications are handed to a callback as they arrive.  Knows nothing of the
meaning of commands.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import msgspec

#: The longest line accepted, in bytes: boards and jobs of the largest machines stay below
#: it by a factor of ten.
MAX_LINE = 1 << 28
#: Begins the path of a Unix socket, in the place of a host.
UNIX = "unix:"
#: Notifications, in the protocol's own words.
NOTIFICATIONS = ("jobs_changed", "machines_changed", "events_until")

Notified = Callable[[str, Any], None]


class ConnectionLostError(Exception):
    """The server has closed the connection, or does not answer."""


class CommandRefusedError(Exception):
    """The server has answered a command with an exception; carries its text."""


class Connection:
    """One connection: commands out, replies and notifications in.

    Parameters
    ----------
    reader, writer
        As `asyncio.open_connection` returns them.
    on_notification
        Called in the event loop with the notification's word (one of `NOTIFICATIONS`) and
        its value.
    timeout : float
        Seconds that a reply may take.

    Notes
    -----
    Use it as ``async with await Connection.open(...)``.  Any number of tasks may have
    commands under way at a time.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_notification: Notified,
        timeout: float = 20.0,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._on_notification = on_notification
        self._timeout = timeout
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._trouble: ConnectionLostError | None = None
        self._receiver = asyncio.create_task(self._receive(), name="replies")

    @classmethod
    async def open(
        cls, host: str, port: int, on_notification: Notified, timeout: float = 20.0
    ) -> Connection:
        """Connect to a server.

        Parameters
        ----------
        host, port
            Of the server; the host is ``unix:PATH`` for a Unix socket, the port then has no
            meaning.
        on_notification, timeout
            As of the class; `timeout` is also the longest that connecting may take, seconds.

        Raises
        ------
        ConnectionLostError
            If there is no server, or no answer in time.
        """
        try:
            reader, writer = await asyncio.wait_for(_connect(host, port), timeout)
        except asyncio.TimeoutError as e:
            raise ConnectionLostError(f"no connection within {timeout:g} s") from e
        except OSError as e:
            raise ConnectionLostError(e.strerror or str(e)) from e
        return cls(reader, writer, on_notification, timeout)

    async def __aenter__(self) -> Connection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; commands under way fail."""
        self._receiver.cancel()
        # Not awaited by itself: its cancellation would hide one of ours.
        await asyncio.wait([self._receiver])
        self._fail(ConnectionLostError("the connection was closed"))
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    @property
    def lost(self) -> bool:
        """Whether the connection has ended."""
        return self._trouble is not None

    async def call(self, command: str, *args: object, **kwargs: object) -> Any:
        """Send a command and wait for its reply.

        Returns
        -------
        object
            The value of ``return``, as decoded from JSON.

        Raises
        ------
        CommandRefusedError
            If the server answers with an exception.
        ConnectionLostError
            If the connection ends first, or the reply does not come within the timeout.
        """
        return (await self.call_all([(command, args, kwargs)]))[0]

    async def call_all(
        self, commands: Sequence[tuple[str, Sequence[object], dict[str, object]]]
    ) -> list[Any]:
        """Send several commands at once; the replies come in their order.

        Parameters
        ----------
        commands
            Name, positional and keyword arguments of each.

        Raises
        ------
        CommandRefusedError, ConnectionLostError
            As `call`, for the first that fails.
        """
        if self._trouble:
            raise self._trouble
        loop = asyncio.get_running_loop()
        replies: list[asyncio.Future[Any]] = [loop.create_future() for _ in commands]
        lines = [
            msgspec.json.encode({"command": name, "args": list(args), "kwargs": kwargs})
            for name, args, kwargs in commands
        ]
        self._waiting.extend(replies)
        self._writer.write(b"\n".join(lines) + b"\n")
        try:
            return list(await asyncio.wait_for(asyncio.gather(*replies), self._timeout))
        except asyncio.TimeoutError as e:
            names = commands[0][0]
            self._fail(ConnectionLostError(f"no reply to {names} within {self._timeout:g} s"))
            raise ConnectionLostError(str(self._trouble)) from e

    async def _receive(self) -> None:
        try:
            while line := await self._reader.readline():
                self._take(line)
            self._fail(ConnectionLostError("the server closed the connection"))
        except (OSError, ValueError) as e:
            # ValueError: a line that is no JSON, or longer than `MAX_LINE`.
            self._fail(ConnectionLostError(str(e)))

    def _take(self, line: bytes) -> None:
        if not line.strip():
            return
        message = msgspec.json.decode(line)
        if not isinstance(message, dict):
            raise ValueError(f"the server sent JSON that is no object: {line[:60]!r}")
        if "return" in message or "exception" in message:
            if not self._waiting:
                raise ValueError(f"the server sent a reply to no command: {line[:60]!r}")
            self._settle(self._waiting.popleft(), message)
            return
        for word in NOTIFICATIONS:
            if word in message:
                self._on_notification(word, message[word])

    @staticmethod
    def _settle(reply: asyncio.Future[Any], message: dict[str, Any]) -> None:
        if reply.done():
            return
        if "return" in message:
            reply.set_result(message["return"])
        else:
            reply.set_exception(CommandRefusedError(str(message["exception"])))

    def _fail(self, trouble: ConnectionLostError) -> None:
        self._trouble = self._trouble or trouble
        while self._waiting:
            reply = self._waiting.popleft()
            if not reply.done():
                reply.set_exception(trouble)
                # A task that was cancelled no longer looks at it.
                reply.exception()
        self._on_notification("lost", None)
        self._writer.close()


async def _connect(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if host.startswith(UNIX):
        return await asyncio.open_unix_connection(host.removeprefix(UNIX), limit=MAX_LINE)
    return await asyncio.open_connection(host, port, limit=MAX_LINE)


def address_in_words(host: str, port: int) -> str:
    """Write a server's address; the path of a Unix socket is not for readers of the pages."""
    return "the local socket" if host.startswith(UNIX) else f"{host}:{port}"
