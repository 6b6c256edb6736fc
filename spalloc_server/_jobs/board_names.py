"""The ways in which operators name boards.

::

    spin5:3,2,1          board (3, 2, 1) of machine spin5
    spin5:0,0,0-3,1,2    all boards with 0 <= x <= 3, 0 <= y <= 1, 0 <= z <= 2
    spin5:c0f2b17        cabinet 0, frame 2, board 17
    spin5:c0f2b4-7       boards 4 to 7 of that frame
    spin5:c0f2           the whole frame
    spin5:c0f2-4         frames 2 to 4
    spin5                the whole machine

Pure; knows no machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from spalloc_server._places import Board, Place

_NUMBER = r"\s*(\d{1,6})\s*"
_TRIPLE = rf"\(?{_NUMBER},{_NUMBER},{_NUMBER}\)?"
_LOGICAL = re.compile(rf"{_TRIPLE}(?:\s*-\s*{_TRIPLE})?")
_IN_FRAME = re.compile(r"c(\d{1,6})f(\d{1,6})b(\d{1,6})(?:-(\d{1,6}))?")
_FRAMES = re.compile(r"c(\d{1,6})f(\d{1,6})(?:-(\d{1,6}))?")

USAGE = (
    "write MACHINE:X,Y,Z or MACHINE:cCABINETfFRAMEbBOARD for a board, MACHINE:cCABINETfFRAME "
    "for a frame, MACHINE for a whole machine; the last number, or the second X,Y,Z, may be the "
    "end of a range: spin5:3,2,1  spin5:c0f2b17  spin5:c0f2b4-7  spin5:c0f2  spin5:c0f2-4  "
    "spin5:0,0,0-3,1,2"
)


class BoardsName(NamedTuple):
    """A name of some boards of a machine.

    Attributes
    ----------
    machine : str
    physical : bool
        Whether the numbers are (cabinet, frame, board) or the first of them, else (x, y, z).
    first, last : tuple of int
        Ends of a range of each number; both included.  Numbers that are left out stand for all.
    """

    machine: str
    physical: bool
    first: tuple[int, ...]
    last: tuple[int, ...]

    @property
    def is_one(self) -> bool:
        """Whether it names a single board."""
        return len(self.first) == 3 and self.first == self.last

    def has(self, board: Board, place: Place) -> bool:
        """Whether a board is among those named."""
        numbers = place if self.physical else board
        return all(
            low <= number <= high
            for low, number, high in zip(self.first, numbers, self.last, strict=False)
        )


def read_boards(text: str) -> BoardsName:
    """Read the name of some boards.

    A text that is nothing else is the name of a machine.

    Raises
    ------
    ValueError
        If it is empty.
    """
    machine, colon, rest = text.rpartition(":")
    if colon and machine:
        match = _LOGICAL.fullmatch(rest)
        if match:
            first = _numbers(match.groups()[:3])
            return BoardsName(machine, False, first, _numbers(match.groups()[3:]) or first)
        match = _IN_FRAME.fullmatch(rest) or _FRAMES.fullmatch(rest)
        if match:
            *numbers, end = match.groups()
            first = _numbers(numbers)
            last = first if end is None else (*first[:-1], int(end))
            return BoardsName(machine, True, first, last)
    if not machine and any(p.fullmatch(rest) for p in (_LOGICAL, _IN_FRAME, _FRAMES)):
        raise ValueError(f"{text!r} names no machine; {USAGE}")
    if not text.strip():
        raise ValueError(f"{text!r} names no boards; {USAGE}")
    return BoardsName(text, True, (), ())


def _numbers(texts: Iterable[str | None]) -> tuple[int, ...]:
    return tuple(int(text) for text in texts if text is not None)


def physical_name(place: Sequence[int]) -> str:
    """Write a physical place as `read_boards` reads it, without the machine."""
    return "c{}f{}b{}".format(*place)
