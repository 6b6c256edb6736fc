"""The history database: how it is opened, upgraded, written and read.

Owns connections, transactions, time limits and the wording of troubles with a database.
Knows no table apart from Alembic's own.

SQLite runs with a write-ahead log, so that readers never wait for the follower.  Any other
database that SQLAlchemy knows can be given as a URL; PostgreSQL is tested.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from spalloc_server._history.errors import HistoryError, TooSlow

__all__ = ("Database", "HistoryError", "TooSlow")

log = logging.getLogger(__name__)

#: Seconds that a question may take.
PATIENCE = 5.0

#: Seconds to wait for another writer.
_BUSY = 10.0
#: SQLite looks at the clock every so many steps of its machine; about 0.1 ms.
_STEPS = 10_000
_FOLDER_MODE, _FILE_MODE = 0o750, 0o640


def database_url(where: str) -> URL:
    """Read the place of a database: a URL, or the path of an SQLite file.

    Raises
    ------
    HistoryError
        If it is neither.
    """
    if "://" not in where:
        return URL.create("sqlite", database=where)
    try:
        return make_url(where)
    except ArgumentError as e:
        raise HistoryError(f"{where!r} is no URL of a database: {e}") from e


class Database:
    """An open database.

    Parameters
    ----------
    where : str
        A URL, or the path of an SQLite file.
    read_only : bool
        Whether nothing is to be made or changed.

    Raises
    ------
    HistoryError
        If it cannot be opened; if it is to be read, also if it is not of this program's
        version.
    """

    def __init__(self, where: str, *, read_only: bool = False) -> None:
        self.url = database_url(where)
        self._read_only = read_only
        self._is_sqlite = self.url.get_backend_name() == "sqlite"
        # The file that was opened; None where there is none.
        self._file: tuple[int, int] | None = None
        try:
            self.engine = self._engine()
        except (NoSuchModuleError, ImportError) as e:
            raise HistoryError(f"{self}: {e}; is its driver installed?") from e
        except OSError as e:
            raise HistoryError(f"{self}: {e}") from e
        if read_only:
            self._check_version()
        else:
            self._upgrade()
        self._file = self._file_now()

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Do all that is done with the connection, or nothing of it.

        Raises
        ------
        HistoryError
            If the database does not take it, or its file is no longer the one that was opened.
        """
        if self._file is not None and self._file_now() != self._file:
            raise HistoryError(f"{self}: others removed, moved or replaced the file; start again")
        with self._troubles(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self, seconds: float = PATIENCE) -> Iterator[Connection]:
        """Read one state of the database.

        Parameters
        ----------
        seconds : float
            After which a statement is given up.

        Raises
        ------
        TooSlow
            If one was given up.
        HistoryError
            If the database cannot be read.
        """
        self._follow_file()
        deadline = time.monotonic() + seconds
        try:
            with (
                self._troubles(),
                self.engine.connect() as connection,
                self._limited(connection, deadline, seconds),
            ):
                yield connection
        except HistoryError as e:
            if time.monotonic() >= deadline:
                raise TooSlow(f"given up after {seconds:g} s; ask for less") from e
            raise

    def shrink_log(self) -> None:
        """Leave nothing in SQLite's write-ahead log, where old pages stay else.

        While others read this may have no effect; then the next time has.
        """
        if self._is_sqlite:
            with self._troubles(), closing(self.engine.raw_connection()) as raw:
                busy, *_ = raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if busy:
                log.info("%s: the write-ahead log is in use and could not be emptied", self)

    # --- the file ---

    def _file_now(self) -> tuple[int, int] | None:
        """Return which file has the database's name, by device and inode."""
        try:
            found = Path(self.url.database or "").resolve().stat() if self._is_sqlite else None
        except OSError:
            return None
        return None if found is None else (found.st_dev, found.st_ino)

    def _follow_file(self) -> None:
        """Go on with the file that has the name now: a copy may have been restored."""
        now = self._file_now()
        if self._file is not None and now not in (None, self._file):
            self._file = now
            self.engine.dispose()

    # --- opening ---

    def _engine(self) -> Engine:
        if not self._is_sqlite:
            return create_engine(self.url, pool_pre_ping=True)
        path = Path(self.url.database or ":memory:")
        if self._read_only and not path.exists():
            raise HistoryError(f"{self}: there is no such file; `spalloc-history follow` makes it")
        if path.is_dir():
            raise HistoryError(f"{self}: this is a folder; name a file, as in {path}/history.db")
        if not self._read_only:
            path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            path.touch(mode=_FILE_MODE)
        mode = "ro" if self._read_only else "rw"
        uri = f"{path.resolve().as_uri()}?mode={mode}"
        engine = create_engine(
            "sqlite://",
            creator=lambda: sqlite3.connect(
                uri, uri=True, timeout=_BUSY, isolation_level=None, check_same_thread=False
            ),
            pool_size=5,
            max_overflow=20,
            poolclass=QueuePool,
        )
        event.listen(engine, "connect", self._set_up_sqlite)
        event.listen(engine, "begin", self._begin_sqlite)
        return engine

    def _set_up_sqlite(self, connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA foreign_keys = ON")
        if not self._read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            # Names past their day must not be left in pages that are free.
            connection.execute("PRAGMA secure_delete = ON")

    def _begin_sqlite(self, connection: Connection) -> None:
        # One that writes must not find out half-way that another one does.
        connection.exec_driver_sql("BEGIN" if self._read_only else "BEGIN IMMEDIATE")

    def _upgrade(self) -> None:
        """Bring the tables to this program's version."""
        script = _script()
        with self.writing() as connection:
            before = MigrationContext.configure(connection).get_current_revision()
            _check_known(script, before, self)
            if before == script.get_current_head():
                return
            with EnvironmentContext(
                Config(), script, fn=lambda revision, _: script._upgrade_revs("head", revision)
            ) as environment:
                environment.configure(connection=connection, transactional_ddl=False)
                environment.run_migrations()
        log.info(
            "%s: tables of version %s, %s",
            self,
            script.get_current_head(),
            "new" if before is None else f"upgraded from {before}",
        )

    def _check_version(self) -> None:
        script = _script()
        with self.reading() as connection:
            revision = MigrationContext.configure(connection).get_current_revision()
        _check_known(script, revision, self)
        if revision is None:
            raise HistoryError(
                f"{self}: there are no tables of ours in it; `spalloc-history follow` makes them"
            )
        if revision != script.get_current_head():
            raise HistoryError(
                f"{self}: its tables are of version {revision}, this program reads version "
                f"{script.get_current_head()}; `spalloc-history follow` upgrades them"
            )

    # --- troubles and limits ---

    @contextmanager
    def _troubles(self) -> Iterator[None]:
        """Tell of a database's troubles in one kind of error."""
        try:
            yield
        except SQLAlchemyError as e:
            cause = e.orig if isinstance(e, DatabaseError) and e.orig is not None else e
            raise HistoryError(f"{self}: {str(cause).strip()}") from e

    @contextmanager
    def _limited(self, connection: Connection, deadline: float, seconds: float) -> Iterator[None]:
        """Give up a statement when the time is over."""
        if not self._is_sqlite:
            with suppress(SQLAlchemyError):
                connection.execute(text(f"SET LOCAL statement_timeout = {int(seconds * 1e3)}"))
            yield
            return
        raw: Any = connection.connection.dbapi_connection
        raw.set_progress_handler(lambda: time.monotonic() >= deadline, _STEPS)
        try:
            yield
        finally:
            raw.set_progress_handler(None, 0)


@functools.cache
def _script() -> ScriptDirectory:
    return ScriptDirectory(str(Path(__file__).parent / "migrations"))


def _check_known(script: ScriptDirectory, revision: str | None, database: Database) -> None:
    """Refuse a database of a version that this program does not know."""
    known = {each.revision for each in script.walk_revisions()}
    if revision is not None and revision not in known:
        raise HistoryError(
            f"{database}: its tables are of version {revision}, which this program does not know; "
            "it was written by a newer one"
        )
