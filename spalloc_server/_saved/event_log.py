r"""The events file: events that were told, kept for readers that come later.

Text, one event to a line, in segments that are named by their first number::

    .NAME.events.1764331200000000    {"previous":1764300000000123}
                                     {"number":1764331200000000,"event":"started",...}
                                     ...

The first line tells the number of the event before, so that a reader learns whether
anything was dropped.  It is derived: a start adds the events that the saved state has
and the file lacks.  All writing and reading is done by one thread, never by the loop.
Must not know what an event means.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from spalloc_server import _clock
from spalloc_server._saved.audit_file import AuditFile
from spalloc_server._saved.disk import Disk, discard, let_go, write_all
from spalloc_server._saved.disk_trouble import DiskTrouble
from spalloc_server._saved.event_segment import Segment
from spalloc_server._saved.forgetting import Clean, Forgetting, rewrite
from spalloc_server._saved.saved_file import Names

log = logging.getLogger(__name__)

Event = dict[str, Any]

#: Segments that are kept, and bytes after which another one is begun.
SEGMENTS = 4
SEGMENT_BYTES = 16 << 20

#: Most bytes of events in one reply.
REPLY_BYTES = 1 << 20

#: Seconds from an event until it is written with those that came after it, unless it is
#: asked for; a reader does not notice. # arbitrary
_SECONDS_TO_GATHER = 0.02

#: Seconds from a write until its fsync begins.
_SECONDS_UNTIL_FSYNC = 0.5

#: Events that wait for a full disk to have room again; then the oldest are dropped.
_MOST_WAITING = 50_000  # arbitrary; some 20 MB

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class EventLog:
    """The events file of one configuration.

    Parameters
    ----------
    directory : Path
        Where the files are.
    config_name : str
        The configuration's file name, without directory.
    label : str
        Sets file names apart (``simulated``).
    disk : Disk
        The file system.
    audit : AuditFile or None
        Gets the events of the audit, too; those that it lacks when the thread starts.
    forgetting : Forgetting or None
        Forgets names past their day, in all of these files.

    Attributes
    ----------
    inbox : SimpleQueue
        Takes events that are to be written, from any thread: iterables, gone through in the
        log's thread.  Each event has a ``number`` that rises, and is not changed afterwards.
    last : int
        Number of the last event in the file when it was opened; 0 for none.
    settled : int
        Events up to this number are on disk, or a full disk had no room for them.
    on_written : callable or None
        Called with the last number, from the log's thread, when events can be read.
    """

    def __init__(
        self,
        directory: Path,
        config_name: str,
        label: str = "",
        disk: Disk | None = None,
        audit: AuditFile | None = None,
        *,
        forgetting: Forgetting | None = None,
    ) -> None:
        self._forgetting = forgetting
        # The present pass through the files.
        self._forget_steps: Iterator[None] | None = None
        self._audit = audit
        # Whether the audit may lack events that the file has.
        self._audit_lacks = audit is not None
        self._names = Names(directory, config_name, label)
        self._disk = disk if disk is not None else Disk()
        self.on_written: Callable[[int], object] | None = None
        self._trouble = DiskTrouble()
        # The audit may be on another disk.
        self._audit_trouble = DiskTrouble()
        self._segments = self._open_segments()
        self.last = self._segments[-1].last if self._segments else 0
        self.settled = self._written = self.last
        # Number of the last event that was lost; 0 if none was.
        self._lost = 0
        self._fd: int | None = None
        self._size = 0
        self._dirty_since: float | None = None
        # An empty list wakes the thread.
        self.inbox: SimpleQueue[Iterable[Event]] = SimpleQueue()
        # Taken from the inbox, and yet to be written.
        self._waiting: deque[Event] = deque()
        # Set when the thread should not wait for more events.
        self._hurry = threading.Event()
        # Guards all below.
        self._lock = threading.Lock()
        self._questions: list[tuple[int, int, Callable[[bytes], object]]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="event-log", daemon=True)

    def _open_segments(self) -> list[Segment]:
        found = []
        for path in self._names.event_segments():
            try:
                segment = Segment(self._disk, path)
            except (OSError, ValueError) as e:
                log.warning("%s cannot be read, its events are lost: %s", path, e)
                continue
            found.append(segment)
        return found

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # --- any thread ---

    def read(self, after: int, limit: int, answer: Callable[[bytes], object]) -> None:
        """Have events read; returns at once.

        Parameters
        ----------
        after : int
            Number of the last event that the reader knows; 0 for none.
        limit : int
            Most events.
        answer : callable
            Called from the log's thread with JSON: ``{"events": [...], "next": number,
            "lost": bool}``, at most about `REPLY_BYTES` of it.
        """
        with self._lock:
            stopping = self._stopping
            if not stopping:
                self._questions.append((after, limit, answer))
        if stopping:
            answer(_reply([], after, False))
        else:
            self._wake_at_once()

    def keep_names(self, days: int | None) -> None:
        """Keep names for so many days, None for ever; older ones are forgotten at once."""
        assert self._forgetting is not None
        self._forgetting.days = days
        self._wake_at_once()

    def close(self) -> None:
        """Write and fsync all events, and end the thread; harmless twice or before `start`."""
        with self._lock:
            self._stopping = True
        self._wake_at_once()
        if self._thread.ident is not None:
            self._thread.join()
        if self._fd is not None:
            let_go(self._disk, self._fd)
            self._fd = None

    def _wake_at_once(self) -> None:
        self._hurry.set()
        self.inbox.put(())

    # --- the thread ---

    def _run(self) -> None:
        while True:
            if not (self._waiting or self._has_names_to_forget()) or not self._trouble.due:
                # The last turn may have taken in a wake with the events; its flag is left.
                self._receive(0.0 if self._hurry.is_set() else self._seconds())
            # More events may follow: the thread is in the loop's way once for all.
            self._hurry.wait(_SECONDS_TO_GATHER)
            self._hurry.clear()
            with self._lock:
                questions, self._questions = self._questions, []
                stopping = self._stopping
            while self._receive(0.0):
                pass  # events that were told before the question, or the end
            self._guarded(self._forget_removed)
            if self._audit_lacks and (self._audit_trouble.due or stopping):
                self._guarded(self._fill_audit)
            if self._waiting and (self._trouble.due or stopping):
                self._guarded(self._write, list(self._waiting))
            for after, limit, answer in questions:
                self._guarded(self._answer, after, limit, answer)
            if stopping or self._fsync_due():
                self._guarded(self._fsync)
            if self._has_names_to_forget() and not stopping:
                self._guarded(self._forget)
            if stopping:
                return
            # The next events, if they come soon, are put without waking the thread.
            self._hurry.wait(_SECONDS_TO_GATHER)

    def _receive(self, seconds: float | None) -> bool:
        """Take from the inbox, waiting if it is empty; whether there was anything."""
        try:
            self._waiting.extend(self.inbox.get(timeout=seconds))
        except Empty:
            return False
        return True

    def _seconds(self) -> float | None:
        """Return how long there is nothing to do if nothing happens."""
        if self._waiting or self._has_names_to_forget():
            return 1.0  # the disk is in trouble
        seconds = None if self._forgetting is None else self._forgetting.seconds()
        if self._audit_trouble.text is not None:
            seconds = 1.0 if seconds is None else min(1.0, seconds)
        if self._dirty_since is None:
            return seconds
        until_fsync = self._dirty_since + _SECONDS_UNTIL_FSYNC - _clock.monotonic()
        return max(0.0, until_fsync if seconds is None else min(until_fsync, seconds))

    def _fsync_due(self) -> bool:
        since = self._dirty_since
        return since is not None and since + _SECONDS_UNTIL_FSYNC <= _clock.monotonic()

    def _guarded(self, step: Callable[..., None], *args: Any) -> None:
        """Take a step; a failure costs no more than this one."""
        try:
            step(*args)
        except OSError as e:
            self._trouble.met(f"cannot write the events beside {self._names.journal}", e)
        except Exception:
            log.exception("the events file failed")

    # --- writing ---

    def _write(self, events: list[Event]) -> None:
        try:
            self._write_all(events)
        except OSError:
            self._drop_oldest()
            raise
        self._trouble.over()
        if self.on_written is not None:
            self.on_written(self._written)

    def _write_all(self, events: list[Event]) -> None:
        while events:
            if self._fd is None or self._size >= SEGMENT_BYTES:
                self._begin_segment(events[0]["number"])
            part = events[:1000]
            data = "".join(_encode(event) + "\n" for event in part).encode("ascii")
            self._put(data)
            self._written = part[-1]["number"]
            self._segments[-1].grown(self._size, self._written)
            if self._dirty_since is None:
                self._dirty_since = _clock.monotonic()
            for _ in part:
                self._waiting.popleft()
            del events[: len(part)]
            self._audit_part(part)

    def _audit_part(self, events: Iterable[Event]) -> None:
        """Pass events on to the audit; those that it cannot take now are read again later."""
        if self._audit is None or self._audit_lacks:
            return
        self._audit_lacks = True
        try:
            self._audit.take(events)
        except OSError as e:
            self._audit_trouble.met("cannot write the audit", e)
        else:
            self._audit_lacks = False

    def _fill_audit(self) -> None:
        """Give the audit the events that the file has and it lacks."""
        assert self._audit is not None
        self._audit_lacks = False
        after = self._audit.last
        for segment in self._segments:
            lines = segment.lines(after, sys.maxsize, sys.maxsize, first=True)
            self._audit_part(json.loads(line) for line in lines)
        if not self._audit_lacks:
            self._audit_trouble.over()

    def _put(self, data: bytes) -> None:
        """Add to the segment; nothing is left of data that the disk does not take."""
        assert self._fd is not None
        try:
            write_all(self._disk, self._fd, data)
        except OSError:
            self._disk.truncate(self._fd, self._size)
            raise
        self._size += len(data)

    def _drop_oldest(self) -> None:
        """Keep no more events in memory than may wait for a full disk."""
        before = self._lost
        while len(self._waiting) > _MOST_WAITING:
            self._lost = self._waiting.popleft()["number"]
        if self._lost != before and self._dirty_since is None:
            self._settle()

    def _settle(self) -> None:
        """Tell that nothing written waits for the disk."""
        self.settled = max(self._written, self._lost)

    def _begin_segment(self, first: int) -> None:
        """Go on in the newest segment if it has room, or begin another."""
        newest = self._segments[-1] if self._segments else None
        if self._fd is None and newest is not None and newest.size < SEGMENT_BYTES:
            self._fd = self._disk.open(newest.path, os.O_WRONLY | os.O_APPEND)
            self._disk.truncate(self._fd, newest.size)
            self._size = newest.size
            return
        if self._fd is not None:
            self._fsync()
            let_go(self._disk, self._fd)
            self._fd = None
        path = self._names.event_segment(first)
        discard(self._disk, path)
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            line = _encode({"previous": self._written}).encode("ascii") + b"\n"
            write_all(self._disk, fd, line)
            self._disk.sync_directory(path.parent)
        except OSError:
            let_go(self._disk, fd)
            discard(self._disk, path)
            raise
        self._fd, self._size = fd, len(line)
        self._segments.append(Segment(self._disk, path))
        while len(self._segments) > SEGMENTS:
            self._disk.unlink(self._segments.pop(0).path)

    def _forget_removed(self) -> None:
        """Forget the segments that others have removed or moved, and go on without them."""
        removed = [each for each in self._segments if self._disk.look(each.path) is None]
        for segment in removed:
            log.error("others have removed %s: its events are lost", segment.path)
            self._lost = max(self._lost, segment.last)
            if self._fd is not None and segment is self._segments[-1]:
                let_go(self._disk, self._fd)
                self._fd = self._dirty_since = None
                self._settle()
            self._segments.remove(segment)

    def _fsync(self) -> None:
        if self._dirty_since is None or self._fd is None:
            return
        self._dirty_since = None
        self._disk.fsync(self._fd)
        self._settle()

    # --- names past their day ---

    def _has_names_to_forget(self) -> bool:
        return self._forgetting is not None and (
            self._forget_steps is not None or self._forgetting.due
        )

    def _forget(self) -> None:
        """Forget names in one more file; a failure has all of it begun again."""
        if not self._trouble.due:
            return
        steps, self._forget_steps = self._forget_steps, None
        if steps is None:
            assert self._forgetting is not None
            steps = self._forgetting.steps(self._event_files, self._rewrite)
        for _ in steps:
            self._forget_steps = steps
            return
        self._trouble.over()

    def _event_files(self) -> list[Path]:
        audit = [] if self._audit is None else self._audit.files()
        return [*(segment.path for segment in self._segments), *audit]

    def _rewrite(self, path: Path, clean: Clean) -> None:
        """Write a file anew; the newest segment is opened again by the next write."""
        segments = {segment.path: number for number, segment in enumerate(self._segments)}
        if path not in segments:
            rewrite(self._disk, path, clean)
            return
        number = segments[path]
        if self._fd is not None and number == len(self._segments) - 1:
            self._fsync()
            let_go(self._disk, self._fd)
            self._fd = None
        if rewrite(self._disk, path, clean):
            self._segments[number] = Segment(self._disk, path)

    # --- reading ---

    def _answer(self, after: int, limit: int, answer: Callable[[bytes], object]) -> None:
        try:
            reply = self._look_up(after, limit)
        except OSError as e:
            self._trouble.met(f"cannot read the events beside {self._names.journal}", e)
            reply = _reply([], after, False)
        answer(reply)

    def _look_up(self, after: int, limit: int) -> bytes:
        if after > self._written:
            return _reply([], self._written, True)
        segments = [segment for segment in self._segments if segment.last > after]
        lost, known = self._lost > after, after
        found: list[bytes] = []
        room = REPLY_BYTES
        for segment in segments:
            lost, known = lost or segment.previous > known, segment.last
            for line in segment.lines(after, limit - len(found), room, first=not found):
                found.append(line)
                room -= len(line) + 1
            if len(found) >= limit or room <= 0:
                break
        number = _number(found[-1]) if found else after
        return _reply(found, number, lost)


def _number(line: bytes) -> int:
    return int(json.loads(line)["number"])


def _reply(lines: Sequence[bytes], number: int, lost: bool) -> bytes:
    told = b"true" if lost else b"false"
    return b'{"events":[%s],"next":%d,"lost":%s}' % (b",".join(lines), number, told)
