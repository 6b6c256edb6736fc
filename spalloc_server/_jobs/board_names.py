"""How operators write boards: by logical or physical place, with the machine's name.

::

    spin5:3,2,1       board (3, 2, 1) of machine spin5
    spin5:c0f2b17     cabinet 0, frame 2, board 17 of the same

Pure; knows no machine.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_LOGICAL = re.compile(r"\(?\s*(\d{1,6})\s*,\s*(\d{1,6})\s*,\s*(\d{1,6})\s*\)?")
_PHYSICAL = re.compile(r"c(\d{1,6})f(\d{1,6})b(\d{1,6})")

USAGE = "write MACHINE:X,Y,Z or MACHINE:cCABINETfFRAMEbBOARD, such as spin5:3,2,1 or spin5:c0f2b17"


class BoardName(NamedTuple):
    """What was written.

    Attributes
    ----------
    machine : str
    place : (x, y, z) or (cabinet, frame, board)
    physical : bool
        Which of these.
    """

    machine: str
    place: tuple[int, int, int]
    physical: bool


def read_board(text: str) -> BoardName:
    """Read what an operator wrote.

    Raises
    ------
    ValueError
        If it is not the name of a board.
    """
    machine, colon, place = text.rpartition(":")
    for pattern, physical in ((_LOGICAL, False), (_PHYSICAL, True)):
        match = pattern.fullmatch(place)
        if match and colon and machine:
            a, b, c = (int(number) for number in match.groups())
            return BoardName(machine, (a, b, c), physical)
    raise ValueError(f"{text!r} is no board; {USAGE}")


def physical_name(place: tuple[int, int, int]) -> str:
    """Write a physical place as `read_board` reads it, without the machine."""
    return "c{}f{}b{}".format(*place)
