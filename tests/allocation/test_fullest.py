"""The block with the most boards."""

from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.fullest import fullest
from spalloc_server._places import Block

BOARDS = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2))
BLOCKS = st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 2), st.integers(1, 2))
LINKS = st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 2), st.integers(0, 5))


def boards_of(block: Block) -> set[tuple[int, int, int]]:
    x, y, width, height = block
    return {
        (x + dx, y + dy, z) for dx in range(width) for dy in range(height) for z in range(3)
    }


@given(
    st.lists(BLOCKS, max_size=8), st.sets(BOARDS, max_size=20), st.sets(LINKS, max_size=40),
    st.integers(1, 13),
)
def test_no_accepted_block_has_more_boards_up_to_enough(
    blocks: list[Block], dead: set[tuple[int, int, int]], links: set[tuple[int, int, int, int]],
    enough: int,
) -> None:
    judge = _CandidateFilter(4, 3, dead, links, None, None, False)
    counts = {}
    for block in blocks:
        if judge(*block):
            assert judge.boards is not None
            counts[block] = min(len(judge.boards), enough)

    def rank(block: Block) -> tuple[int, int, int]:
        promised = min(len(boards_of(block) - dead), enough)
        return (counts[block], promised, -blocks.index(block))

    found = fullest(blocks, judge, dead, enough)

    if counts:
        best = max(counts, key=rank)
        assert found == (counts[best], best)
    else:
        assert found is None


def test_blocks_that_promise_too_little_are_not_judged() -> None:
    judged = []

    class Judge(_CandidateFilter):
        def __call__(self, x: int, y: int, width: int, height: int) -> bool:
            judged.append((x, y, width, height))
            return super().__call__(x, y, width, height)

    dead = {(0, 0, 0)}
    judge = Judge(4, 3, dead, set(), None, None, False)

    found = fullest([(0, 0, 1, 1), (1, 0, 1, 1), (2, 0, 1, 1), (2, 1, 1, 1)], judge, dead, 9)

    assert found == (3, (1, 0, 1, 1))
    assert judged == [(1, 0, 1, 1)]


def test_a_block_that_turns_out_worse_takes_nobodys_place() -> None:
    class Judge(_CandidateFilter):
        def __call__(self, x: int, y: int, width: int, height: int) -> bool:
            self.boards = {(x, 0, z) for z in range(reached[x])}
            return True

    reached = {0: 6, 1: 7, 2: 5, 3: 7}
    judge = Judge(4, 3, set(), set(), None, None, False)

    found = fullest([(x, 0, 1, 3) for x in range(4)], judge, set(), 9)

    assert found == (7, (1, 0, 1, 3))
