"""Cut a rectangle so that given blocks come apart.

Owns the choice of a cut from edge to edge that goes through no block.  Must
not know the tree that is built from the cuts.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Block(NamedTuple):
    """A rectangle of cells: bottom-left cell and size."""

    x: int
    y: int
    width: int
    height: int


class Cut(NamedTuple):
    """A cut from edge to edge: vertical at a column or horizontal at a row."""

    vertical: bool
    at: int


def find_cut(region: Block, blocks: Sequence[Block]) -> Cut:
    """Best cut of a region that goes through none of the blocks in it.

    Parameters
    ----------
    region : Block
        The region to cut.
    blocks : sequence of Block
        At least one, and more than one that fills the region.

    Returns
    -------
    Cut
        The one that leaves the largest empty piece whole; if all leave
        blocks on both sides, the one nearest the middle.

    Raises
    ------
    ValueError
        If there is none: blocks overlap, stick out, or are arranged like a
        pinwheel (which no sequence of cuts leads to).
    """
    candidates = [
        (score, Cut(vertical=True, at=at))
        for at, score in _cuts_between(
            region.x, region.width, region.height, [(b.x, b.x + b.width) for b in blocks]
        )
    ] + [
        (score, Cut(vertical=False, at=at))
        for at, score in _cuts_between(
            region.y, region.height, region.width, [(b.y, b.y + b.height) for b in blocks]
        )
    ]
    if not candidates:
        raise ValueError(
            f"blocks overlap or cannot be cut apart in {tuple(region)}: "
            f"{[tuple(block) for block in blocks]}"
        )
    # Vertical ones come first, and max() takes the first of equals.
    return max(candidates, key=lambda candidate: candidate[0])[1]


def _cuts_between(
    start: int, length: int, breadth: int, spans: list[tuple[int, int]]
) -> Iterator[tuple[int, tuple[int, int]]]:
    """Positions along one axis that no span covers, with their scores.

    A score is (cells left empty on one side, cells of the smaller side).
    """
    end = start + length
    reached = start
    for low, high in sorted(spans):
        if low >= reached:
            for at in {reached, low}:
                if start < at < end:
                    empty = at - start if reached == start else 0
                    yield at, (empty * breadth, min(at - start, end - at) * breadth)
        reached = max(reached, high)
    if start < reached < end:
        yield (
            reached,
            ((end - reached) * breadth, min(reached - start, end - reached) * breadth),
        )
