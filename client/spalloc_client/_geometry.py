r"""Where boards lie: on a map of hexagons, and wrapped around a machine.

On the map, columns overlap by half a hexagon; a row is half a hexagon high, counted up::

         ___                north
        / 2 \___        west ___ north_east
        \___/ 1 \           /   \
        / 0 \___/           \___/
        \___/      south_west    east
                           south

It knows nothing of jobs, servers, or characters on a screen.
"""

from collections.abc import Iterable

Board = tuple[int, int, int]
Link = tuple[int, int, int, int]

#: The links of a board, anticlockwise, by their numbers in the protocol.
EAST, NORTH_EAST, NORTH, WEST, SOUTH_WEST, SOUTH = LINKS = range(6)

#: Where each link leads, in columns and rows of the map.
_STEPS = {
    EAST: (1, -1),
    NORTH_EAST: (1, 1),
    NORTH: (0, 2),
    WEST: (-1, 1),
    SOUTH_WEST: (-1, -1),
    SOUTH: (0, -2),
}


def opposite(link: int) -> int:
    """Return the link that leads back."""
    return (link + 3) % 6


def cell_of(board: Board) -> tuple[int, int]:
    """Return the (column, row) of a board on the map.

    A triad to the right is two columns on; a triad up is three rows up and a column left.
    """
    x, y, z = board
    return 2 * x - y + (z == 1), 3 * y + z


def board_at(cell: tuple[int, int]) -> Board:
    """Return the board at a (column, row), anywhere on the endless map."""
    column, row = cell
    y, z = divmod(row, 3)
    return (column + y - (z == 1)) // 2, y, z


def neighbour(board: Board, link: int) -> Board:
    """Return the board that a link leads to, on the endless map."""
    column, row = cell_of(board)
    step = _STEPS[link]
    return board_at((column + step[0], row + step[1]))


def wrap(board: Board, width: int, height: int) -> Board:
    """Bring a board back into a machine of `width` x `height` triads."""
    x, y, z = board
    return x % width, y % height, z


def all_boards(width: int, height: int) -> list[Board]:
    """Return the boards of a machine of `width` x `height` triads, dead or alive."""
    return [(x, y, z) for x in range(width) for y in range(height) for z in range(3)]


def both_ends(links: Iterable[Link], width: int, height: int) -> set[Link]:
    """Name each link by both of its ends, whichever the server named."""
    ends = set()
    for x, y, z, link in links:
        ends.add((x, y, z, link))
        ends.add((*wrap(neighbour((x, y, z), link), width, height), opposite(link)))
    return ends
