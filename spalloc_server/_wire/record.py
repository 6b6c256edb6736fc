"""The record of a connection, in a piece of memory that outlives the process.

::

    0     8              24             40    48
    magic | read written | read written | body |  ...  4096: a body    69632: the other body
            counts         counts         place and length of the body that counts; 0: no record

A record is right at every instant, since the process may be killed at any: numbers of eight bytes
are written whole; counts go to the older of two places, before the output that makes them true; a
body goes to the place that does not count, before it does.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from typing import Any, NamedTuple

from spalloc_server._wire.kernel_counts import Counts

_MAGIC = b"spalloc1"
_COUNTS = (8, 24)
_BODY = 40
_HEADER = 4096
#: Longest body; a connection with more is not kept over a restart. # arbitrary
MAX_BODY = 1 << 16
_PLACES = (_HEADER, _HEADER + MAX_BODY)
# Native, so that a number is copied whole.
_PAIR, _WORD = struct.Struct("@QQ"), struct.Struct("@Q")


class Told(NamedTuple):
    """The content of a record: two pairs of counts, one of them right, and the body."""

    counts: tuple[Counts, Counts]
    body: dict[str, Any]


class Record:
    """A connection's record, to be written.

    Parameters
    ----------
    descriptor : int
        Of a record's memory; owned by this object.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map = mmap.mmap(descriptor, _HEADER)
        self._older = 0

    @classmethod
    def new(cls) -> Record:
        """Make an empty record.

        Raises
        ------
        OSError
            If there is no memory or descriptor to be had.
        """
        descriptor = os.memfd_create("spalloc-connection", os.MFD_CLOEXEC)
        try:
            os.ftruncate(descriptor, _PLACES[1] + MAX_BODY)
            os.pwrite(descriptor, _MAGIC, 0)
            return cls(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def write_counts(self, read: int, written: int) -> None:
        """Note the counts as they will be when the next output is with the kernel."""
        older = self._older
        _PAIR.pack_into(self._map, _COUNTS[older], read, written)
        self._older = 1 - older

    def write_body(self, body: dict[str, Any]) -> bool:
        """Note anything else; False if it is too long, which makes the record void."""
        data = json.dumps(body).encode()
        if len(data) > MAX_BODY:
            self.void()
            return False
        (word,) = _WORD.unpack_from(self._map, _BODY)
        place = _PLACES[0] if word >> 32 != _PLACES[0] else _PLACES[1]
        os.pwrite(self.descriptor, data, place)
        _WORD.pack_into(self._map, _BODY, place << 32 | len(data))
        return True

    def void(self) -> None:
        """Have the record tell of no connection."""
        _WORD.pack_into(self._map, _BODY, 0)

    def close(self) -> None:
        """Give the memory back, as far as this process is concerned."""
        self._map.close()
        os.close(self.descriptor)


def read_record(descriptor: int) -> Told | None:
    """Return the content of a record; None if it is void, or no record.

    Raises
    ------
    OSError
        If it cannot be read.
    """
    header = os.pread(descriptor, _BODY + _WORD.size, 0)
    if len(header) < _BODY + _WORD.size or not header.startswith(_MAGIC):
        return None
    (word,) = _WORD.unpack_from(header, _BODY)
    place, length = word >> 32, word & 0xFFFFFFFF
    if place not in _PLACES or length > MAX_BODY:
        return None
    try:
        body = json.loads(os.pread(descriptor, length, place))
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    first, second = (Counts(*_PAIR.unpack_from(header, at)) for at in _COUNTS)
    return Told((first, second), body)
