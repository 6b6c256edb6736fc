"""Standard output and standard error as places for lines.

Owns writing to a descriptor that may be slow, full, gone or not there at all.  Python's
own streams are not used where there is a descriptor: a thread that waits in one holds a
lock that the interpreter wants at its end.
"""

from __future__ import annotations

import io
import os
import select
from typing import TextIO


class Stream:
    """Writes to a text stream, past it if it has a descriptor.

    Parameters
    ----------
    stream : text stream or None
        None, as where there is no standard error, takes everything and keeps nothing.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self._descriptor = _descriptor_of(stream)
        self._encoding = getattr(stream, "encoding", None) or "utf-8"

    def write(self, data: bytes) -> None:
        """Write lines (UTF-8) in the stream's own encoding.

        Raises
        ------
        OSError, ValueError
            If the stream is closed, or its disk full.
        """
        text = data.decode("utf-8")
        if self._descriptor is not None:
            _write_all(self._descriptor, text.encode(self._encoding, "backslashreplace"))
        elif self._stream is not None:
            self._stream.write(text)
            self._stream.flush()

    def close(self) -> None:
        """Leave the stream open: it is the process's."""


def _descriptor_of(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (AttributeError, ValueError, io.UnsupportedOperation):
        return None


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:
            # Its other end made it non-blocking; this thread may wait.
            waiting = select.poll()
            waiting.register(descriptor, select.POLLOUT)
            waiting.poll()
