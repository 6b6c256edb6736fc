"""Opening, upgrading and reading databases."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select

from spalloc_server._history.database import Database, HistoryError, TooSlow
from spalloc_server._history.tables import machines, metadata


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "var" / "history.db"


def make(path: Path) -> None:
    Database(str(path)).close()


def test_the_folder_is_for_one_user_and_a_group(path: Path) -> None:
    make(path)

    assert path.parent.stat().st_mode & 0o777 == 0o750
    assert path.stat().st_mode & 0o007 == 0


def test_the_upgrades_make_the_tables_of_this_version(path: Path) -> None:
    with closing(Database(str(path))) as database, database.reading() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_readers_do_not_wait_for_a_writer(path: Path) -> None:
    with closing(Database(str(path))) as writer, closing(
        Database(str(path), read_only=True)
    ) as reader:
        with writer.writing() as connection:
            connection.execute(machines.insert().values(name="m"))
            with reader.reading() as other:
                before = other.execute(select(machines.c.name)).all()
        with reader.reading() as other:
            after = other.execute(select(machines.c.name)).all()

    assert (before, [row.name for row in after]) == ([], ["m"])


def test_nothing_is_written_if_anything_fails(path: Path) -> None:
    with closing(Database(str(path))) as database:
        with pytest.raises(KeyError), database.writing() as connection:
            connection.execute(machines.insert().values(name="m"))
            raise KeyError
        with database.reading() as connection:
            assert connection.execute(select(machines)).all() == []


def test_a_question_that_takes_too_long_is_given_up(path: Path) -> None:
    make(path)
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT n FROM t"
    began = time.monotonic()

    with closing(Database(str(path), read_only=True)) as database:
        given_up = pytest.raises(TooSlow, match=r"given up after 0\.05 s")
        with given_up, database.reading(0.05) as connection:
            connection.exec_driver_sql(f"SELECT count(*) FROM ({endless})").all()
        with database.reading() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1

    assert time.monotonic() - began < 30


def test_a_database_that_is_not_there_is_said(path: Path) -> None:
    with pytest.raises(HistoryError, match=r"history\.db: there is no such file; .* makes it"):
        Database(str(path), read_only=True)


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.write_text("This is a diary of mine, and no database at all.\n" * 20)

    for read_only in (True, False):
        with pytest.raises(HistoryError, match=r"history\.db: file is not a database"):
            Database(str(path), read_only=read_only)


def test_an_empty_database_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "history.db"
    path.touch()

    with pytest.raises(HistoryError, match=r"there are no tables of ours in it; .* makes them"):
        Database(str(path), read_only=True)


def test_a_database_of_a_newer_program_is_left_alone(path: Path) -> None:
    make(path)
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")

    for read_only in (True, False):
        with pytest.raises(HistoryError, match="9999, which this program does not know"):
            Database(str(path), read_only=read_only)


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(HistoryError, match=r"File exists|Not a directory"):
        Database(str(tmp_path / "file" / "history.db"))


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("://", "no URL"),
        ("cuneiform://clay", "is its driver installed"),
        ("mysql://nowhere/history", "is its driver installed"),
    ],
)
def test_a_url_without_sense_is_said(where: str, words: str) -> None:
    with pytest.raises(HistoryError, match=words):
        Database(where)


def test_passwords_are_not_told() -> None:
    with pytest.raises(HistoryError) as raised:
        Database("cuneiform://me:secret@clay")

    assert "secret" not in str(raised.value)


def test_a_locked_database_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spalloc_server._history.database._BUSY", 0.01)
    make(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryError, match="database is locked"):
            Database(str(path))


@pytest.mark.parametrize("read_only", [True, False])
def test_a_folder_is_told_from_a_database(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(HistoryError, match=r"this is a folder; name a file, as in .*/history\.db"):
        Database(str(tmp_path), read_only=read_only)


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_file_that_others_took_away_is_not_written_to(path: Path, how: str) -> None:
    with closing(Database(str(path))) as database:
        with database.writing():
            pass
        if how == "removed":
            path.unlink()
        elif how == "moved":
            path.rename(path.with_name("old.db"))
        else:
            copy = path.with_name("copy.db")
            copy.write_bytes(path.read_bytes())
            copy.replace(path)

        taken = pytest.raises(HistoryError, match=r"others removed, moved or replaced the file")
        with taken, database.writing():
            pytest.fail("it was written to")


def test_a_restored_copy_is_read(path: Path) -> None:
    make(path)
    copy = path.with_name("copy.db")
    with closing(sqlite3.connect(path)) as raw, closing(sqlite3.connect(copy)) as other:
        raw.backup(other)
        other.execute("CREATE TABLE mark (x)")
    question = "SELECT count(*) FROM sqlite_master WHERE name = 'mark'"

    with closing(Database(str(path), read_only=True)) as database:
        with database.reading() as connection:
            assert connection.exec_driver_sql(question).scalar() == 0
        for extra in path.parent.glob("history.db-*"):
            extra.unlink()
        copy.replace(path)
        with database.reading() as connection:
            assert connection.exec_driver_sql(question).scalar() == 1
