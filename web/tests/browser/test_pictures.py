"""Makes the pictures of the manual: ``PICTURES=yes pytest tests/browser/test_pictures.py``.

PICTURES=all makes many more, to look at.  Without it they go to a temporary folder, and a
check sees only that there is something on each.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from spalloc_web._past.history import History

from tests.browser.conftest import WIDTHS, window
from tests.conftest import site
from tests.support import facility as facilities
from tests.support.past import FakeSource
from tests.support.people import GOOD, people

KEPT = Path(__file__).parent.parent.parent.parent / "docs" / "pictures"
HEIGHTS = {320: 640, 1280: 900, 2560: 1440}
SIZES = {24: (4, 2), 1200: (20, 20), 12000: (80, 50)}
#: (name, kind of facility, boards, widths, schemes, whether the server is away)
MAPS = [
    *((f"{boards}", "busy", boards, WIDTHS, ("light", "dark"), False) for boards in SIZES),
    ("full", "full", 1200, (1280,), ("light", "dark"), False),
    ("empty", "empty", 1200, (1280,), ("light",), False),
    ("half-out", "half_out", 1200, (1280,), ("light", "dark"), False),
    ("half-out-12000", "half_out", 12000, (1280,), ("light",), False),
    ("away", "busy", 1200, (320, 1280), ("light",), True),
]
#: Those that the manual shows; all others are for looking at.
SHOWN = {
    "map-1200-1280-light",
    "map-1200-1280-dark",
    "map-24-320-light",
    "map-half-out-1280-light",
    "map-away-1280-light",
    "page-job",
    "page-usage",
    "page-board",
    "people-operate",
    "people-order",
    "people-login-320",
}
PAGES = {
    "job": "/jobs/1",
    "ended": "/jobs/250",
    "board": "/machines/machine/boards/5/5/1",
    "machine": "/machines/machine",
    "machines": "/machines",
    "owner": "/owners/ada@example.org",
    "usage": "/usage?since=2026-11-01&until=2026-11-28",
    "jobs": "/jobs",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    if os.environ.get("PICTURES"):
        KEPT.mkdir(exist_ok=True)
        return KEPT
    return tmp_path


def colours(path: Path) -> int:
    """Count the different lines of pixels of a PNG, as a measure of how much is on it."""
    data = path.read_bytes()
    width, _, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert (depth, kind) in {(8, 2), (8, 6)}
    packed, place = b"", 8
    while place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        if name == b"IDAT":
            packed += data[place + 8 : place + 8 + length]
        place += length + 12
    step = 1 + width * (3 if kind == 2 else 4)
    pixels = zlib.decompress(packed)
    return len({pixels[start : start + step] for start in range(0, len(pixels), step)})


def begun_lately(facility: facilities.Facility) -> facilities.Facility:
    """Let jobs have been created within the last hours, the newest minutes ago."""
    now = time.time()
    for job_id, job in facility.jobs.items():
        job["start_time"] = now - 170 - 400 * (max(facility.jobs) - job_id)
    return facility


def wanted(name: str) -> bool:
    return os.environ.get("PICTURES") == "all" or name in SHOWN


async def shoot(page: Any, folder: Path, name: str) -> None:
    path = folder / f"{name}.png"
    await page.screenshot(path=path)
    assert colours(path) > 20


@pytest.mark.parametrize("case", MAPS, ids=lambda case: case[0])
async def test_pictures_of_maps(case: Any, folder: Path) -> None:
    name, kind, boards, widths, schemes, away = case
    facility = begun_lately(getattr(facilities, kind)(*SIZES[boards]))
    async with site(facility) as place:
        for width in widths:
            for scheme in schemes:
                if not wanted(f"map-{name}-{width}-{scheme}"):
                    continue
                viewport = {"width": width, "height": HEIGHTS[width]}
                async with window(place, viewport=viewport, color_scheme=scheme) as view:
                    await view.open("/")
                    await view.until(
                        f"() => document.querySelectorAll('[data-board]').length === {boards}"
                    )
                    if away:
                        await place.server.stop()
                        await view.until(
                            "() => document.getElementById('status').dataset.state === 'away'"
                        )
                    await shoot(view.page, folder, f"map-{name}-{width}-{scheme}")
                    if away:
                        await place.server.start(place.server.port)
                        await place.watcher.until(lambda p: p.status.away_since is None)


async def test_pictures_of_pages(folder: Path) -> None:
    facility = begun_lately(facilities.busy(20, 20))
    async with site(facility, history=History(FakeSource())) as place, window(place) as view:
        for name, path in PAGES.items():
            if not wanted(f"page-{name}"):
                continue
            await view.open(path)
            await view.ready()
            await view.until("() => document.getElementById('status').dataset.state === 'live'")
            await shoot(view.page, folder, f"page-{name}")


#: Pages of people who log in: (name, path, width, scheme).
PEOPLE = [
    ("operate", "/operate", 1280, "light"),
    ("operate-320", "/operate", 320, "dark"),
    ("order", "/orders/end?id=1", 1280, "light"),
    ("order-320", "/orders/out?boards=machine&reason=new+fan", 320, "dark"),
    ("account", "/account", 1280, "light"),
    ("report", "/orders/report?id=1", 1280, "dark"),
]


async def test_pictures_of_pages_for_people_who_log_in(folder: Path, tmp_path: Path) -> None:
    facility = begun_lately(facilities.busy(20, 20))
    facility.jobs[1]["owner"] = "ada@example.org"
    users = str(people(tmp_path, grace="operate"))
    async with site(facility, users=users) as place:
        for name, path, width, scheme in PEOPLE:
            viewport = {"width": width, "height": HEIGHTS[width]}
            async with window(place, viewport=viewport, color_scheme=scheme) as view:
                await view.open("/login")
                if name == "operate-320" and wanted("people-login-320"):
                    await shoot(view.page, folder, "people-login-320")
                if not wanted(f"people-{name}"):
                    continue
                await view.page.get_by_label("Name").fill("grace")
                await view.page.get_by_label("Password").fill(GOOD)
                await view.page.get_by_role("main").get_by_role("button").click()
                await view.page.wait_for_url("**/")
                await view.open(path)
                await view.until(
                    "() => document.getElementById('status').dataset.state === 'live'"
                )
                await shoot(view.page, folder, f"people-{name}")
