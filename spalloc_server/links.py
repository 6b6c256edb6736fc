"""The six links of a SpiNNaker board.

Owns their names, numbers and directions on the triad-less hexagonal grid
that chips and boards share.  Must not know boards, machines or wiring.
"""

from enum import IntEnum

__all__ = ("Links",)


class Links(IntEnum):
    r"""A direction in the hexagonal mesh, anticlockwise from east.

    ::

               north  north_east
                   \  /
            west ---  --- east
                   /  \
          south_west  south
    """

    east = 0
    north_east = 1
    north = 2
    west = 3
    south_west = 4
    south = 5

    @classmethod
    def from_vector(cls, vector: tuple[int, int]) -> "Links":
        """Link that leads from one position to a neighbouring one.

        Parameters
        ----------
        vector : (int, int)
            Difference of two neighbours' coordinates.  A component beyond
            +-1 went the other way around the machine and counts as its
            opposite sign.

        Returns
        -------
        Links

        Raises
        ------
        ValueError
            If `vector` is (0, 0).
        """
        dx, dy = (_fold(component) for component in vector)
        try:
            return _FROM_VECTOR[dx, dy]
        except KeyError:
            raise ValueError(f"no link has the vector {vector!r}") from None

    def to_vector(self) -> tuple[int, int]:
        """Difference of coordinates when following this link.

        Returns
        -------
        (int, int)
            Each -1, 0 or 1.
        """
        return _TO_VECTOR[self]

    @property
    def opposite(self) -> "Links":
        """The same wire seen from its other end."""
        return Links((self + 3) % 6)


def _fold(component: int) -> int:
    """Bring a difference that went around the machine back to -1..1."""
    if component > 1:
        return -1
    if component < -1:
        return 1
    return component


_TO_VECTOR = {
    Links.east: (1, 0),
    Links.north_east: (1, 1),
    Links.north: (0, 1),
    Links.west: (-1, 0),
    Links.south_west: (-1, -1),
    Links.south: (0, -1),
}

_FROM_VECTOR = {vector: link for link, vector in _TO_VECTOR.items()} | {
    # In a machine two wide or high a neighbour is as near the one way as the
    # other, so the difference may come with either sign.
    (1, -1): Links.south_west,
    (-1, 1): Links.north_east,
}
