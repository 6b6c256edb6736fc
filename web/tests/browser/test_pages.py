"""Every page in a browser: no complaint, no fault for people with other eyes or no mouse."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from spalloc_web._past.history import History

from tests.browser.conftest import WIDTHS, Window, window
from tests.conftest import site
from tests.support.facility import busy, empty
from tests.support.past import FakeSource

PAGES = (
    "/",
    "/?job=1",
    "/machines",
    "/machines/machine",
    "/machines/machine/boards",
    "/machines/machine/boards/0/0/0",
    "/jobs",
    "/jobs/1",
    "/jobs/250",
    "/owners/ada@example.org",
    "/usage",
)
ERROR = "/jobs/999"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]}


async def settled(view: Window, path: str) -> None:
    await view.open(path)
    await view.until("() => document.getElementById('status').dataset.state === 'live'")
    await view.ready()


async def find_faults(view: Window) -> list[Any]:
    results = await Axe().run(view.page, options=RULES)
    return [
        (fault["id"], node["target"], node.get("failureSummary"))
        for fault in results.response["violations"]
        for node in fault["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
async def test_axe_finds_nothing(scheme: str, width: int) -> None:
    history = History(FakeSource())
    viewport = {"width": width, "height": 900}
    async with site(busy(4, 2), history=history) as place, window(
        place, color_scheme=scheme, viewport=viewport, expected=("404",)
    ) as view:
        for path in PAGES:
            await settled(view, path)
            assert await find_faults(view) == [], path
        await view.open(ERROR)
        assert await find_faults(view) == []
        await settled(view, "/")
        await place.server.stop()
        await view.until("() => document.getElementById('status').dataset.state === 'away'")
        assert await find_faults(view) == []


async def test_axe_finds_a_fault() -> None:
    async with site() as place, window(place) as view:
        await settled(view, "/")
        await view.page.evaluate("() => document.querySelector('h1').append(new Image())")

        assert "image-alt" in {fault[0] for fault in await find_faults(view)}


@pytest.mark.parametrize("width", WIDTHS)
async def test_no_page_is_wider_than_the_window(width: int) -> None:
    history = History(FakeSource())
    async with site(busy(20, 20), history=history) as place, window(
        place, viewport={"width": width, "height": 1000}
    ) as view:
        for path in PAGES:
            await settled(view, path)
            over = await view.page.evaluate(
                "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert over <= 0, path


async def test_charts_are_drawn_of_the_tables() -> None:
    async with site(history=History(FakeSource())) as place, window(place) as view:
        await settled(view, "/usage")

        charts = await view.page.locator(".chart").count()
        assert charts == 4
        for index in range(charts):
            box = await view.page.locator(".chart canvas").nth(index).bounding_box()
            assert box
            assert box["width"] > 300
        labels = await view.page.locator(".chart").first.inner_text()
        assert "machine" in labels
        assert "solo" in labels


async def test_times_are_in_the_readers_zone() -> None:
    async with site(history=History(FakeSource())) as place, window(
        place, timezone_id="Asia/Tokyo"
    ) as view:
        await settled(view, "/jobs/250")

        shown = view.page.locator("time").first
        assert (await shown.get_attribute("datetime") or "").endswith("Z")
        utc = (await shown.get_attribute("datetime") or "")[11:13]
        text = await shown.inner_text()
        assert f"{(int(utc) + 9) % 24:02}:" in text


async def test_a_page_opens_one_stream_and_that_early() -> None:
    async with site(busy(4, 2)) as place, window(place) as view:
        asked: list[str] = []
        view.page.on("request", lambda request: asked.append(request.url))
        await view.open("/")
        await view.ready()
        names = [url.rpartition("/")[2] for url in asked]
        assert names.count("events") == 1
        assert await view.page.evaluate("window.earlyStream") is None


async def test_a_job_page_follows_its_job() -> None:
    facility = empty(4, 2)
    job_id = facility.create("eve", [1], why="6 boards rest until 14:03")
    async with site(facility) as place, window(place) as view:
        await settled(view, f"/jobs/{job_id}")
        assert "6 boards rest until 14:03" in await view.page.inner_text("#outlook")

        facility.why[job_id] = "behind job 17, which keeps a region for itself"
        facility.notes.append({"jobs_changed": [job_id]})
        place.server.notify()
        await view.until(
            "() => document.getElementById('outlook').innerText.includes('behind job 17')"
        )

        facility.allocate(job_id, "machine", [(0, 0, 0)])
        place.server.notify()
        await view.page.wait_for_selector(f'[data-board="0,0,0"][data-job="{job_id}"].picked')
        facility.end(job_id, reason="all done")
        place.server.notify()
        await view.until("() => document.querySelector('main').innerText.includes('all done')")


async def test_a_board_page_follows_its_board() -> None:
    facility = empty(4, 2)
    async with site(facility) as place, window(place) as view:
        await settled(view, "/machines/machine/boards/1/1/1")
        facility.set_board("machine", (1, 1, 1), "out")
        place.server.notify()

        await view.until("() => document.querySelector('main').innerText.includes('power on')")


async def test_an_older_server_has_maps() -> None:
    async with site(busy(4, 2), version="1.0.0") as place, window(place) as view:
        await settled(view, "/")

        states = {row[3] for row in await view.boards()}
        assert states <= {"used", "free", "dead"}
        assert await view.page.locator("#queue li").count() > 0


async def test_without_scripts_there_are_lists() -> None:
    async with site(busy(4, 2)) as place, window(place, java_script_enabled=False) as view:
        await view.open("/")
        assert "lists of machines and boards" in await view.page.inner_text("noscript")
        await view.open("/machines/machine/boards")
        assert await view.page.locator("tbody tr").count() == 24


