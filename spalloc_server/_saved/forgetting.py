"""Files in which names are past their day are written anew, without them.

Owns when that is done, and how: a file is replaced as a whole, so that a crash leaves the old one
or the new one.  The thread of the events file alone uses it, and looks at one file at a time.
Days are UTC's, today included; those of the job log are local.  Must not know which words are
names.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO, Protocol

from spalloc_server import _clock
from spalloc_server._saved.disk import Disk, create, discard, let_go, write_all

#: All midnights, anywhere, are at a quarter of an hour.
_QUARTER = 900.0
_KEY_BYTES = 32
_SUFFIX = ".names.tmp"

Clean = Callable[[bytes], bytes]


class Words(Protocol):
    """Knows the names in lines, and cleans those that are old enough."""

    def learn_event(self, line: bytes) -> None:
        """Learn the names in an event."""

    def learn_log(self, line: bytes) -> None:
        """Learn the names in a line of the job log."""

    def event(self, line: bytes) -> bytes:
        """Return an event without names; the same object if there is nothing to change."""

    def log_line(self, line: bytes) -> bytes:
        """Return a line of the job log likewise."""


class Forgetting:
    """When names are forgotten, and in which files.

    Parameters
    ----------
    key_file : Path
        Holds the key of the pseudonyms; made when it is needed first.
    disk : Disk
        The file system.
    make_words : callable
        ``make_words(key, until, log_until)``, both Unix times, returns the `Words` of one pass.
    log_files : callable
        Begins a new day of the job log, and returns the files of past days.
    on_learned : callable
        Called with the `Words` of a pass, from this thread, before files are written anew.

    Attributes
    ----------
    days : int or None
        Days for which names are kept; None for ever.  Any thread may set it.
    """

    def __init__(
        self,
        key_file: Path,
        disk: Disk,
        make_words: Callable[[bytes, float, float], Words],
        log_files: Callable[[], list[Path]],
        on_learned: Callable[[Words], object],
    ) -> None:
        self.days: int | None = None
        self._key_file = key_file
        self._disk = disk
        self._make_words = make_words
        self._log_files = log_files
        self._on_learned = on_learned
        self._done: tuple[date, date, int] | None = None

    @property
    def due(self) -> bool:
        """Whether names may be past their day now."""
        return self.days is not None and self._done != self._today(self.days)

    def seconds(self) -> float | None:
        """Return in how many seconds that may be so; None if never."""
        return None if self.days is None else _QUARTER - _clock.wall() % _QUARTER

    def _today(self, days: int) -> tuple[date, date, int]:
        now = _clock.wall()
        utc = datetime.fromtimestamp(now, timezone.utc).date()
        return utc, datetime.fromtimestamp(now).date(), days

    def steps(
        self,
        event_files: Callable[[], list[Path]],
        rewrite_events: Callable[[Path, Clean], object],
    ) -> Iterator[None]:
        """Forget the names that are past their day, a file at a time.

        Parameters
        ----------
        event_files : callable
            Returns the files with events.
        rewrite_events : callable
            ``rewrite_events(path, clean)`` writes one of them anew.

        Raises
        ------
        OSError
            If the disk does not take it; it may be tried again from the beginning.
        """
        days = self.days
        assert days is not None
        today = self._today(days)
        try:
            yield from self._steps(days, today, event_files, rewrite_events)
        except OSError:
            raise
        except Exception:
            self._done = today  # our own mistake is not made again and again
            raise
        self._done = today

    def _steps(
        self,
        days: int,
        today: tuple[date, date, int],
        event_files: Callable[[], list[Path]],
        rewrite_events: Callable[[Path, Clean], object],
    ) -> Iterator[None]:
        utc, local = (day - timedelta(days=days - 1) for day in today[:2])
        until = datetime(utc.year, utc.month, utc.day, tzinfo=timezone.utc).timestamp()
        log_until = time.mktime(local.timetuple())
        words = self._make_words(self._key(), until, log_until)
        logs = self._log_files()
        for paths, learn in ((event_files(), words.learn_event), (logs, words.learn_log)):
            for path in paths:
                discard(self._disk, _beside(path))
                for line in _lines(self._disk, path):
                    learn(line)
                yield
        self._on_learned(words)
        for path in event_files():
            rewrite_events(path, words.event)
            yield
        for path in logs:
            rewrite(self._disk, path, words.log_line)
            yield

    def _key(self) -> bytes:
        try:
            found = self._disk.read(self._key_file)
        except FileNotFoundError:
            found = b""
        if len(found) == _KEY_BYTES:
            return found
        key = secrets.token_bytes(_KEY_BYTES)
        _replace(self._disk, self._key_file, lambda fd: write_all(self._disk, fd, key))
        return key


def rewrite(disk: Disk, path: Path, clean: Clean) -> bool:
    """Write a file's lines anew if there is any to be changed; its mode and times stay.

    Returns
    -------
    bool
        Whether it was written.

    Raises
    ------
    OSError
        If the disk does not take it; the file is as before.
    """
    if all(clean(line) is line for line in _lines(disk, path)):
        return False
    status = path.lstat()

    def fill(fd: int) -> None:
        part: list[bytes] = []
        for line in _lines(disk, path):
            part.append(clean(line))
            if len(part) >= 1000:
                write_all(disk, fd, b"".join(part))
                part.clear()
        write_all(disk, fd, b"".join(part))
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))

    _replace(disk, path, fill)
    return True


def _replace(disk: Disk, path: Path, fill: Callable[[int], object]) -> None:
    """Put a new file in another's place, when all of it is on disk."""
    beside = _beside(path)
    fd = create(disk, beside)
    try:
        fill(fd)
        disk.fsync(fd)
    except BaseException:
        let_go(disk, fd)
        discard(disk, beside)
        raise
    let_go(disk, fd)
    disk.rename(beside, path)
    disk.sync_directory(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + _SUFFIX)


def _lines(disk: Disk, path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; none of one that is gone or no plain file."""
    try:
        fd = disk.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        let_go(disk, fd)
        return
    file: BinaryIO
    with os.fdopen(fd, "rb") as file:
        yield from file
