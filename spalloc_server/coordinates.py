"""Coordinates of boards and chips, and the wiring between boards.

Owns the geometry of a machine of width x height triads.  Must not know which
boards exist, work or are in use.

Boards 0, 1 and 2 of two triads side by side, with the triad's own three
links drawn::

         2 ___     2 ___
        /     1   /     1
       0 ____/   0 ____/
"""

from enum import IntEnum

from spinn_machine import SpiNNakerTriadGeometry

from spalloc_server.links import Links

__all__ = (
    "WrapAround",
    "board_down_link",
    "board_to_chip",
    "chip_to_board",
    "link_to_vector",
    "triad_dimensions_to_chips",
)

#: Chips along each side of a triad.
_TRIAD_CHIPS = 12

#: Chips that a network without wrap-around reaches beyond its triads.
_OVERHANG_CHIPS = 4

#: Offset of a board's Ethernet chip within its triad, by z.
_ETHERNET_CHIPS = ((0, 0), (8, 4), (4, 8))

_BOARD_AT = {chip: z for z, chip in enumerate(_ETHERNET_CHIPS)}


class WrapAround(IntEnum):
    """Directions in which a network is joined end to end; bits may be or-ed."""

    none = 0
    x = 1
    y = 2
    both = 3


#: Difference in (x, y, z) from a board to its neighbour, by (z, link).
link_to_vector: dict[tuple[int, Links], tuple[int, int, int]] = {
    (0, Links.north): (0, 0, 2),
    (0, Links.north_east): (0, 0, 1),
    (0, Links.east): (0, -1, 2),
    (1, Links.north): (1, 1, -1),
    (1, Links.north_east): (1, 0, 1),
    (1, Links.east): (1, 0, -1),
    (2, Links.north): (0, 1, -1),
    (2, Links.north_east): (1, 1, -2),
    (2, Links.east): (0, 0, -1),
}
link_to_vector.update(
    {
        (z + dz, link.opposite): (-dx, -dy, -dz)
        for (z, link), (dx, dy, dz) in list(link_to_vector.items())
    }
)


def board_down_link(  # noqa: PLR0917 - the signature is fixed by spec
    x: int, y: int, z: int, link: Links, width: int, height: int
) -> tuple[int, int, int, WrapAround]:
    """Board at the other end of a link.

    Parameters
    ----------
    x, y, z : int
        Logical coordinates of the board at this end.
    link : Links
        Link to follow.
    width, height : int
        Size of the machine, triads.

    Returns
    -------
    (x, y, z, WrapAround)
        Logical coordinates of the board at the far end, and which edges of
        the machine the link crosses.

    Raises
    ------
    KeyError
        If there is no such `z` or `link`.
    """
    dx, dy, dz = link_to_vector[z, link]
    far_x, far_y = x + dx, y + dy
    wrap = 0
    if not 0 <= far_x < width:
        wrap |= WrapAround.x
    if not 0 <= far_y < height:
        wrap |= WrapAround.y
    return far_x % width, far_y % height, z + dz, WrapAround(wrap)


def board_to_chip(x: int, y: int, z: int) -> tuple[int, int]:
    """Ethernet chip of a board.

    Parameters
    ----------
    x, y, z : int
        Logical coordinates of the board.

    Returns
    -------
    (x, y)
        Chip coordinates in the machine booted as a whole.

    Raises
    ------
    ValueError
        If `z` is not 0, 1 or 2.
    """
    if not 0 <= z <= 2:
        raise ValueError(f"z must be 0, 1 or 2, not {z!r}")
    chip_x, chip_y = _ETHERNET_CHIPS[z]
    return x * _TRIAD_CHIPS + chip_x, y * _TRIAD_CHIPS + chip_y


def chip_to_board(x: int, y: int, w: int, h: int) -> tuple[int, int, int]:
    """Board that holds a chip.

    Parameters
    ----------
    x, y : int
        Chip coordinates in the machine booted as a whole.
    w, h : int
        Size of the machine, chips; multiples of 12.

    Returns
    -------
    (x, y, z)
        Logical coordinates of the board; plain ints.
    """
    geometry = SpiNNakerTriadGeometry.get_spinn5_geometry()
    ethernet_x, ethernet_y = geometry.get_ethernet_chip_coordinates(x, y, w, h)
    # The library may answer in numpy's integers.
    board_x, chip_x = divmod(int(ethernet_x), _TRIAD_CHIPS)
    board_y, chip_y = divmod(int(ethernet_y), _TRIAD_CHIPS)
    return board_x, board_y, _BOARD_AT[chip_x, chip_y]


def triad_dimensions_to_chips(w: int, h: int, torus: int) -> tuple[int, int]:
    """Size of the network of a block of triads.

    Parameters
    ----------
    w, h : int
        Size of the block, triads.
    torus : WrapAround
        Directions in which the block is joined end to end.

    Returns
    -------
    (width, height)
        Chips.
    """
    width = w * _TRIAD_CHIPS
    height = h * _TRIAD_CHIPS
    if not torus & WrapAround.x:
        width += _OVERHANG_CHIPS
    if not torus & WrapAround.y:
        height += _OVERHANG_CHIPS
    return width, height
