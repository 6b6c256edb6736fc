r"""Where boards lie on a map of hexagons; the scripts of the pages draw by the same rule.

::

         ___                north
        / 2 \___        west ___ north_east
        \___/ 1 \           /   \
        / 0 \___/           \___/
        \___/      south_west    east
                           south

A hexagon is 4 units wide and 2 √3 high (here: 4 and 3.464); columns are 3 units apart.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from spalloc_web._facility.picture import Machine

#: Half the height of a hexagon with sides of 2 units.
HALF = math.sqrt(3)
#: Units left free around the map, where wrap-around is hinted.
MARGIN = 2.5


class Box(NamedTuple):
    """The corner and size of a map, in units."""

    left: float
    top: float
    width: float
    height: float

    def __str__(self) -> str:
        return f"{self.left:g} {self.top:g} {self.width:g} {self.height:g}"


def cell_of(x: int, y: int, z: int) -> tuple[int, int]:
    """Return the column and row of a board; rows are half a hexagon high, counted up.

    A triad to the right is two columns on; a triad up is three rows up and a column left.
    """
    return 2 * x - y + (z == 1), 3 * y + z


def view_box(machine: Machine) -> Box:
    """Return the box around a machine's map.

    Parameters
    ----------
    machine
        One without boards has a box for one.
    """
    cells = [cell_of(row.x, row.y, row.z) for row in machine.boards] or [(0, 0)]
    left = min(column for column, _ in cells) * 3 - 2 - MARGIN
    right = max(column for column, _ in cells) * 3 + 2 + MARGIN
    top = -(max(row for _, row in cells) + 1) * HALF - MARGIN
    bottom = -(min(row for _, row in cells) - 1) * HALF + MARGIN
    return Box(*(round(value, 3) for value in (left, top, right - left, bottom - top)))
