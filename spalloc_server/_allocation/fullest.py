"""Find the block that has the most boards.

Owns the search among many blocks with few questions.  Must not know which
blocks are taken.
"""

from collections.abc import Iterable

from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._places import Block

#: Bottom-left triad, width and height.


def fullest(
    blocks: Iterable[Block], judge: _CandidateFilter, dead_boards: DeadSet, enough: int
) -> tuple[int, Block] | None:
    """Find the block with the most boards, counting none beyond enough.

    Parameters
    ----------
    blocks : iterable of (x, y, width, height)
        Of equal ones that with the most live boards is found, then the first.
    judge : _CandidateFilter
        Refuses blocks, and tells which boards the others have.
    dead_boards : container of (x, y, z)
        Boards that no block can have.
    enough : int
        More boards than this are worth no more.

    Returns
    -------
    (boards, block) or None
        None if all blocks are refused.
    """
    best: tuple[int, Block] | None = None
    live: dict[tuple[int, int], int] = {}

    def at_most(block: Block) -> int:
        x, y, width, height = block
        count = 0
        for triad in ((x + dx, y + dy) for dx in range(width) for dy in range(height)):
            if triad not in live:
                live[triad] = sum((*triad, z) not in dead_boards for z in range(3))
            count += live[triad]
        return min(count, enough)

    # The judge is slow, so the most promising blocks come first.
    promising = sorted(((at_most(block), block) for block in blocks), key=lambda one: -one[0])
    for most, block in promising:
        if best is not None and most <= best[0]:
            break
        if judge(*block):
            assert judge.boards is not None
            count = min(len(judge.boards), enough)
            if best is None or count > best[0]:
                best = count, block
    return best
