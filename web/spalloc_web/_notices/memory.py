"""The memory of notices over restarts: news that wait, and times of messages.

A SQLite file of its own, written by the notices' thread alone.  News wait for a day at most, so
that the file has no names past their day.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from spalloc_web._notices.news import News

_TABLES = """
CREATE TABLE IF NOT EXISTS cursor (destination TEXT PRIMARY KEY, number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS waiting (
    id INTEGER PRIMARY KEY, destination TEXT NOT NULL, number INTEGER NOT NULL,
    time REAL NOT NULL, kind TEXT NOT NULL, text TEXT NOT NULL,
    UNIQUE (destination, number, text)
);
CREATE TABLE IF NOT EXISTS sent (destination TEXT NOT NULL, time REAL NOT NULL);
"""


class Memory:
    """The file.

    Parameters
    ----------
    path
        Made if it is not there, readable by its user alone.

    Raises
    ------
    sqlite3.Error, OSError
        If it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._file = sqlite3.connect(path, check_same_thread=False, timeout=2.0)
        # Reports may have names in them: nothing of news that are gone stays in the file.
        self._file.execute("PRAGMA secure_delete = ON")
        with self._file:
            self._file.executescript(_TABLES)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def cursor(self, destination: str) -> int:
        """Return the number of the last event that was taken for a destination; 0: none."""
        row = self._file.execute(
            "SELECT number FROM cursor WHERE destination = ?", (destination,)
        ).fetchone()
        return int(row[0]) if row else 0

    def take(self, destination: str, news: list[News], number: int) -> None:
        """Have news wait for a destination, and move its cursor; both or neither.

        Parameters
        ----------
        number
            Of the last event looked at.
        """
        with self._file:
            self._file.executemany(
                "INSERT OR IGNORE INTO waiting (destination, number, time, kind, text)"
                " VALUES (?, ?, ?, ?, ?)",
                [(destination, *each) for each in news],
            )
            self._file.execute(
                "INSERT INTO cursor VALUES (?, ?) ON CONFLICT (destination)"
                " DO UPDATE SET number = max(number, excluded.number)",
                (destination, number),
            )

    def waiting(self, destination: str) -> list[tuple[int, News]]:
        """Return the news that wait for a destination, oldest first, with their keys."""
        rows = self._file.execute(
            "SELECT id, number, time, kind, text FROM waiting WHERE destination = ? ORDER BY id",
            (destination,),
        )
        return [(row[0], News(*row[1:])) for row in rows]

    def forget(self, keys: list[int]) -> None:
        """Take away news that wait no longer."""
        with self._file:
            self._file.executemany("DELETE FROM waiting WHERE id = ?", [(key,) for key in keys])

    def note_sent(self, destination: str, keys: list[int], now: float) -> None:
        """Note that a message has gone out, and take away the news it held."""
        with self._file:
            self._file.execute("INSERT INTO sent VALUES (?, ?)", (destination, now))
            self._file.execute("DELETE FROM sent WHERE time < ?", (now - 7200,))
            self._file.executemany("DELETE FROM waiting WHERE id = ?", [(key,) for key in keys])

    def sent_since(self, destination: str, since: float) -> int:
        """Return how many messages went to a destination since a moment."""
        row = self._file.execute(
            "SELECT count(*) FROM sent WHERE destination = ? AND time >= ?", (destination, since)
        ).fetchone()
        return int(row[0])
