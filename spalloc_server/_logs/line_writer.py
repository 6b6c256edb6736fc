"""Writes lines in a thread of its own: nobody waits for a pipe or a disk.

Owns the queue between the threads that log and the place where the lines go.  A line that
finds no room is dropped, counted, and told of later.  Knows nothing of log records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

from spalloc_server import _clock

#: Lines as they are, or a function that makes them in the writer's thread; it must not fail.
Lines = bytes | Callable[[], str | None]

#: Lines that may wait to be written. # arbitrary
MOST_LINES = 4000
#: Seconds between two complaints about the same place.
_SECONDS_BETWEEN_COMPLAINTS = 60.0


class Place(Protocol):
    """Where lines go."""

    def write(self, data: bytes) -> str | None:
        """Write whole lines, for as long as that takes.

        Returns
        -------
        str or None
            Trouble that has cost no line, for people.

        Raises
        ------
        OSError, ValueError
            If the lines are lost.
        """

    def close(self) -> None:
        """Write no more."""


class LineWriter:
    """Takes lines from any thread and from signal handlers, and never waits.

    Parameters
    ----------
    name : str
        Of the thread, after "lines-".
    place : Place
        Closed by `close`.
    about_dropped : callable
        Makes a line of the number of lines that were dropped.
    on_trouble : callable, optional
        ``on_trouble(text)``, from this writer's thread, when lines cannot be written, once
        a minute at most.
    seconds_to_gather : float
        For which a line waits for others, to be written with them in one piece; and for which
        the thread rests afterwards.

    Attributes
    ----------
    dropped : int
        Lines that found no room, or could not be written.
    trouble : str or None
        The last failure, for people; None if the last line was written.
    """

    def __init__(
        self,
        name: str,
        place: Place,
        about_dropped: Callable[[int], str],
        on_trouble: Callable[[str], object] | None = None,
        *,
        seconds_to_gather: float = 0.0,
    ) -> None:
        self.trouble: str | None = None
        self._place = place
        self._about_dropped = about_dropped
        self._on_trouble = on_trouble
        self._without_room = 0
        self._unwritten = 0
        self._told_without_room = 0
        self._told_unwritten = 0
        self._seconds_to_gather = seconds_to_gather
        # Set while somebody waits for lines to be written.
        self._hurry = threading.Event()
        self._complained = -float("inf")
        # Reentrant, as a signal handler may log while its thread does.
        self._queue: SimpleQueue[Lines | threading.Event | None] = SimpleQueue()
        # A daemon: a pipe that nobody reads must not keep the process alive.
        self._thread = threading.Thread(target=self._run, name=f"lines-{name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """See the class."""
        return self._without_room + self._unwritten

    def put(self, line: str | Callable[[], str | None]) -> None:
        """Have a line written, or several that belong together.

        Parameters
        ----------
        line : str or callable
            Its text; or it returns the text, in this writer's thread, None if there is none.
        """
        if self._queue.qsize() >= MOST_LINES:
            self._without_room += 1
        else:
            self._queue.put(_bytes(line) if isinstance(line, str) else line)

    def flush(self, seconds: float) -> bool:
        """Wait until all lines so far are written; False if that took too long."""
        if not self._thread.is_alive():
            return False
        written = threading.Event()
        self._hurry.set()  # before the thread, done with the lines, ends the hurry
        self._queue.put(written)
        return written.wait(seconds)

    def close(self, seconds: float) -> bool:
        """Write the lines so far, within some seconds, and no more; twice is harmless."""
        self._hurry.set()
        self._queue.put(None)
        self._thread.join(seconds)
        return not self._thread.is_alive()

    # --- the writer's thread only ---

    def _run(self) -> None:
        lines: list[Lines] = []
        while True:
            item = self._queue.get()
            if isinstance(item, bytes) or callable(item):
                if not lines:
                    # More may follow: the thread is in nobody's way for each of them.
                    self._hurry.wait(self._seconds_to_gather)
                lines.append(item)
                if self._seconds_to_gather and not self._queue.empty():
                    continue
            self._write_out(lines)
            if item is None:
                break
            if isinstance(item, threading.Event):
                self._hurry.clear()
                item.set()
            else:
                # The next line, if it comes soon, is put without waking the thread.
                self._hurry.wait(self._seconds_to_gather)
        self._place.close()

    def _write_out(self, lines: list[Lines]) -> None:
        """Write lines, if there are any, and tell of those that are missing."""
        texts = [text for line in lines if (text := _made(line))]
        lines.clear()
        if not texts:
            return
        # Lines that could not be written came before these; those without room came after them.
        unwritten = self._unwritten - self._told_unwritten
        without_room = self._without_room - self._told_without_room
        written = self._write([*self._missing(unwritten), *texts, *self._missing(without_room)])
        if written:
            self._told_unwritten += unwritten
            self._told_without_room += without_room
        else:
            self._unwritten += len(texts)

    def _missing(self, number: int) -> list[bytes]:
        """Return the line about lines that are missing, if any are."""
        return [_bytes(self._about_dropped(number))] if number else []

    def _write(self, lines: list[bytes]) -> bool:
        """Write lines in one piece; returns whether that worked."""
        written = True
        try:
            self.trouble = self._place.write(b"".join(lines))
        except (OSError, ValueError) as error:
            written = False
            self.trouble = getattr(error, "strerror", None) or str(error)
        if self.trouble is not None and self._on_trouble is not None:
            now = _clock.monotonic()
            if now >= self._complained + _SECONDS_BETWEEN_COMPLAINTS:
                self._complained = now
                self._on_trouble(self.trouble)
        return written


def _made(line: Lines) -> bytes:
    """Return the bytes of a line; none if there is nothing to be told."""
    if isinstance(line, bytes):
        return line
    text = line()
    return b"" if text is None else _bytes(text)


def _bytes(line: str) -> bytes:
    return f"{line}\n".encode("utf-8", "backslashreplace")
