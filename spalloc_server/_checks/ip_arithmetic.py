"""IPv4 addresses as numbers: where a board's address follows from its place.

Owns reading, scaling and writing of dotted quads. Must not know the
owners of the addresses.
"""

import re
from collections.abc import Sequence

#: Exactly four decimal fields. Leading zeros are read as decimal, which old
#: configuration files rely on.
_DOTTED_QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")

_ABOVE_LAST = 1 << 32


def parse_ipv4(text: str) -> int:
    """Read an IPv4 address as a number.

    Parameters
    ----------
    text : str
        Dotted quad, for example ``"192.168.0.1"``.

    Returns
    -------
    int
        0 to 2**32 - 1.

    Raises
    ------
    ValueError
        If `text` is not four decimal numbers from 0 to 255 joined by dots.
    """
    fields = text.split(".") if isinstance(text, str) and _DOTTED_QUAD.fullmatch(text) else ()
    numbers = [int(field) for field in fields]
    if not numbers or max(numbers) > 255:
        raise ValueError(
            f"malformed IPv4 address {text!r}: expected four numbers from 0 to 255 "
            "joined by dots, such as '192.168.0.1'"
        )
    return int.from_bytes(bytes(numbers), "big")


def format_ipv4(number: int) -> str:
    """Dotted quad of an IPv4 address.

    Parameters
    ----------
    number : int
        0 to 2**32 - 1.

    Raises
    ------
    ValueError
        If `number` is outside the range of IPv4 addresses.
    """
    if not 0 <= number < _ABOVE_LAST:
        raise ValueError(
            f"IPv4 address number {number!r} is out of range: expected 0 to {_ABOVE_LAST - 1} "
            "(0.0.0.0 to 255.255.255.255)"
        )
    return ".".join(str(byte) for byte in number.to_bytes(4, "big"))


def strided_address(
    base: int, strides: Sequence[int], position: Sequence[int], offset: int
) -> str:
    """Address of something at a place in a regular numbering.

    Parameters
    ----------
    base, offset : int
        As numbers, see `parse_ipv4`.
    strides, position : sequence of int, of one length
        How far apart neighbours of each level are, and which one is meant.

    Returns
    -------
    str
        Dotted quad of ``base + sum(stride * index) + offset``.

    Raises
    ------
    ValueError
        If there is no such IPv4 address.
    """
    number = base + offset
    for stride, index in zip(strides, position, strict=True):
        number += stride * index
    try:
        return format_ipv4(number)
    except ValueError as exc:
        raise ValueError(f"no address for position {tuple(position)!r}: {exc}") from exc
