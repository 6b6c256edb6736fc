"""The audit: who gave which order, a JSON object a line, a file a month, never deleted.

Derived from the events, in the order of their numbers: a start adds the lines that the events file
has and the audit lacks.  Used by the thread of the events file alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spalloc_server._saved.disk import Disk, let_go, write_all

#: Bytes at the end of a file in which its last line is looked for; an order is shorter.
_TAIL = 131_072

_encode = json.JSONEncoder(separators=(",", ":")).encode


class AuditFile:
    """The audit of one server.

    Parameters
    ----------
    folder : Path
    stem : str
        Files are named STEM-YYYY-MM.jsonl, by the UTC month of their events.
    disk : Disk
        The file system.

    Attributes
    ----------
    last : int
        Number of the last event in the audit; 0 for none.
    """

    def __init__(self, folder: Path, stem: str, disk: Disk | None = None) -> None:
        self._folder = folder
        self._stem = stem
        self._disk = disk if disk is not None else Disk()
        self.last = max((self._last_of(path) for path in self.files()), default=0)

    def files(self) -> list[Path]:
        """Return the files there are, the oldest first."""
        return sorted(self._folder.glob(f"{self._stem}-[0-9][0-9][0-9][0-9]-[0-9][0-9].jsonl"))

    def _last_of(self, path: Path) -> int:
        """Return the number in the last whole line of a file."""
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _TAIL))
                lines = file.read().split(b"\n")[:-1]
        except OSError:
            return 0
        for line in reversed(lines):
            try:
                return int(json.loads(line)["number"])
            except (ValueError, KeyError, TypeError):
                continue  # torn, or somebody wrote into it
        return 0

    def take(self, events: Iterable[dict[str, Any]]) -> None:
        """Write those of some events that belong into the audit and are not in it yet.

        Raises
        ------
        OSError
            If the disk does not take them; they may be given again.
        """
        for event in events:
            if event["event"] == "audit" and event["number"] > self.last:
                self._write(event)
                self.last = event["number"]

    def _write(self, event: dict[str, Any]) -> None:
        month = time.strftime("%Y-%m", time.gmtime(event["time"]))
        path = self._folder / f"{self._stem}-{month}.jsonl"
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        try:
            write_all(self._disk, fd, _encode(event).encode("ascii") + b"\n")
            self._disk.fsync(fd)
        finally:
            let_go(self._disk, fd)
