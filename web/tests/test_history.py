"""Questions to the history: threads, time limits, and the pages' words about trouble."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from spalloc_web._past import history as module
from spalloc_web._past.history import History, HistoryAwayError

from tests.conftest import site
from tests.support.facility import busy
from tests.support.past import FakeSource

PAGES = ("/usage", "/jobs", "/jobs/1", "/machines/machine", "/machines/machine/boards/0/0/0",
         "/owners/ada@example.org")


async def test_pages_show_the_past() -> None:
    source = FakeSource()
    async with site(history=History(source)) as place:
        words = {
            "/usage": ("1234.5", "72.0 %", "12", "2026-11-28"),
            "/jobs": ("300", "1 min", "older"),
            "/jobs/250": ("Ended", "power on refused", "triads at (0, 0)"),
            "/machines/machine": ("300", "1 h 5 min"),
            "/machines/machine/boards/0/0/0": ("power on refused", "&lt;b&gt;hot"),
            "/owners/ada@example.org": ("older", "after=200"),
        }
        for path, parts in words.items():
            response = await place.client.get(path)
            text = await response.text()
            assert response.status == 200
            for part in parts:
                assert part in text, (path, part)


async def test_filters_reach_the_history() -> None:
    source = FakeSource()
    async with site(history=History(source)) as place:
        await place.client.get(
            "/jobs?owner=ada&machine=m&reason=x&since=2026-11-01&until=2026-11-02T12:00Z&limit=7"
        )

    assert source.asked == [
        (
            "jobs",
            {
                "owner": "ada",
                "machine": "m",
                "reason": "x",
                "since": 1793491200.0,
                "until": 1793620800.0,
                "limit": 7,
                "after": None,
            },
        )
    ]
    assert source.closed


@pytest.mark.parametrize("path", PAGES)
async def test_a_broken_history_is_said_and_live_pages_go_on(path: str) -> None:
    source = FakeSource()
    source.trouble = "database is locked"
    async with site(history=History(source)) as place:
        response = await place.client.get(path)
        assert response.status == 200
        assert "database is locked" in await response.text()

        place.facility.create("eve", [1])
        place.server.notify()
        await place.watcher.until(lambda p: any(j.owner == "eve" for j in p.jobs.values()))
        response = await place.client.get("/api/v1/usage")
        assert response.status == 503
        assert "database is locked" in (await response.json())["error"]

        source.trouble = None
        assert "database is locked" not in await (await place.client.get(path)).text()


async def test_a_job_that_only_the_history_may_know_is_not_called_unknown() -> None:
    source = FakeSource()
    source.trouble = "database is locked"
    async with site(history=History(source)) as place:
        response = await place.client.get("/jobs/77")

        assert response.status == 503
        assert "database is locked" in await response.text()


async def test_a_slow_history_delays_no_live_page() -> None:
    source = FakeSource()
    source.hold = threading.Event()
    async with site(busy(4, 2), history=History(source)) as place:
        slow = [
            asyncio.create_task(place.client.get("/api/v1/usage")) for _ in range(10)
        ]
        while len(source.asked) < module.AT_A_TIME:
            assert (await place.client.get("/api/v1/state")).status == 200

        place.facility.create("eve", [1])
        place.server.notify()
        await place.watcher.until(lambda p: any(j.owner == "eve" for j in p.jobs.values()))
        source.hold.set()
        assert [(await task).status for task in slow] == [200] * 10


async def test_a_question_without_an_answer_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.0)
    source = FakeSource()
    source.hold = threading.Event()
    history = History(source, longest=0.05)
    try:
        with pytest.raises(HistoryAwayError, match="no answer within"):
            await history.usage(0, 1, "day")
        assert history.trouble
    finally:
        source.hold.set()
        history.close()


async def test_questions_that_waited_too_long_are_not_begun() -> None:
    source = FakeSource()
    history = History(source, longest=-1e-9)

    with pytest.raises(HistoryAwayError, match="under way"):
        await history.days(0, 1)
    assert source.asked == []
    history.close()


async def test_too_many_questions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 2)
    source = FakeSource()
    source.hold = threading.Event()
    history = History(source)
    waiting = [asyncio.create_task(history.faults(0, 1)) for _ in range(2)]
    while len(source.asked) < 2:
        await asyncio.sleep(0)

    with pytest.raises(HistoryAwayError, match="too many"):
        await history.job(1)

    source.hold.set()
    for task in waiting:
        assert len(await task) == 3
    history.close()


async def test_deadlines_are_five_seconds_away() -> None:
    seen: list[float] = []

    class Source(FakeSource):
        def usage(self, deadline: float, since: float, until: float, by: str):  # type: ignore[no-untyped-def]
            seen.append(deadline - time.monotonic())
            return []

    history = History(Source())
    await history.usage(0, 1, "day")
    history.close()

    assert 4 < seen[0] <= 5
