"""A browser, and pages in it that must not complain or ask other computers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, async_playwright

from tests.conftest import Site

CHROMIUM = Path(os.environ.get("CHROMIUM", "/usr/bin/chromium"))

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM.exists():
        return
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=f"there is no {CHROMIUM}"))


class Window:
    """A page in the browser, and all that went wrong in it."""

    def __init__(self, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        #: Errors that a test expects, such as those of a server that it stops.
        self.expected: tuple[str, ...] = ()
        self._complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self._complaints.append(f"error: {error}"))
        page.on("request", self._on_request)
        page.on("response", self._on_response)

    def _on_console(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self._complaints.append(f"{message.type}: {message.text}")

    def _on_request(self, request: Any) -> None:
        if not request.url.startswith((self.origin, "data:", "blob:")):
            self._complaints.append(f"request to another place: {request.url}")

    def _on_response(self, response: Any) -> None:
        if response.status >= 400:
            self._complaints.append(f"status {response.status}: {response.url}")

    @property
    def complaints(self) -> list[str]:
        return [
            text for text in self._complaints if not any(word in text for word in self.expected)
        ]

    async def open(self, path: str) -> None:
        await self.page.goto(self.origin + path)

    async def boards(self, name: str = "machine") -> list[list[Any]]:
        """Read the map's boards: x, y, z, state, job."""
        found: list[list[Any]] = await self.page.eval_on_selector_all(
            f'svg.map[data-machine="{name}"] [data-board]',
            """elements => elements.map(e => [...e.dataset.board.split(',').map(Number),
                e.dataset.state, e.dataset.job === undefined ? null : Number(e.dataset.job)])""",
        )
        return sorted(found, key=lambda row: row[:3])

    async def until(self, condition: str, argument: Any = None, timeout: float = 30) -> None:
        """Wait until JavaScript says that something holds."""
        await self.page.wait_for_function(condition, arg=argument, timeout=timeout * 1000)

    async def ready(self) -> None:
        """Wait until the maps are drawn."""
        await self.until(
            """() => [...document.querySelectorAll('svg.map[data-machine]')].every(
                svg => svg.dataset.boards || svg.dataset.frames)"""
        )


@contextlib.asynccontextmanager
async def window(
    place: Site, expected: tuple[str, ...] = (), **options: Any
) -> AsyncIterator[Window]:
    """Open a window on a site; nothing may go wrong in it except as expected."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--force-color-profile=srgb"]
        )
        try:
            options = {"viewport": {"width": 1280, "height": 900}, "timezone_id": "Etc/UTC",
                       "locale": "en-GB"} | options
            context = await browser.new_context(**options)
            made = Window(await context.new_page(), str(place.client.make_url("/")).rstrip("/"))
            made.expected = expected
            yield made
            assert made.complaints == []
        finally:
            await browser.close()


WIDTHS = (320, 1280, 2560)
