"""Lines of JSON, to and from bytes; knows no sockets, threads or clocks."""

import json
from typing import Any

from spalloc_client.errors import ProtocolError

#: The longest line accepted, in bytes. Ten thousand jobs of a million-core machine
#: stay below it by a factor of ten; without a bound, noise would fill the memory.
MAX_LINE = 1 << 28


class LineBuffer:
    """Cuts a stream of bytes into JSON objects, one per line."""

    def __init__(self, max_line: int = MAX_LINE) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._max_line = max_line

    def feed(self, data: bytes) -> list[dict[str, Any]]:
        """Take bytes that have arrived and return the objects that they complete.

        Parameters
        ----------
        data : bytes
            Any number of bytes, cut anywhere.

        Returns
        -------
        list of dict
            In the order of the lines; blank lines are skipped.

        Raises
        ------
        ProtocolError
            If a line is no JSON object in UTF-8, or longer than `max_line` bytes.
        """
        *ends, rest = data.split(b"\n")
        messages = []
        for end in ends:
            line = b"".join((*self._parts, end)).strip()
            self._parts = []
            self._size = 0
            if line:
                messages.append(_parse(line))
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > self._max_line:
                raise ProtocolError(f"the server sent a line of more than {self._max_line} bytes")
        return messages


def _parse(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError) as exc:
        raise ProtocolError(f"the server sent something that is not JSON: {line[:60]!r}") from exc
    if not isinstance(message, dict):
        raise ProtocolError(f"the server sent JSON that is no object: {line[:60]!r}")
    return message


def encode_call(name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> bytes:
    """Write a command as the line that asks for it.

    Raises
    ------
    TypeError, ValueError
        If an argument cannot be written as JSON (NaN and infinity cannot).
    """
    call = {"command": name, "args": args, "kwargs": kwargs}
    return json.dumps(call, allow_nan=False).encode("ascii") + b"\n"
