"""All of it with PostgreSQL: nothing is SQLite's alone."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from spalloc_server._history.database import Database, HistoryError, TooSlow
from spalloc_server._history.history import History, JobFilter
from spalloc_server._history.tables import metadata
from spalloc_server._history.upkeep import forget_jobs, forget_names
from tests.history.story import DAY, MARCH, Story, write


def programs() -> Path | None:
    """Folder of the newest PostgreSQL of Debian; None if there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


def account() -> str:
    """Name of a user that may run PostgreSQL, which root may not."""
    return "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


pytestmark = [
    pytest.mark.skipif(programs() is None, reason="needs PostgreSQL, Debian's postgresql"),
    pytest.mark.skipif(
        importlib.util.find_spec("psycopg") is None, reason="needs psycopg, the extra postgresql"
    ),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A PostgreSQL of our own, behind a Unix socket."""
    binaries = programs()
    assert binaries is not None
    # Short: the path of a Unix socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, account())
    options: dict[str, Any] = {"cwd": folder}
    if os.geteuid() == 0:
        options["user"] = account()
    data = str(folder / "data")
    subprocess.run(
        [str(binaries / "initdb"), "-D", data, "-U", "me", "-A", "trust", "--no-sync"],
        check=True,
        capture_output=True,
        **options,
    )
    command = [str(binaries / "postgres"), "-D", data, "-k", str(folder), "-h", "", "-F"]
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options
    ) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "ready to accept connections" in line:
                break
        server.stderr.close()
        try:
            yield f"postgresql+psycopg://me@/postgres?host={folder}"
        finally:
            server.send_signal(signal.SIGINT)
            server.wait()
            shutil.rmtree(folder)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with closing(Database(url)) as database:
        with database.writing() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        yield database


def story() -> Story:
    story = Story()
    story.machine()
    for day in range(40):
        story.now = MARCH + day * DAY
        owner = ("ada", "ben")[day % 2]
        story.life(day + 1, 10.0 * day, 3600.0, (3, 0, 2, 1), owner=owner)
    about: dict[str, Any] = {"machine": "m", "board": [0, 0, 1], "job": 40}
    story.tell("board out", **about, kind="fpga", text="no answer", physical=[0, 0, 3])
    story.tell("board back", 9.0, **about, how="test passed")
    story.tell("report", **about, host="10.1.2.3", text="it hangs")
    return story


def test_the_upgrades_make_the_tables_of_this_version(database: Database) -> None:
    with database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_answers_are_those_of_sqlite(url: str, database: Database, tmp_path: Path) -> None:
    told = story()
    lite = Database(str(tmp_path / "history.db"))
    for each in (database, lite):
        write(each, told.events)
        write(each, told.events)
    lite.close()
    span = (MARCH, MARCH + 40 * DAY)

    with closing(History(url)) as ours, closing(History(str(tmp_path / "history.db"))) as other:
        for wanted in (
            JobFilter(owner="ada"),
            JobFilter(machine="m", board=(0, 0, 2)),
            JobFilter(reason="DON", ended=True),
            JobFilter(network="10.1.2.0/24", since=MARCH + DAY, until=MARCH + 9 * DAY),
        ):
            rows, others = ours.jobs(wanted).rows, other.jobs(wanted).rows
            assert [row[1:] for row in rows] == [row[1:] for row in others]
            assert rows
        page = ours.jobs(limit=7)
        assert ours.jobs(after=page.next, limit=7).rows[0].job == 33
        for by in ("owner", "machine", "network", "day", "month"):
            assert ours.usage(*span, by=by) == other.usage(*span, by=by)
        assert ours.series(*span, machine="m") == other.series(*span, machine="m")
        assert ours.waits(*span, owner="ben") == other.waits(*span, owner="ben")
        assert [row[1:] for row in ours.faults("m", (0, 0, 1))] == [
            row[1:] for row in other.faults("m", (0, 0, 1))
        ]
        assert ours.faults_by_frame() == other.faults_by_frame()
        detail = ours.job(40)
        assert detail is not None
        assert detail.reports[0].text == "it hangs"


def test_names_and_jobs_are_forgotten(url: str, database: Database) -> None:
    write(database, story().events)

    forget_names(database, 10, MARCH + 40 * DAY + 60)
    deleted = forget_jobs(database, 20, MARCH + 40 * DAY + 60)

    with closing(History(url)) as history:
        rows = history.jobs(limit=100).rows
        usage = history.usage(MARCH, MARCH + 40 * DAY)
    assert deleted == 20
    assert sum(row.pseudonym for row in rows) == 11
    assert usage.total.jobs == 20
    assert len(usage.rows) == 4


def test_a_question_that_takes_too_long_is_given_up(url: str, database: Database) -> None:
    with closing(Database(url, read_only=True)) as reader:
        given_up = pytest.raises(TooSlow, match=r"given up after 0\.1 s")
        with given_up, reader.reading(0.1) as connection:
            connection.exec_driver_sql("SELECT pg_sleep(60)")


def test_a_server_that_is_not_there_is_said() -> None:
    with pytest.raises(HistoryError, match="connection"):
        Database("postgresql+psycopg://me:secret@/postgres?host=/nowhere")
