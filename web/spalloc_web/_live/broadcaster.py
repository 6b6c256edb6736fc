"""Sends each picture to all open pages.

A page that reads too slowly loses the frames that wait for it and gets the newest whole state
once it reads again; one that reads nothing for a minute is closed.  Nobody else notices.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

from aiohttp import ClientConnectionError, web

from spalloc_web._facility.picture import Picture
from spalloc_web._live.frames import GZIP_HEADER, HEARTBEAT, OVER, Frame
from spalloc_web._shown.views import changes, status_shown, whole
from spalloc_web._sight import Sight

#: Frames that may wait for a page.  # arbitrary: two seconds of the fastest pace
MOST_WAITING = 20
#: Seconds between comments on a stream with nothing to say.
HEARTBEAT_PERIOD = 15.0
#: Seconds that a page may take to read a frame.
PATIENCE = 60.0
#: Streams at a time: beyond it pages are told to come again later.
MOST_STREAMS = 2000

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    # Read by nginx: pass frames on at once.
    "X-Accel-Buffering": "no",
}


class Stream:
    """One open page: the frames that wait for it.

    Invariant: `lagging` is true exactly if frames were dropped since the last whole state.
    """

    def __init__(self, sight: Sight) -> None:
        self.sight = sight
        self.lagging = True
        self.closing = False
        self._waiting: deque[Frame] = deque()
        self._woken = asyncio.Event()

    def offer(self, frame: Frame) -> None:
        """Queue a frame, or drop all if too many wait."""
        if self.lagging:
            self._woken.set()
            return
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.clear()
            self.lagging = True
        else:
            self._waiting.append(frame)
        self._woken.set()

    def close(self) -> None:
        """Have the stream end."""
        self.closing = True
        self._woken.set()

    def take(self) -> Frame | None:
        """Return the next frame, or None."""
        return self._waiting.popleft() if self._waiting else None

    async def wait(self, seconds: float) -> None:
        """Wait until there is something to do, or the time is over."""
        if self._waiting or self.closing:
            return
        self._woken.clear()
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except asyncio.TimeoutError:
            return


class Broadcaster:
    """All open pages.

    Parameters
    ----------
    picture : Picture
        The first.
    notices : callable
        Returns troubles with sending notices, shown beside the status.
    wall_clock : callable
        Returns Unix time, seconds.
    """

    def __init__(
        self,
        picture: Picture,
        notices: Callable[[], list[str]] = list,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._picture = picture
        self._notices = notices
        self._clock = wall_clock
        self._streams: set[Stream] = set()
        self._wholes: dict[Sight, Frame] = {}

    @property
    def open_streams(self) -> int:
        """How many pages are open."""
        return len(self._streams)

    def publish(self, picture: Picture) -> None:
        """Send a new picture to all pages; called in the event loop."""
        old, self._picture = self._picture, picture
        self._wholes.clear()
        frames: dict[Sight, Frame] = {}
        for stream in self._streams:
            if stream.sight not in frames:
                status = status_shown(picture.status, self._clock(), self._notices())
                frames[stream.sight] = Frame(changes(old, picture, stream.sight, status))
            stream.offer(frames[stream.sight])

    def whole(self, sight: Sight) -> Frame:
        """Return the frame of the newest whole state."""
        frame = self._wholes.get(sight)
        if frame is None:
            status = status_shown(self._picture.status, self._clock(), self._notices())
            frame = self._wholes[sight] = Frame(whole(self._picture, sight, status))
        return frame

    def close(self) -> None:
        """End all streams."""
        for stream in self._streams:
            stream.close()

    async def serve(
        self,
        request: web.Request,
        sight: Sight,
        still_seen: Callable[[], bool] = lambda: True,
    ) -> web.StreamResponse:
        """Answer a page's request with a stream that lasts as long as the page is open.

        Parameters
        ----------
        request
            The request.
        sight
            How much the reader sees.
        still_seen
            Asked before each frame; the stream ends when it says no.

        Raises
        ------
        aiohttp.web.HTTPServiceUnavailable
            If too many pages are open.
        """
        if len(self._streams) >= MOST_STREAMS:
            raise web.HTTPServiceUnavailable(
                text=f"{MOST_STREAMS} pages are open already", headers={"Retry-After": "30"}
            )
        packed = "gzip" in request.headers.get("Accept-Encoding", "")
        response = web.StreamResponse(headers=_HEADERS)
        if packed:
            response.headers["Content-Encoding"] = "gzip"
        stream = Stream(sight)
        self._streams.add(stream)
        try:
            await response.prepare(request)
            if packed:
                await response.write(GZIP_HEADER)
            await self._send(stream, response, packed, still_seen)
        except (ConnectionError, ClientConnectionError, asyncio.TimeoutError):
            # The page was closed, or reads nothing: nothing to say, and nobody to say it to.
            if request.transport:
                request.transport.abort()
        finally:
            self._streams.discard(stream)
        return response

    async def _send(
        self,
        stream: Stream,
        response: web.StreamResponse,
        packed: bool,
        still_seen: Callable[[], bool],
    ) -> None:
        quiet_since = time.monotonic()
        while not stream.closing and still_seen():
            if stream.lagging:
                stream.lagging = False
                data = self.whole(stream.sight).bytes_for(packed)
            elif frame := stream.take():
                data = frame.bytes_for(packed)
            elif time.monotonic() - quiet_since >= HEARTBEAT_PERIOD:
                data = HEARTBEAT[packed]
            else:
                await stream.wait(HEARTBEAT_PERIOD)
                continue
            await asyncio.wait_for(response.write(data), PATIENCE)
            quiet_since = time.monotonic()
        if not stream.closing:
            await asyncio.wait_for(response.write(OVER[packed]), PATIENCE)
