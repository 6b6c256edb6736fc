"""Pages outlive ``spalloc-web``: it is killed, started anew, and the page goes on."""

from __future__ import annotations

import socket

import pytest
from playwright.async_api import async_playwright

from tests.browser.conftest import CHROMIUM, Window
from tests.support.facility import busy
from tests.support.fake_server import serving
from tests.test_program import Program


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


async def test_a_page_goes_on_when_spalloc_web_is_killed_and_started(port: int) -> None:
    import asyncio

    facility = busy(4, 2)
    async with serving(facility) as server, async_playwright() as playwright:
        words = ("--server", f"127.0.0.1:{server.port}", "--listen", f"127.0.0.1:{port}")
        program = await asyncio.to_thread(Program, *words)
        browser = await playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox"]
        )
        try:
            view = Window(await browser.new_page(), f"http://127.0.0.1:{port}")
            view.expected = ("net::ERR", "404")
            await view.open("/")
            await view.until("() => document.getElementById('status').dataset.state === 'live'")
            boards = await view.boards()

            await asyncio.to_thread(program.end, 9)
            await view.until(
                "() => document.getElementById('status').dataset.state === 'offline'"
            )
            text = await view.page.inner_text("#status-text")
            assert "do not answer since" in text
            assert await view.boards() == boards

            facility.set_board("machine", (0, 0, 0), "out")
            job_id = facility.create("eve", [1])
            program = await asyncio.to_thread(Program, *words)
            await view.until("() => document.getElementById('status').dataset.state === 'live'")
            await view.page.wait_for_selector('[data-board="0,0,0"][data-state="out"]')
            await view.page.wait_for_selector(f'#queue [data-waiting="{job_id}"]')
            assert view.complaints == []
        finally:
            await browser.close()
            await asyncio.to_thread(program.end, 9)
