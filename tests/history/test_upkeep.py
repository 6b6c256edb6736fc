"""Names and jobs are forgotten with time."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from spalloc_server._history.database import Database
from spalloc_server._history.history import History, JobFilter
from spalloc_server._history.tables import jobs, names, places, rollups
from spalloc_server._history.upkeep import forget_jobs, forget_names, names_came_late
from tests.history.story import DAY, MARCH, Story, write

NOW = MARCH + 40 * DAY + 3600


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "history.db"


@pytest.fixture
def database(where: Path) -> Iterator[Database]:
    """Forty days, a job a day: of ada, of Zacharias and his host, of ada, ..."""
    story = Story()
    story.machine()
    for day in range(40):
        story.now = MARCH + day * DAY
        owner, host = (("ada", "10.1.2.3"), ("Zacharias", "192.0.2.77"))[day % 2]
        story.created(day + 1, owner=owner, host=host)
        story.allocated(day + 1, 10.0 * day)
        about: dict[str, Any] = {
            "machine": "m",
            "board": [0, 0, 0],
            "host": host,
            "text": f"{owner}?",
        }
        story.tell("report", job=day + 1, **about)
        by = {"by_host": host, "by_principal": (f"host:{host}", f"user:{owner}")[day // 2 % 2]}
        story.ended(day + 1, 3600.0, reason=f"killed by {owner}, from {host}", **by)
    with closing(Database(str(where))) as database:
        write(database, story.events)
        yield database


def files_with(folder: Path, name: str) -> list[str]:
    return [file.name for file in folder.iterdir() if name.encode() in file.read_bytes()]


def test_names_past_their_day_are_in_no_file(database: Database, where: Path) -> None:
    assert files_with(where.parent, "Zacharias")
    assert files_with(where.parent, "192.0.2.77")

    forget_names(database, 1, MARCH + 41 * DAY)

    assert files_with(where.parent, "Zacharias") == []
    assert files_with(where.parent, "192.0.2.77") == []


def test_names_stay_until_their_day(database: Database, where: Path) -> None:
    forget_names(database, 10, NOW)

    with closing(History(str(where))) as told:
        rows = told.jobs(limit=100).rows
        known = [row.job for row in rows if row.owner in {"ada", "Zacharias"}]
        hosts = [row.job for row in rows if row.host in {"10.1.2.3", "192.0.2.77"}]
        reasons = [row.job for row in rows if "killed by ada," in (row.reason or "")]
        assert [row.pseudonym for row in rows] == [row.job not in known for row in rows]
    # Day 31 is the tenth day, the present one included.
    assert known == hosts == list(range(40, 31, -1))
    assert reasons == [39, 37, 35, 33]


def test_the_same_person_has_the_same_pseudonym(database: Database, where: Path) -> None:
    forget_names(database, 20, MARCH + 40 * DAY)
    forget_names(database, 20, MARCH + 50 * DAY)

    with closing(History(str(where))) as told:
        owners = {row.owner for row in told.jobs(limit=100).rows}
        assert len(owners) == 4
        pseudonyms = sorted(owners - {"ada", "Zacharias"})
        assert all(name.startswith("user-") and len(name) == 17 for name in pseudonyms)
        (first,) = told.jobs(JobFilter(until=MARCH + DAY)).rows
        assert first.owner in pseudonyms
        assert first.reason == f"killed by {first.owner}, from {first.host}"
        assert first.ended_by_host == first.host
        assert first.host is not None
        assert first.host.startswith("host-")
        assert first.ended_by_principal == f"host:{first.host}"
        assert first.party == f"client {first.host}"
        third = told.jobs(JobFilter(since=MARCH + 2 * DAY, until=MARCH + 3 * DAY)).rows[0]
        assert third.ended_by_principal == f"user:{third.owner}"
        assert third.party == f"client user:{third.owner}"
        detail = told.job(1)
        assert detail is not None
        assert detail.reports[0].text == f"{first.owner}?"
        assert detail.network == "10.1.2.0/24"


def test_sums_move_to_the_pseudonyms(database: Database, where: Path) -> None:
    span = (MARCH, MARCH + 40 * DAY)
    with closing(History(str(where))) as told:
        before = told.usage(*span)

    forget_names(database, 10, NOW)

    with closing(History(str(where))) as told:
        after = told.usage(*span)
        months = told.usage(*span, by="month").rows
    assert after.total == before.total
    assert {row.name: row.jobs for row in after.rows if "-" not in row.name} == {
        "ada": 4,
        "Zacharias": 5,
    }
    assert sum(row.jobs for row in after.rows) == 40
    assert sum(row.waits.jobs for row in after.rows) == 40
    assert sum(row.board_hours for row in after.rows) == pytest.approx(40.0)
    assert sum(row.jobs for row in months) == 40


def test_a_job_that_came_late_loses_its_name_too(database: Database, where: Path) -> None:
    forget_names(database, 1, NOW)
    late = Story(begin=MARCH)
    late.life(99, 1.0, 1.0, owner="Zacharias", host="192.0.2.77")
    write(database, late.events)
    with database.writing() as connection:
        names_came_late(connection, late.now)

    forget_names(database, 1, NOW)

    assert files_with(where.parent, "Zacharias") == []


def test_jobs_past_their_day_are_deleted(database: Database, where: Path) -> None:
    deleted = forget_jobs(database, 10, NOW)

    assert deleted == 30
    with database.reading() as connection:
        assert connection.scalar(select(func.min(jobs.c.job))) == 31
        assert connection.scalar(select(func.count()).select_from(places)) == 10
        days = select(func.min(rollups.c.since)).where(rollups.c.length == 1)
        assert connection.scalar(days) == MARCH // DAY + 30
    with closing(History(str(where))) as told:
        # Blocks with a day that was deleted went, too, and are not asked for.
        for since in (MARCH - 3000 * DAY, MARCH, MARCH + 30 * DAY):
            assert told.usage(since, MARCH + 40 * DAY).total.jobs == 10
        assert sum(row.jobs for row in told.series(MARCH, MARCH + 40 * DAY, "month")) == 10
        assert told.usage(MARCH, MARCH + 9 * DAY).total.jobs == 0


def test_names_of_deleted_jobs_are_deleted(database: Database, where: Path) -> None:
    forget_jobs(database, 1, MARCH + 400 * DAY)

    with database.reading() as connection:
        for table in (jobs, places, rollups, names):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_nothing_is_forgotten_twice(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        forget_names(database, 10, NOW)
        forget_names(database, 10, NOW)
        forget_jobs(database, 10, NOW)
        forget_jobs(database, 10, NOW)

    assert [record.getMessage() for record in caplog.records] == [
        "8 names of owners, hosts and principals became pseudonyms",
        "30 jobs that ended more than 10 days ago were deleted",
    ]


def test_a_database_without_names_has_none_to_forget(tmp_path: Path) -> None:
    with closing(Database(str(tmp_path / "empty.db"))) as database:
        forget_names(database, 1, NOW)
        assert forget_jobs(database, 1, NOW) == 0


def test_many_jobs_are_deleted_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server._history.upkeep._AT_A_TIME", 7)

    assert forget_jobs(database, 10, NOW) == 30


def test_a_log_in_use_is_emptied_the_next_time(
    database: Database, where: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(History(str(where), seconds=60.0)) as reader:
        with reader._reading() as connection:
            connection.execute(select(func.count()).select_from(jobs)).all()
            with caplog.at_level("INFO"):
                forget_names(database, 1, MARCH + 41 * DAY)
        database.shrink_log()

    assert "could not be emptied" in caplog.text
    assert files_with(where.parent, "Zacharias") == []
