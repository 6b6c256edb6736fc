"""A connection that is kept over a restart: its name in the store, its record, its counts."""

from __future__ import annotations

from typing import Any

from spalloc_server._wire.kernel_counts import Counts
from spalloc_server._wire.record import Record


class Carried:
    """One client's connection, as the next process will find it.

    Parameters
    ----------
    name : str
        In the service manager's store.
    record : Record
    counts : Counts
        The kernel's, at a moment at which all was answered.
    handed : int
        Bytes of output that the kernel had been given at that moment, as `Output` counts.
    """

    __slots__ = ("_written", "name", "read", "record")

    def __init__(self, name: str, record: Record, counts: Counts, handed: int) -> None:
        self.name = name
        self.record = record
        self.read = counts.read
        self._written = counts.written - handed
        record.write_counts(*counts)

    def note_output(self, handed: int) -> None:
        """Note that all that was read is answered once so many bytes are with the kernel."""
        self.record.write_counts(self.read, self._written + handed)

    def note_body(self, body: dict[str, Any]) -> bool:
        """Note watches and identity; False if they are too long to be kept."""
        return self.record.write_body(body)

    def end(self) -> None:
        """Have the next process find nothing."""
        self.record.void()
        self.record.close()
