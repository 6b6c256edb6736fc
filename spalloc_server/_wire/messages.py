"""Lines of JSON: the form of commands, replies and notifications.

Owns the form of commands, replies and notifications.  Pure:
knows neither sockets nor the effect of any command.
"""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

#: A line longer than this is malformed.
MAX_LINE = 1 << 20
#: Whole numbers of more digits than this stand for larger ones than anybody has; below what
#: Python converts at most (`sys.set_int_max_str_digits`, at least 640).
_MOST_DIGITS = 600
_LARGEST: int = 10**_MOST_DIGITS - 1
#: Lines that are remembered: not longer than this (bytes), and not more of them: on the largest
#: machine each of 1,200 boards may be a job that is asked about and kept alive. # arbitrary
_SHORT = 160
#: Bytes of a line that may have so many objects that collecting garbage meanwhile doubles the
#: time. # arbitrary
_LONG = 16_384
_MOST_REMEMBERED = 4096


#: A reply's first and last bytes.
_RETURNED, _END = b'{"return": ', b"}\n"


class MalformedError(ValueError):
    """A line is no command; its client is to be disconnected."""


class Command(NamedTuple):
    """A command as it came in; its name and arguments are not yet checked."""

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]


class Row(dict[str, Any]):
    """An object that will be sent often: remembers how it reads as JSON.

    It must not be changed once it has been sent.
    """

    __slots__ = ("_json", "_reply")

    @property
    def reply(self) -> bytes:
        """The object as the reply of a command."""
        try:
            return self._reply
        except AttributeError:
            self._reply: bytes = _RETURNED + self.json + _END
            return self._reply

    @property
    def json(self) -> bytes:
        """The object as JSON; may be set by code that knows it."""
        try:
            return self._json
        except AttributeError:
            self._json: bytes = encoded(self)
            return self._json

    @json.setter
    def json(self, json: bytes) -> None:
        self._json = json


class Rows(list[Row]):
    """An array of rows, which remembers how it reads as a reply.

    It must not be changed once it has been sent.
    """

    __slots__ = ("_reply",)

    @property
    def reply(self) -> bytes:
        """The array as the reply of a command."""
        try:
            return self._reply
        except AttributeError:
            # One piece of memory for all, as it may be long.
            rows = ((b", ", row.json) for row in self)
            pieces = list(chain.from_iterable(rows))[1:]
            self._reply: bytes = b"".join((_RETURNED, b"[", *pieces, b"]", _END))
            return self._reply


def decode(line: bytes) -> Command:
    """Read one line, without its line end.

    Short ones are remembered, as clients send the same again and again.

    Raises
    ------
    MalformedError
        If it is not a command as the protocol has it.
    """
    if len(line) > _SHORT:
        return _read(line) if len(line) <= _LONG else _read_long(line)
    command = known(line + b"\n")
    if command is None:
        command = _read(line)
        if _unchangeable(command):
            if len(_remembered) >= _MOST_REMEMBERED:
                _remembered.clear()
            _remembered[line + b"\n"] = command
    return command


def _unchangeable(command: Command) -> bool:
    """Whether nothing that is done with a command's arguments can change them."""
    values = (*command.args, *command.kwargs.values())
    return not any(isinstance(value, (list, dict)) for value in values)


def _read(line: bytes) -> Command:
    try:
        message = _parse(line.decode())
    except (ValueError, RecursionError) as e:
        raise MalformedError(f"not UTF-8 or not JSON: {e}") from e
    if not isinstance(message, dict):
        raise MalformedError(f"not an object but {type(message).__name__}")
    name = message.get("command")
    if not isinstance(name, str):
        raise MalformedError("no command, or its name is not text")
    args = message.get("args")
    kwargs = message.get("kwargs")
    if args is None:
        args = []
    if kwargs is None:
        kwargs = {}
    if not isinstance(args, list):
        raise MalformedError("args is not an array")
    if not isinstance(kwargs, dict):
        raise MalformedError("kwargs is not an object")
    kwargs.pop("client", None)
    return Command(name, tuple(args), kwargs)


def _read_long(line: bytes) -> Command:
    """Read a long line; the objects of one cannot be garbage, so that looking is a waste."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        return _read(line)
    finally:
        if collecting:
            gc.enable()


def _parse(text: str) -> object:
    try:
        return _decode(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        # JSON, but a number has more digits than Python is willing to convert.
        return json.loads(text, parse_int=_huge)


def _huge(digits: str) -> int:
    """Return a whole number, or one as large as they come."""
    if len(digits) <= _MOST_DIGITS:
        return int(digits)
    return -_LARGEST if digits.startswith("-") else _LARGEST


def returned_json(value: bytes) -> bytes:
    """Return the reply of a command with a value that is JSON already."""
    return _RETURNED + value + _END


def returned(value: object) -> bytes:
    """Return the reply of a command that worked."""
    if value is None:
        return b'{"return": null}\n'
    if type(value) is int:
        return b'{"return": %d}\n' % value
    if type(value) is Row or type(value) is Rows:
        return value.reply
    if type(value) is str:
        return _returned_text(value)
    return _RETURNED + _encode(value).encode() + _END


@lru_cache(maxsize=16)
def _returned_text(text: str) -> bytes:
    """Return the reply that is a text, which is always the same: the version."""
    return _RETURNED + _encode(text).encode() + _END


def encoded(value: object) -> bytes:
    """Return any value as JSON."""
    return _encode(value).encode()


def raised(error: BaseException) -> bytes:
    """Return the reply of a command that did not work."""
    return f'{{"exception": {_encode(str(error))}}}\n'.encode()


def changed(kind: str, names: Iterable[int] | Iterable[str]) -> bytes:
    """Return the notification that some jobs or machines changed."""
    return message({kind: list(names)})


def message(value: object) -> bytes:
    """Return any value as a line."""
    return f"{_encode(value)}\n".encode()


def _plain(value: object) -> list[Any]:
    """Return a set as JSON has it: an array, in order where there is one."""
    if not isinstance(value, (set, frozenset)):
        raise TypeError(f"{type(value).__name__} does not go into JSON: {value!r}")
    try:
        return sorted(value)
    except TypeError:
        return list(value)


_encode = json.JSONEncoder(default=_plain, check_circular=False).encode
_decode = json.JSONDecoder().decode
#: The commands of some lines; they are known with their line end, as they come in.
_remembered: dict[bytes, Command] = {}
#: Return the command that some data is, if it is one whole line that is remembered; else None.
known: Callable[[bytes], Command | None] = _remembered.get
