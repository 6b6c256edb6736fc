"""The pages before a real server on simulated frames, both as processes, both killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import async_playwright
from spalloc_web._facility.connection import Connection, ConnectionLostError

from tests.browser.conftest import CHROMIUM, Window
from tests.test_program import Program

pytest.importorskip("spalloc_server", reason="the server is not installed")
EXAMPLES = Path(__file__).parent.parent.parent.parent / "examples"
pytestmark = pytest.mark.skipif(not EXAMPLES.exists(), reason="needs the repository")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class RealServer:
    """A server on simulated frames."""

    def __init__(self, folder: Path, example: str) -> None:
        for path in EXAMPLES.glob("million-cores.*" if "million" in example else example):
            (folder / path.name).write_bytes(path.read_bytes())
        self._configuration = folder / example
        self._folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "spalloc_server", "--simulate", "--port", str(self.port),
                 "--quiet", str(self._configuration)],
                stdout=log, stderr=log, cwd=self._folder,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def connect(self) -> Connection:
        for _ in range(600):
            try:
                return await Connection.open("127.0.0.1", self.port, lambda *_: None)
            except ConnectionLostError:
                assert self.process.poll() is None, (self._folder / "log").read_text()
                await asyncio.sleep(0.1)
        raise AssertionError("the server does not come")


class Place:
    """Server, pages and a window on them."""

    def __init__(self, server: RealServer, view: Window, words: tuple[str, ...]) -> None:
        self.server = server
        self.view = view
        self._words = words
        self.program: Program

    async def start_pages(self) -> None:
        self.program = await asyncio.to_thread(Program, *self._words)

    async def same(self, name: str) -> None:
        """Wait until the map equals the server's own list."""
        async with await self.server.connect() as connection:
            for _ in range(100):
                rows = (await connection.call("list_boards", name))["boards"]
                wanted = sorted([row[:5] for row in rows], key=lambda row: row[:3])
                shown = await self.view.boards(name)
                if shown == wanted:
                    return
                await asyncio.sleep(0.1)
        assert shown == wanted


@contextlib.asynccontextmanager
async def place_of(folder: Path, example: str) -> AsyncIterator[Place]:
    server = RealServer(folder, example)
    server.start()
    async with await server.connect():
        pass
    port = free_port()
    words = ("--server", f"127.0.0.1:{server.port}", "--listen", f"127.0.0.1:{port}",
             "--anonymous", "all")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox"]
        )
        view = Window(await browser.new_page(), f"http://127.0.0.1:{port}")
        view.expected = ("net::ERR",)
        place = Place(server, view, words)
        await place.start_pages()
        try:
            yield place
            assert view.complaints == []
        finally:
            await browser.close()
            await asyncio.to_thread(place.program.end, 9)
            server.kill()


async def live(view: Window) -> None:
    await view.until("() => document.getElementById('status').dataset.state === 'live'")
    await view.ready()


async def test_the_map_follows_a_real_server_through_jobs_and_kills(tmp_path: Path) -> None:
    chance = random.Random(6)
    async with place_of(tmp_path, "demo.cfg") as place:
        view = place.view
        await view.open("/")
        await live(view)
        await view.until("() => document.getElementById('status-text').innerText.includes('1.')")
        await place.same("frame")

        jobs: list[int] = []
        async with await place.server.connect() as connection:
            async def change() -> None:
                if jobs and chance.random() < 0.45:
                    await connection.call("destroy_job", jobs.pop(chance.randrange(len(jobs))))
                else:
                    what = chance.choice(([], [3], [1, 1], [2, 1], [4, 2]))
                    jobs.append(await connection.call(
                        "create_job", *what, owner="ada", keepalive=None
                    ))

            for _ in range(25):
                await change()
                await place.same("frame")
                await place.same("solo")
            waiting = (await connection.call("list_queue"))["jobs"]
        if waiting:
            await view.page.wait_for_selector(f'#queue [data-waiting="{waiting[0]["job_id"]}"]')
            text = await view.page.inner_text("#queue")
            assert waiting[0]["machines"][0]["why"] in text

        await asyncio.to_thread(place.server.kill)
        await view.until("() => document.getElementById('status').dataset.state === 'away'")
        place.server.start()
        await live(view)
        await place.same("frame")

        await asyncio.to_thread(place.program.end, 9)
        await view.until("() => document.getElementById('status').dataset.state === 'offline'")
        await place.start_pages()
        await live(view)
        await place.same("frame")


async def test_1200_boards_of_a_real_server(tmp_path: Path) -> None:
    async with place_of(tmp_path, "million-cores.cfg") as place:
        await place.view.open("/")
        await live(place.view)
        await place.same("million")
        async with await place.server.connect() as connection:
            for width, height in ((3, 4), (10, 2), (1, 1), (20, 20)):
                await connection.call("create_job", width, height, owner="ada", keepalive=None)
            for _ in range(5):
                await connection.call("create_job", owner="brian", keepalive=None)
            await place.same("million")
            places: list[Any] = await connection.call("list_places", "million")
        x, y, z, cabinet, frame, board, address = places[600]
        await place.view.page.hover(f'[data-board="{x},{y},{z}"]')
        words = json.dumps([f"cabinet {cabinet}, frame {frame}, board {board}", address])
        await place.view.until(
            f"() => {words}.every(w => document.getElementById('tooltip').innerText.includes(w))"
        )
