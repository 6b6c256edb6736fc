"""The ways to name boards, groups of boards and frames.

Knows nothing else of this program.  All of them are plain tuples when the program runs: they
are pickled, sent and compared as such.  Type checkers keep physical places apart from logical
ones, and frames from triads.

::

    logical     Board (x, y, z)                     lies in   Triad (x, y)
    physical    Place (cabinet, frame, board)       lies in   Frame (cabinet, frame)
"""

from typing import NewType, TypeAlias

#: A board by its logical coordinates (x, y, z): z is 0, 1 or 2 within triad (x, y).
Board: TypeAlias = tuple[int, int, int]

#: Three boards by their logical coordinates (x, y).
Triad: TypeAlias = tuple[int, int]

#: A block of triads (x, y, width, height); (x, y) is its bottom-left triad.
Block: TypeAlias = tuple[int, int, int, int]

#: A board by its physical coordinates (cabinet, frame, board).
Place = NewType("Place", tuple[int, int, int])

#: A frame by its physical coordinates (cabinet, frame): up to 24 boards behind one BMP.
Frame = NewType("Frame", tuple[int, int])


def place_in(frame: Frame, board: int) -> Place:
    """Return the place of a frame's board by its number."""
    return Place((*frame, board))


def frame_of(place: Place) -> Frame:
    """Return the frame that a place is in."""
    return Frame(place[:2])
