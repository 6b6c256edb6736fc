"""Fixtures: a followed fake server, and the application before it."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.picture import Picture
from spalloc_web._http.app import make_app
from spalloc_web._http.context import CONTEXT, Context
from spalloc_web._past.history import History
from spalloc_web._settings import settings_of

from tests.support.facility import Facility, busy
from tests.support.fake_server import FakeServer

#: Seconds until a test gives up waiting.
PATIENCE = 30.0


class Watcher:
    """Waits for pictures of a follower."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self._changed = asyncio.Event()
        follower.on_picture(lambda _: self._changed.set())

    async def until(self, wanted: Callable[[Picture], bool]) -> Picture:
        """Wait for a picture that is as wanted, and return it."""

        async def wait() -> Picture:
            while not wanted(self.follower.picture):
                self._changed.clear()
                await self._changed.wait()
            return self.follower.picture

        return await asyncio.wait_for(wait(), PATIENCE)


@contextlib.asynccontextmanager
async def following(server: FakeServer) -> AsyncIterator[Watcher]:
    """Follow a server, and wait for its first picture."""
    follower = Follower("127.0.0.1", server.port)
    watcher = Watcher(follower)
    task = asyncio.create_task(follower.run())
    try:
        await watcher.until(lambda picture: picture.status.away_since is None)
        yield watcher
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Site:
    """An application before a fake server, and a client of it."""

    def __init__(
        self,
        server: FakeServer,
        client: TestClient[web.Request, web.Application],
        watcher: Watcher,
        context: Context,
    ) -> None:
        self.server = server
        self.client = client
        self.watcher = watcher
        self.context = context

    @property
    def facility(self) -> Facility:
        return self.server.facility


@contextlib.asynccontextmanager
async def site(
    facility: Facility | None = None,
    *,
    version: str = "1.1.0",
    history: History | None = None,
    **options: str,
) -> AsyncIterator[Site]:
    """Serve pages of a facility; options as in the administrator's file."""
    async with FakeServer(facility or busy(4, 2), version) as server:
        values = {"server": f"127.0.0.1:{server.port}", "anonymous": "all"} | options
        app = make_app(settings_of(values), history)
        watcher = Watcher(app[CONTEXT].follower)
        async with TestClient(TestServer(app)) as client:
            await watcher.until(lambda picture: picture.status.away_since is None)
            yield Site(server, client, watcher, app[CONTEXT])


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )
    return cert, key
