r"""Lines cut out of a stream of bytes.

Owns the bytes of one connection that have come in and are not taken yet.  Pure: knows neither
sockets nor the meaning of a line.

::

    held   v e r s i o n \n v e r s i o n \n { " c o m
                            ^ _start         ^ _searched: no line end between the two

No byte is searched twice.  A long piece without a line end is kept as a `bytearray`, so that
more bytes are appended without copying those that are there.
"""

from __future__ import annotations

from spalloc_server._wire.messages import MAX_LINE, MalformedError

#: Bytes that may be copied; longer pieces are appended to in place. # arbitrary
_SHORT = 4096


class LineBuffer:
    """The bytes of one connection, handed out line by line.

    Parameters
    ----------
    held : bytes
        That came in before.

    Attributes
    ----------
    held : bytes or bytearray
        Bytes that are not taken yet; exact after `settle`.
    taken : int
        Bytes that were handed out as lines so far, line ends included.
    """

    __slots__ = ("_searched", "_start", "held", "taken")

    def __init__(self, held: bytes | bytearray = b"") -> None:
        self.held = held
        self.taken = 0
        self._start = 0
        self._searched = 0

    def __len__(self) -> int:
        """Bytes that are not taken yet."""
        return len(self.held) - self._start

    def feed(self, data: bytes) -> None:
        """Append bytes that came in."""
        held = self.held
        if not held:
            self.held = data
        elif isinstance(held, bytearray):
            held += data
        elif len(held) + len(data) <= _SHORT:
            self.held = held + data
        else:
            self.held = bytearray(held)
            self.held += data

    def is_too_long(self) -> bool:
        """Whether there are more bytes than one line may have."""
        return len(self) > MAX_LINE

    def has_line(self) -> bool:
        """Whether a whole line is there."""
        end = self.held.find(b"\n", self._searched)
        self._searched = len(self.held) if end < 0 else end
        return end >= 0

    def next_line(self) -> bytes | None:
        """Take one line.

        Returns
        -------
        bytes or None
            Without its line end; None if no whole line is there.

        Raises
        ------
        MalformedError
            If a line, whole or not, has more than `MAX_LINE` bytes.
        """
        start, end = self._start, self.held.find(b"\n", self._searched)
        if end < 0:
            self._searched = end = len(self.held)
        if end - start > MAX_LINE:
            raise MalformedError(f"a line longer than {MAX_LINE} bytes")
        if end == len(self.held):
            return None
        self._start = self._searched = end + 1
        line = self.held[start:end]
        return line if isinstance(line, bytes) else bytes(line)

    def settle(self) -> bytes | bytearray:
        """Drop the lines that were taken, and return the bytes that are left."""
        start, held = self._start, self.held
        if start:
            self.taken += start
            self._start = 0
            self._searched -= start
            if isinstance(held, bytearray):
                del held[:start]  # moves no bytes
            elif len(held) - start <= _SHORT:
                self.held = held[start:]
            else:
                self.held = bytearray(memoryview(held)[start:])
        if len(self.held) <= _SHORT and isinstance(self.held, bytearray):
            self.held = bytes(self.held)
        return self.held

    def clear(self) -> None:
        """Drop all bytes."""
        self.held = b""
        self._start = self._searched = 0
