r"""A journal: what happened since the snapshot that it belongs to.

After the first line (see `_saved.saved_file`) one line of text for each commit::

    8d0f3a11 17 [["created",42,...],["allocated",42,...]]
    \______/ |  \_______________________________________/
     CRC-32   |   outcomes, JSON without line feeds
              number of the record in this journal, from 1

The checksum is over all that follows it and begins from the first line's, so
that no line passes for another journal's.  A record is whole or does not count,
hence all outcomes of a commit happened or none did.  Owns writing, reading and
the thread that fsyncs.  Must not know what an outcome means.
"""

from __future__ import annotations

import errno
import json
import logging
import re
import threading
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from spalloc_server import _clock
from spalloc_server._saved.disk import Disk, create, discard, let_go, write_all
from spalloc_server._saved.saved_file import DamagedError, Header, first_line

log = logging.getLogger(__name__)

_RECORD = re.compile(rb"([0-9a-f]{8}) (([1-9]\d{0,17}) (.*))")

#: Seconds from a write until its fsync begins; half of what is promised.
_SECONDS_UNTIL_FSYNC = 0.5

# ASCII only, so a line feed or half a character cannot hide in it.
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode(outcomes: Sequence[tuple[Any, ...]]) -> bytes:
    """Return the payload of one record.

    Raises
    ------
    TypeError, ValueError or RecursionError
        If an outcome holds what JSON cannot.
    """
    return _encode(outcomes).encode("ascii")


def decode(payload: bytes) -> list[tuple[Any, ...]]:
    """Return the outcomes of a record; tuples inside them have become lists.

    Raises
    ------
    DamagedError
        If it is no list of non-empty lists.
    """
    try:
        outcomes = json.loads(payload.decode("ascii"))
    except (ValueError, RecursionError) as e:
        raise DamagedError(f"is not JSON ({e})") from e
    if not isinstance(outcomes, list) or not all(isinstance(o, list) and o for o in outcomes):
        raise DamagedError("is no list of outcomes")
    return [tuple(outcome) for outcome in outcomes]


def _record(seed: int, number: int, payload: bytes) -> bytes:
    text = b"%d %s" % (number, payload)
    return b"%08x %s\n" % (zlib.crc32(text, seed), text)


class Contents(NamedTuple):
    """What a journal holds.

    `payloads` are the records up to the first bad one, `size` the bytes up to
    there, `stray` the sound records after it: they do not count, but tell which
    ids were given out.  `problem` is None if every byte is accounted for;
    `torn` says that only the last record is incomplete, which is what a crash
    leaves behind.
    """

    payloads: list[bytes]
    size: int
    stray: list[bytes]
    problem: str | None
    torn: bool


def read(data: bytes) -> Contents:
    """Read the records of a journal whose header has been read; never raises."""
    header = first_line(data)
    seed = int(header[-9:-1], 16)
    lines = data[len(header) :].split(b"\n")
    lines.pop()  # what follows the last line feed: nothing, or the torn record
    payloads: list[bytes] = []
    size = len(header)
    for line in lines:
        payload = _payload(seed, line, len(payloads) + 1)
        if payload is None:
            break
        payloads.append(payload)
        size += len(line) + 1
    cut = len(data) - size
    if not cut:
        return Contents(payloads, size, [], None, False)
    stray = [p for line in lines[len(payloads) :] if (p := _payload(seed, line)) is not None]
    torn = len(payloads) == len(lines)
    what = "incomplete" if torn else "damaged"
    problem = f"record {len(payloads) + 1} is {what}: the last {cut} bytes do not count"
    return Contents(payloads, size, stray, problem, torn)


def _payload(seed: int, line: bytes, number: int | None = None) -> bytes | None:
    """Return the payload of a record with any, or that, number; None if it is not sound."""
    match = _RECORD.fullmatch(line)
    if match is None or b"%08x" % zlib.crc32(match[2], seed) != match[1]:
        return None
    if number is not None and int(match[3]) != number:
        return None
    return match[4]


class Journal:
    """A journal open for writing.  Loop thread only.

    Begins its life under a temporary name; `publish` puts it in the place of
    the one before.

    Parameters
    ----------
    disk : Disk
        What writes.
    path : Path
        Where it lies at first.
    header : Header
        The snapshot's generation and pair.

    Raises
    ------
    OSError
        If the disk does not take it; nothing is left behind then.
    """

    def __init__(self, disk: Disk, path: Path, header: Header) -> None:
        self._disk = disk
        self._path = path
        line = header.line()
        self._seed = int(line[-9:-1], 16)
        self._records = 0
        #: Bytes that count: up to the end of the last whole record.
        self.size = len(line)
        #: Whether nothing may be added any more, for it would follow a gap.
        self.sealed = False
        self._fd = create(disk, path)
        try:
            write_all(disk, self._fd, line)
            disk.fsync(self._fd)
        except OSError:
            self.discard()
            raise

    def publish(self, path: Path) -> None:
        """Take the name under which it is looked for."""
        self._disk.rename(self._path, path)
        self._path = path

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write records, all in one call.

        Parameters
        ----------
        payloads : sequence of bytes
            From `encode`.

        Raises
        ------
        OSError
            If the disk does not take them.  None of them counts then, and
            what was written of them is cut off again; if even that fails,
            `sealed` is True.
        """
        data = b"".join(
            _record(self._seed, number, payload)
            for number, payload in enumerate(payloads, self._records + 1)
        )
        try:
            write_all(self._disk, self._fd, data)
        except OSError:
            self._cut_off()
            raise
        self.size += len(data)
        self._records += len(payloads)

    def _cut_off(self) -> None:
        try:
            self._disk.truncate(self._fd, self.size)
        except OSError:
            log.exception("a half-written record stays at the end of %s", self._path)
            self.sealed = True

    def sync(self) -> None:
        """Wait until all records would survive a power cut.  Any thread.

        Raises
        ------
        OSError
            If the disk fails, or the file is not where a start would look for
            it: somebody removed it, or moved or unmounted its folder.
        """
        self._disk.fsync(self._fd)
        if not self._disk.is_at(self._fd, self._path):
            why = "the file was removed or moved"
            raise FileNotFoundError(errno.ENOENT, why, str(self._path))

    def close(self) -> None:
        """Close the file, which stays."""
        let_go(self._disk, self._fd)

    def discard(self) -> None:
        """Close and remove a journal that was never published."""
        self.close()
        discard(self._disk, self._path)


class Syncer:
    """The thread that fsyncs the journal soon after each write.

    Parameters
    ----------
    on_failure : callable
        Told what went wrong, from this thread.  After a failure nobody knows which
        records are on disk, whatever later fsyncs say: the journal must be
        replaced.
    delay : float
        Seconds from the first unsynced write until the fsync begins.
    """

    def __init__(
        self,
        on_failure: Callable[[Exception], None],
        delay: float = _SECONDS_UNTIL_FSYNC,
    ) -> None:
        self._on_failure = on_failure
        self._delay = delay
        #: When everything written was last known to be on disk (monotonic seconds).
        self.last_fsync = _clock.monotonic()
        #: Since when something written waits for an fsync (monotonic); None if nothing does.
        self.unsynced_since: float | None = None
        # Guards all below; also tells of any change to them.
        self._changed = threading.Condition()
        self._journal: Journal | None = None
        self._dirty = False
        self._busy = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, without a last fsync; harmless twice or before `start`."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    # --- loop thread only ---

    def attach(self, journal: Journal) -> None:
        """Fsync this journal from now on."""
        with self._changed:
            self._journal = journal
            self._dirty = False
            self.unsynced_since = None

    def detach(self) -> None:
        """Leave the journal alone: when this returns, it may be closed."""
        with self._changed:
            self._journal = None
            self._dirty = False
            self.unsynced_since = None
            while self._busy:
                self._changed.wait()

    def dirty(self) -> None:
        """Note that something was written."""
        if not self._dirty:
            with self._changed:
                self._dirty = True
                if self.unsynced_since is None:
                    self.unsynced_since = _clock.monotonic()
                self._changed.notify_all()

    def synced(self) -> None:
        """Note that somebody else fsynced."""
        self._dirty = False
        self.unsynced_since = None
        self.last_fsync = _clock.monotonic()

    # --- the thread ---

    def _run(self) -> None:
        while (journal := self._next()) is not None:
            try:
                journal.sync()
                self._synced_now()
            except Exception as e:
                if not isinstance(e, OSError):
                    log.exception("the fsync of the journal failed")
                self._on_failure(e)
            finally:
                with self._changed:
                    self._busy = False
                    self._changed.notify_all()

    def _synced_now(self) -> None:
        with self._changed:
            self.last_fsync = _clock.monotonic()
            # What was written during the fsync has waited less long than that.
            self.unsynced_since = self.last_fsync if self._dirty else None

    def _next(self) -> Journal | None:
        """Wait for a journal to fsync; None at the end."""
        with self._changed:
            while True:
                self._changed.wait_for(lambda: self._dirty or self._stopping)
                self._changed.wait_for(lambda: self._stopping, self._delay)
                if self._stopping:
                    return None
                if self._dirty and self._journal is not None:
                    # Before the fsync: what is written meanwhile is for the next one.
                    self._dirty = False
                    self._busy = True
                    return self._journal
                self._dirty = False
