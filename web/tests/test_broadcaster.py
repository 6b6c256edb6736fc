"""Streams of events: frames, slow pages, many pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from aiohttp import ClientResponse
from spalloc_web._facility.picture import Picture
from spalloc_web._live import broadcaster
from spalloc_web._live.broadcaster import MOST_WAITING, Stream
from spalloc_web._live.frames import GZIP_HEADER, Frame, pack
from spalloc_web._shown.views import status_shown, whole
from spalloc_web._sight import Sight

from tests.conftest import PATIENCE, Site, site
from tests.support.facility import busy


class Reader:
    """Reads frames from a response."""

    def __init__(self, response: ClientResponse) -> None:
        self._response = response

    async def next(self) -> Any:
        text = b""
        while not text.endswith(b"\n\n"):
            text += await asyncio.wait_for(self._response.content.readline(), PATIENCE)
        if text.startswith(b":"):
            return await self.next()
        return json.loads(text.removeprefix(b"data: "))

    async def until_picture(self, number: int) -> Any:
        while (frame := await self.next())["n"] < number:
            pass
        return frame


async def narrow_connection(
    port: int | None,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect with a small buffer, so that unread bytes soon stay with the sender."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", port))
    return await asyncio.open_connection(sock=narrow, limit=1 << 26)


@contextlib.asynccontextmanager
async def stream(place: Site, packed: bool = False) -> AsyncIterator[Reader]:
    headers = {"Accept-Encoding": "gzip" if packed else "identity"}
    async with place.client.get("/events", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        yield Reader(response)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_page_gets_the_whole_state_and_then_changes(packed: bool) -> None:
    async with site() as place, stream(place, packed) as reader:
        first = await reader.next()
        assert first["kind"] == "whole"
        assert len(first["machines"][0]["boards"]) == 24

        job_id = place.facility.create("eve", [1])
        place.server.notify()
        frame = await reader.next()

        assert (frame["kind"], frame["base"]) == ("changes", first["n"])
        assert [job["job_id"] for job in frame["jobs"]] == [job_id]


async def test_pages_that_may_see_less_get_less() -> None:
    async with site(anonymous="states") as place, stream(place) as reader:
        text = json.dumps(await reader.next())

        assert "example.org" not in text
        assert "10.0.0.7" not in text


async def test_all_pages_share_one_subscription_and_one_encoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Frame] = []

    def make(content: msgspec.Struct) -> Frame:
        made.append(Frame(content))
        return made[-1]

    monkeypatch.setattr(broadcaster, "Frame", make)
    async with site() as place, contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(stream(place)) for _ in range(20)]
        for reader in readers:
            assert (await reader.next())["kind"] == "whole"
        wholes = len(made)

        place.facility.create("eve", [1])
        place.server.notify()
        for reader in readers:
            assert (await reader.next())["kind"] == "changes"

        pictures = place.watcher.follower.picture.number
        assert wholes <= pictures
        assert len(made) - wholes <= pictures
        assert len(place.server.connections) == 1


def test_a_stream_that_lags_begins_anew() -> None:
    picture = busy_picture()
    frame = Frame(whole(picture, Sight.ALL, status_shown(picture.status, 0.0)))
    stream = Stream(Sight.ALL)
    stream.lagging = False

    for _ in range(MOST_WAITING):
        stream.offer(frame)
    assert not stream.lagging
    stream.offer(frame)

    assert stream.lagging
    assert stream.take() is None


def busy_picture() -> Picture:
    from spalloc_web._facility.picture import Status

    return Picture(1, Status("h:1", "1.1.0"))


async def test_a_page_that_does_not_read_gets_the_newest_state_and_delays_nobody() -> None:
    # Large enough that the kernel's buffers cannot hold all of it.
    async with site(busy(30, 30)) as place, stream(place) as quick:
        reader, writer = await narrow_connection(place.client.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await quick.next()

        boards = list(place.facility.machines["machine"].boards)
        for turn in range(MOST_WAITING * 3):
            word = "out" if turn % 2 else "free"
            for board in boards:
                place.facility.machines["machine"].boards[board] = (word, None, f"{turn} " * 40)
            place.facility.notes.append({"machines_changed": ["machine"]})
            number = place.watcher.follower.picture.number
            place.server.notify()
            await place.watcher.until(lambda p, number=number: p.number > number)  # type: ignore[misc]
        last = place.watcher.follower.picture.number
        assert (await quick.until_picture(last))["n"] >= last

        kinds = []
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        while True:
            line = await asyncio.wait_for(reader.readline(), PATIENCE)
            if not line.startswith(b"data: "):
                continue
            frame = json.loads(line[6:])
            kinds.append(frame["kind"])
            if frame["n"] >= last:
                break
        writer.close()

        # Not everything that happened, but once more the whole.
        assert kinds.count("whole") >= 2
        assert len(kinds) < MOST_WAITING * 3


async def test_a_page_that_reads_nothing_for_long_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broadcaster, "PATIENCE", 0.05)
    async with site(busy(60, 60)) as place:
        context = place.context
        writers = []
        for _ in range(3):
            _, writer = await narrow_connection(place.client.port)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            writers.append(writer)
        shuffled = place.facility.machines["machine"].boards
        number = 0
        while context.broadcaster.open_streams or number < 3:
            number += 1
            for board in shuffled:
                shuffled[board] = ("out", None, "x" * 200 + str(number))
            place.facility.notes.append({"machines_changed": ["machine"]})
            before = place.watcher.follower.picture.number
            place.server.notify()
            await place.watcher.until(lambda p, before=before: p.number > before)  # type: ignore[misc]
        for writer in writers:
            writer.close()


async def test_a_closed_page_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as place:
        context = place.context
        async with stream(place) as reader:
            await reader.next()
            assert context.broadcaster.open_streams == 1
        caplog.clear()

        while context.broadcaster.open_streams:
            place.facility.create("eve", [1])
            place.server.notify()
            before = place.watcher.follower.picture.number
            await place.watcher.until(lambda p, before=before: p.number > before)  # type: ignore[misc]

        assert [record for record in caplog.records if record.levelname != "INFO"] == []


async def test_beyond_the_bound_pages_are_told_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broadcaster, "MOST_STREAMS", 1)
    async with site() as place, stream(place) as reader:
        await reader.next()
        async with place.client.get("/events") as refused:
            assert refused.status == 503
            assert refused.headers["Retry-After"] == "30"


async def test_a_quiet_stream_has_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcaster, "HEARTBEAT_PERIOD", 0.05)
    async with site() as place, place.client.get(
        "/events", headers={"Accept-Encoding": "identity"}
    ) as response:
        while not (await response.content.readline()).startswith(b": still here"):
            pass


def test_packed_frames_stand_alone_in_one_stream() -> None:
    texts = [b"data: one\n\n", b"data: " + bytes(range(200)) * 50 + b"\n\n", b""]

    for order in ((0, 1, 2), (1, 1, 0), (2, 0)):
        reader = zlib.decompressobj(wbits=31)
        read = reader.decompress(GZIP_HEADER)
        for index in order:
            read = reader.decompress(pack(texts[index]))
            assert read == texts[index]


@pytest.fixture
def many_files() -> Iterator[None]:
    """Both ends of 500 connections are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_500_pages_that_read_nothing_harm_nobody(many_files: None) -> None:
    async with site(busy(20, 20)) as place, stream(place) as quick:
        await quick.next()
        slow = []
        for _ in range(500):
            _, writer = await narrow_connection(place.client.port)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            slow.append(writer)

        async def all_open() -> None:
            while place.context.broadcaster.open_streams < 501:
                await asyncio.sleep(0.001)

        await asyncio.wait_for(all_open(), PATIENCE)

        for turn in range(5):
            for board in place.facility.machines["machine"].boards:
                place.facility.machines["machine"].boards[board] = ("out", None, f"{turn}" * 50)
            place.facility.notes.append({"machines_changed": ["machine"]})
            place.server.notify()
            while not (frame := await quick.next()).get("boards"):
                pass
            assert frame["boards"]["machine"][0][5].startswith(f"{turn}")
            assert (await place.client.get("/")).status == 200
        for writer in slow:
            writer.transport.abort()
