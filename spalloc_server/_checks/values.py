"""Values from outside: checked before they are used, and quoted so that a line stays a line.

Knows nothing of jobs, machines or the protocol.
"""

from __future__ import annotations

import math

#: Longest owner, reason, machine name or tag, in characters (protocol).
MAX_TEXT = 1024


def whole_number(name: str, value: object) -> int:
    """Return `value` as a plain int if it is a whole number.

    Raises
    ------
    TypeError
        For anything but an int: 2.0, true and "3" are none on the wire.
    """
    if type(value) is int:
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be a whole number, not {shown(value)}")
    return int(value)


def text(name: str, value: object) -> str:
    """Return `value` as a plain str if it is text of at most `MAX_TEXT` characters.

    Raises
    ------
    TypeError, ValueError
        If it is not text, or too long.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, not {shown(value)}")
    value = str.__str__(value)
    if len(value) > MAX_TEXT:
        raise too_long(name, value)
    return value


def too_long(name: str, value: str) -> ValueError:
    """Return the error for a text of more than `MAX_TEXT` characters."""
    return ValueError(
        f"{name} must be at most {MAX_TEXT} characters, not {len(value)}: {shown(value)}"
    )


def shown(value: object) -> str:
    """Return a value as an error quotes it: its repr, cut to 200 characters."""
    try:
        quoted = repr(value)
    except ValueError:  # an int of more digits than Python prints
        quoted = f"a number of {value.bit_length()} bits"  # type: ignore[attr-defined]
    return quoted if len(quoted) <= 200 else quoted[:200] + "..."


def escaped(text: object) -> str:
    """Return text that stays on one line: line breaks and control characters are escaped."""
    words = str(text)
    if words.isprintable():
        return words
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in words
    )


def is_finite(value: float) -> bool:
    """Whether a number is finite as a float, too."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def plain(value: object) -> object:
    """Return a number or text as the plain type that a saved state holds.

    Enumerations and the like are numbers and texts of classes of their own.
    """
    if isinstance(value, bool) or value is None:
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value) if kind is not str else str.__str__(value)
    return value
