"""A file of lines that is put aside at midnight.

Owns the names of the files of past days and how many are kept.  Goes on in the old file
where it cannot be put aside: no line is lost for that.  Begins a new one where another
program has moved or removed it.
"""

from __future__ import annotations

import os
import re
from datetime import date, datetime
from pathlib import Path

from spalloc_server import _clock

#: Seconds until a file that could not be put aside is tried again.
_SECONDS_BETWEEN_TRIES = 60.0
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class DailyFile:
    """Appends to a file; the file of a past day has that day's date after its name.

    Parameters
    ----------
    filename : str or Path
    days : int
        How many files of past days are kept.

    Raises
    ------
    OSError
        If the file cannot be opened for appending.
    """

    def __init__(self, filename: str | Path, days: int) -> None:
        self._path = Path(filename).absolute()
        self._days = days
        self._trouble: str | None = None
        self._try_again_at = -float("inf")
        self._torn = False
        self._descriptor: int | None = None
        self._open()

    def write(self, data: bytes) -> str | None:
        """Append lines, to today's file if that can be had.

        Returns
        -------
        str or None
            Why yesterday's file could not be put aside, or no new one made.

        Raises
        ------
        OSError
            If the lines are lost; the next ones begin on a line of their own.
        """
        if self._day != _today() and _clock.monotonic() >= self._try_again_at:
            self._put_aside()
        trouble = self._look_for_file() or self._trouble
        assert self._descriptor is not None
        if self._torn:
            data = b"\n" + data
        written = 0
        try:
            while written < len(data):
                written += os.write(self._descriptor, data[written:])
        finally:
            if written:
                self._torn = not data[:written].endswith(b"\n")
        return trouble

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o666)
        found = os.fstat(self._descriptor)
        self._identity = found.st_dev, found.st_ino
        # The day of its last line; an empty file is today's.
        self._day = _date(found.st_mtime) if found.st_size else _today()

    def _put_aside(self) -> None:
        """Begin a new file; if that fails, go on in the old one and try again later."""
        old = self._descriptor
        try:
            # It may be aside already, and only the new one could not be opened.
            if self._path.exists():
                self._path.rename(f"{self._path}.{self._day.isoformat()}")
            self._open()
            self._forget_old_files()
        except OSError as error:
            self._trouble = f"it cannot be put aside for the day: {error.strerror}"
            self._try_again_at = _clock.monotonic() + _SECONDS_BETWEEN_TRIES
        else:
            self._trouble = None
        if old is not None and old != self._descriptor:
            os.close(old)

    def _look_for_file(self) -> str | None:
        """Begin a new file if ours is no longer under its name; returns why there is none."""
        old = self._descriptor
        try:
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                return None
        except OSError:
            pass  # it was removed, or its folder was
        try:
            self._open()
        except OSError as error:
            return f"it was moved or removed, and no new one can be made: {error.strerror}"
        if old is not None:
            os.close(old)
        self._torn = False
        return None

    def _forget_old_files(self) -> None:
        for path in self.past_files()[: -self._days]:
            path.unlink(missing_ok=True)

    def past_files(self) -> list[Path]:
        """Return the files of past days, oldest first; any thread."""
        prefix = f"{self._path.name}."
        return sorted(
            path
            for path in self._path.parent.iterdir()
            if path.name.startswith(prefix) and _DATE.fullmatch(path.name[len(prefix) :])
        )


def _date(wall: float) -> date:
    return datetime.fromtimestamp(wall).date()


def _today() -> date:
    return _date(_clock.wall())
