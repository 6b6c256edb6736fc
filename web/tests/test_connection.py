"""The connection to the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from spalloc_web._facility.connection import (
    CommandRefusedError,
    Connection,
    ConnectionLostError,
)


class Peer:
    """The server's end of one connection; tests read and write its bytes."""

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.here = asyncio.Event()
        self.port = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.here.set()

    async def read(self) -> Any:
        return json.loads(await self.reader.readline())

    def send(self, data: bytes) -> None:
        self.writer.write(data)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    made = Peer()
    server = await asyncio.start_server(made.accept, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    yield made
    server.close()
    if made.here.is_set():
        made.writer.close()
    await server.wait_closed()


async def connect(peer: Peer, notes: list[Any] | None = None, timeout: float = 20) -> Connection:
    seen: list[Any] = [] if notes is None else notes
    connection = await Connection.open(
        "127.0.0.1", peer.port, lambda word, value: seen.append((word, value)), timeout
    )
    await peer.here.wait()
    return connection


async def test_a_command_is_a_line_of_json_and_gets_its_reply(peer: Peer) -> None:
    async with await connect(peer) as connection:
        reply = asyncio.create_task(connection.call("where_is", 1, machine="m"))

        call = {"command": "where_is", "args": [1], "kwargs": {"machine": "m"}}
        assert await peer.read() == call
        peer.send(b'{"return": [1, 2]}\n')
        assert await reply == [1, 2]


async def test_replies_belong_to_commands_in_their_order(peer: Peer) -> None:
    async with await connect(peer) as connection:
        replies = asyncio.create_task(
            connection.call_all([("a", (), {}), ("b", (), {}), ("c", (), {})])
        )
        for name in "abc":
            assert (await peer.read())["command"] == name

        peer.send(b'{"return": "A"}\n{"return": "B"}\n{"return": "C"}\n')

        assert await replies == ["A", "B", "C"]


async def test_bytes_may_come_one_at_a_time_with_notifications_between(peer: Peer) -> None:
    notes: list[Any] = []
    async with await connect(peer, notes) as connection:
        reply = asyncio.create_task(connection.call("version"))
        await peer.read()

        text = '{"jobs_changed": [3]}\r\n\n{"return": "1.1.0 é ü"}\n{"events_until": 7}\n'
        for byte in text.encode():
            peer.send(bytes([byte]))
            await peer.writer.drain()

        assert await reply == "1.1.0 é ü"
        assert notes[0] == ("jobs_changed", [3])


async def test_an_exception_is_raised_and_leaves_the_connection_usable(peer: Peer) -> None:
    async with await connect(peer) as connection:
        refused = asyncio.create_task(connection.call("a"))
        await peer.read()
        peer.send(b'{"exception": "no such thing"}\n')

        with pytest.raises(CommandRefusedError, match="no such thing"):
            await refused

        again = asyncio.create_task(connection.call("b"))
        await peer.read()
        peer.send(b'{"return": null}\n')
        assert await again is None


@pytest.mark.parametrize(
    "nonsense", [b"nonsense\n", b"[1]\n", b'{"return": 1}\n{"return": 2}\n', b"\xff\n"]
)
async def test_nonsense_ends_the_connection(peer: Peer, nonsense: bytes) -> None:
    notes: list[Any] = []
    async with await connect(peer, notes) as connection:
        reply = asyncio.create_task(connection.call("a"))
        await peer.read()
        peer.send(nonsense)

        if b"2" in nonsense:
            assert await reply == 1
        else:
            with pytest.raises(ConnectionLostError):
                await reply
        while not connection.lost:
            await asyncio.sleep(0)
        assert ("lost", None) in notes
        with pytest.raises(ConnectionLostError):
            await connection.call("b")


async def test_a_server_that_goes_fails_the_commands_under_way(peer: Peer) -> None:
    async with await connect(peer) as connection:
        reply = asyncio.create_task(connection.call("a"))
        await peer.read()

        peer.writer.close()

        with pytest.raises(ConnectionLostError, match="closed"):
            await reply


async def test_a_server_that_says_nothing_is_given_up(peer: Peer) -> None:
    async with await connect(peer, timeout=0.05) as connection:
        with pytest.raises(ConnectionLostError, match=r"no reply to version within 0\.05 s"):
            await connection.call("version")
        assert connection.lost


async def test_no_server_is_said_in_words(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectionLostError, match=r"refused|Connect"):
        await Connection.open("127.0.0.1", unused_tcp_port, lambda *_: None)


async def test_closing_fails_the_commands_under_way(peer: Peer) -> None:
    connection = await connect(peer)
    reply = asyncio.create_task(connection.call("a"))
    await peer.read()

    await connection.close()

    with pytest.raises(ConnectionLostError):
        await reply


async def test_closing_can_be_cancelled_itself(peer: Peer) -> None:
    connection = await connect(peer)
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0)

    closing.cancel()

    with pytest.raises(asyncio.CancelledError):
        await closing
    await connection.close()
