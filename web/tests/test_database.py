"""The history database itself, written by the server's history package and read by the pages."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from spalloc_web._past.history import History, HistoryAwayError
from spalloc_web._past.opening import open_history
from spalloc_web._settings import SettingError, settings_of

from tests.conftest import site
from tests.support.facility import empty

pytest.importorskip("spalloc_server._history", reason="the extra `history` is not installed")
pytest.importorskip("sqlalchemy", reason="the extra `history` is not installed")

#: A Sunday, 2026-03-01 00:00 UTC.
MARCH = 1772323200.0
STATE = 1_772_000_000_000_000
SPAN = "since=2026-03-01&until=2026-03-03"


def story() -> list[dict[str, Any]]:
    """Events of two jobs, one of them moved by a fault, and of a board reported."""
    told: list[tuple[str, int, dict[str, Any]]] = [
        ("machine changed", 0, {"machine": "m", "change": "added", "width": 4, "height": 2,
                                "live": 24}),
        ("created", 10, {"job": 1, "owner": "ada", "host": "10.1.2.3", "args": [1, 1],
                         "kwargs": {}, "keepalive": 60.0}),
        ("allocated", 70, {"job": 1, "machine": "m", "place": [0, 0, 1, 1], "boards": 3}),
        ("board out", 80, {"machine": "m", "board": [0, 0, 1], "physical": [0, 0, 1],
                           "kind": "power", "text": "power on refused", "job": 1}),
        ("moved", 81, {"job": 1, "attempt": 1, "fault": "board (0, 0, 1): power on refused"}),
        ("allocated", 82, {"job": 1, "machine": "m", "place": [1, 0, 1, 1], "boards": 3}),
        ("ready", 90, {"job": 1}),
        ("report", 100, {"machine": "m", "board": [0, 0, 1], "job": 1, "host": "10.1.2.3",
                         "text": "no link", "done": "noted"}),
        ("board back", 200, {"machine": "m", "board": [0, 0, 1], "physical": [0, 0, 1],
                             "how": "tested"}),
        ("ended", 7290, {"job": 1, "reason": "all done", "by": "client", "by_host": "10.1.2.3"}),
        ("created", 7300, {"job": 2, "owner": "brian", "host": "10.1.2.4", "args": [],
                           "kwargs": {}, "keepalive": 60.0}),
    ]
    return [
        {"number": STATE + place, "time": MARCH + when, "event": kind, "state": STATE, **more}
        for place, (kind, when, more) in enumerate(told, start=1)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    from spalloc_server._history.database import Database
    from spalloc_server._history.recorder import Recorder

    where = tmp_path / "history.db"
    database = Database(str(where))
    with database.writing() as connection:
        recorder = Recorder(connection)
        for event in story():
            assert recorder.record(event)
        recorder.finish()
    database.close()
    return where


def opened(where: object) -> History:
    history = open_history(settings_of({"history": str(where)}))
    assert history
    return history


async def test_pages_and_interface_tell_what_was_written(path: Path) -> None:
    async with site(empty(4, 2), history=opened(path)) as place:
        async def ask(address: str) -> Any:
            response = await place.client.get(f"/api/v1/{address}")
            assert response.status == 200, await response.text()
            return await response.json()

        page = await ask("history/jobs?owner=ada")
        assert [job["job_id"] for job in page["jobs"]] == [1]
        assert page["jobs"][0]["ended_by"] == "client 10.1.2.3"
        assert [j["job_id"] for j in (await ask("history/jobs?reason=ALL"))["jobs"]] == [1]
        first = await ask("history/jobs?limit=1")
        second = await ask(f"history/jobs?limit=1&after={first['next']}")
        assert [first["jobs"][0]["job_id"], second["jobs"][0]["job_id"]] == [2, 1]

        job = await ask("jobs/1")
        assert [spell["place"] for spell in job["spells"]] == [[0, 0, 1, 1], [1, 0, 1, 1]]
        assert job["spells"][0]["fault"] == "board (0, 0, 1): power on refused"

        (owner,) = [row for row in await ask(f"usage?by=owner&{SPAN}") if row["key"] == "ada"]
        assert owner["board_hours"] == pytest.approx(3 * 7219 / 3600, rel=0.01)
        assert owner["wait_median"] == pytest.approx(60, rel=0.05)
        days = await ask(f"usage/days?{SPAN}")
        assert [row["day"] for row in days] == ["2026-03-01", "2026-03-02"]
        assert days[0]["utilisation"] == pytest.approx(3 * 7219 / 86400 / 24, rel=0.05)
        faults = await ask(f"usage/faults?{SPAN}")
        assert [(row["frame"], row["faults"]) for row in faults] == [(0, 1)]

        for address, words in {
            f"/usage?{SPAN}": ("2026-03-01", "ada"),
            "/jobs": ("all done",),
            "/owners/ada": ("all done",),
        }.items():
            text = await (await place.client.get(address)).text()
            for word in words:
                assert word in text


async def test_a_boards_past_is_told(path: Path) -> None:
    async with site(empty(4, 2, "m"), history=opened(path)) as place:
        answer = await (await place.client.get("/api/v1/machines/m/boards/0/0/1")).json()

        assert [(e["kind"], e["text"]) for e in answer["events"]] == [
            ("back in service", "tested"),
            ("reported", "no link"),
            ("out of service", "power on refused"),
        ]
        assert [job["job_id"] for job in answer["jobs"]] == [1]


async def test_a_database_may_be_missing_then_come_then_break_then_be_mended(
    path: Path, tmp_path: Path
) -> None:
    where = tmp_path / "moved.db"
    history = opened(where)
    async with site(history=history) as place:
        async def usage() -> tuple[int, str]:
            response = await place.client.get(f"/api/v1/usage?{SPAN}")
            return response.status, await response.text()

        status, text = await usage()
        assert status == 503
        assert "no such file" in text

        where.write_bytes(path.read_bytes())
        assert (await usage())[0] == 200

        history._source.close()
        where.write_bytes(b"nonsense" * 1000)
        status, text = await usage()
        assert status == 503
        assert "not a database" in text
        assert (await place.client.get("/")).status == 200
        page = await place.client.get("/usage")
        assert page.status == 200
        assert "not a database" in await page.text()

        where.write_bytes(path.read_bytes())
        assert (await usage())[0] == 200


async def test_a_locked_database_is_said(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    locker = sqlite3.connect(path, isolation_level=None)
    locker.execute("BEGIN EXCLUSIVE")
    history = opened(path)
    history._longest = 0.2
    try:
        with pytest.raises(HistoryAwayError):
            await history.usage(0, 1, "day")
    finally:
        locker.execute("ROLLBACK")
        locker.close()
        history.close()


def test_questions_past_their_time_are_not_asked(path: Path) -> None:
    from spalloc_web._past.database import Database

    database = Database(str(path))
    with pytest.raises(HistoryAwayError, match="given up after 5 s"):
        database.job(time.monotonic() - 1, 1)
    assert database.job(time.monotonic() + 5, 999) is None
    database.close()


def test_an_address_that_is_none_is_said() -> None:
    with pytest.raises(SettingError, match="history"):
        open_history(settings_of({"history": "://nonsense"}))
    assert open_history(settings_of({})) is None


async def test_a_live_job_has_its_past_but_not_that_of_a_namesake(path: Path) -> None:
    facility = empty(4, 2)
    facility.create("eve", [1])
    facility.create("brian", [1])
    facility.jobs[2]["start_time"] = MARCH + 7300
    facility.jobs[1]["start_time"] = MARCH + 10.5
    async with site(facility, history=opened(path)) as place:
        answer = await (await place.client.get("/api/v1/jobs/1")).json()
        assert answer["job"]["allocated"] == MARCH + 70
        assert answer["job"]["ready"] == MARCH + 90
        assert len(answer["spells"]) == 2

        facility.jobs[1]["start_time"] = MARCH + 9999
        facility.notes.append({"jobs_changed": [1]})
        place.server.notify()
        await place.watcher.until(lambda p: p.jobs[1].created == MARCH + 9999)
        answer = await (await place.client.get("/api/v1/jobs/1")).json()
        assert answer["spells"] == []
        assert answer["past"] is None
        assert answer["job"]["allocated"] is None
