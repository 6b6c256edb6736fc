"""One segment of the events file, to be read.

Finds lines by their numbers without reading the whole.  The thread of the events file
alone uses it.  Must not know what an event means.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from spalloc_server._saved.disk import Disk

#: Every line of an event begins like this.
_LINE = re.compile(rb'\{"number":(\d{1,16}),.*\}')

#: Bytes read at a time: more than most replies have.
_CHUNK = 65_536

#: Longest line that is looked for.
_LONGEST = 4 << 20


class Segment:
    """A segment; its first line, and the whole lines after it.

    Parameters
    ----------
    disk : Disk
        The file system.
    path : Path
        The file.

    Attributes
    ----------
    previous : int
        Number of the event before its first one; 0 if there was none.
    last : int
        Number of its last event; `previous` if it has none.
    size : int
        Bytes up to the end of the last whole line.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it does not begin like a segment.
    """

    def __init__(self, disk: Disk, path: Path) -> None:
        self._disk = disk
        self.path = path
        data = disk.read(path, _CHUNK)
        self._start = data.find(b"\n") + 1
        head = json.loads(data[: self._start])
        self.previous = self.last = int(head["previous"])
        self.size = self._start
        self._find_end()

    def _find_end(self) -> None:
        """Find the last whole line; a crash or a power cut may have left rubbish behind it."""
        fd = self._disk.open(self.path, os.O_RDONLY)
        try:
            end = self._disk.size(fd)
            chunk = _CHUNK
            while True:
                begin = max(self._start, end - chunk)
                data = os.pread(fd, end - begin, begin)
                for found in reversed(list(re.finditer(rb"[^\n]*\n", data))):
                    match = _LINE.fullmatch(found[0][:-1])
                    whole = begin == self._start or found.start() > 0
                    if match is not None and whole and _is_json(found[0]):
                        self.last = int(match[1])
                        self.size = begin + found.end()
                        return
                if begin == self._start or chunk > _LONGEST:
                    return
                chunk *= 4
        finally:
            self._disk.close(fd)

    def grown(self, size: int, last: int) -> None:
        """Note that lines were added."""
        self.size, self.last = size, last

    def lines(self, after: int, most: int, room: int, *, first: bool) -> Iterator[bytes]:
        """Return the lines of events after a number, without their line feeds.

        Parameters
        ----------
        after : int
            Number of an event.
        most : int
            Most lines.
        room : int
            Bytes that all lines together may have.
        first : bool
            Whether the first line may have more than that, so that no event
            stands in the way of the next.
        """
        fd = self._disk.open(self.path, os.O_RDONLY)
        try:
            position = self._offset_after(fd, after)
            rest = b""
            while position < self.size and most > 0 and room > 0:
                data = os.pread(fd, min(_CHUNK, self.size - position), position)
                if not data:
                    return
                position += len(data)
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    match = _LINE.fullmatch(line)
                    if match is None or int(match[1]) <= after:
                        continue
                    if most <= 0 or (len(line) > room and not first):
                        return
                    yield line
                    first = False
                    most -= 1
                    room -= len(line) + 1
        finally:
            self._disk.close(fd)

    def _offset_after(self, fd: int, after: int) -> int:
        """Return the beginning of a line, at most some chunks before the first that is wanted."""
        low, high = self._start, self.size
        while high - low > _CHUNK:
            middle = (low + high) // 2
            data = os.pread(fd, _CHUNK, middle)
            begin = data.find(b"\n") + 1
            match = re.match(rb'\{"number":(\d{1,16}),', data[begin:]) if begin else None
            if match is None or int(match[1]) > after:
                high = middle
            else:
                low = middle + begin
        return low


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
