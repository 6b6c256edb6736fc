"""A region: a place on a machine that is kept for one job that waits.

Owns which place is the best and how long its holders will have it.  Must not
know the order in which jobs are tried.

While it is young a region leaks: other jobs may still use its boards.  From the
job's patience on it is closed: its boards come back one by one, and the job
starts when the last of them has::

    given --> leaking, may move --patience is over--> closed --> the job starts
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from spalloc_server._allocation.grid import Opening
from spalloc_server._allocation.grid_allocator import Blocks, GridAllocator, Kept
from spalloc_server._allocation.kinds import Request, _AllocationType
from spalloc_server._allocation.waiting_list import Footprint
from spalloc_server._places import Block, Board

#: Seconds between two looks for a better place; arbitrary.
SECONDS_BETWEEN_MOVES = 1.0

#: A region moves if its job can then be expected to start in so much less of the time.
WORTH_MOVING = 0.7


class Waiting(Protocol):
    """A job that may have a region."""

    id: int
    request: Request
    pending: bool
    region_since: float | None


class Holder(NamedTuple):
    """An allocation, and how many seconds its boards are expected to be in use or rest."""

    remaining: float
    footprint: Footprint

    @property
    def block(self) -> Block:
        """The block of triads that has all of its boards."""
        return block_of(self.footprint)


class Region:
    """A place that is kept for a job.

    Attributes
    ----------
    job : Waiting
        The job that waits.
    place : (x, y, width, height) or (x, y, z)
        A block, or a given board.
    kept : Kept
        The same for the allocator.
    looked_at : float
        When a better place was looked for last, monotonic seconds.
    closed : bool
        Whether somebody has been told that it is closed.
    """

    def __init__(
        self, job: Waiting, place: Block | Board, allocator: GridAllocator, now: float
    ) -> None:
        self.job = job
        self.place = place
        self.looked_at = now
        self.closed = False
        grid = allocator.grid
        if len(place) == 3:
            bit = grid.bit(*place[:2])
            self.kept = Kept(bit, grid.full & ~bit, board=place)
            return
        mask = grid.block(*place)
        # Their spare boards would keep the triads open for ever.
        opened = [*allocator.single_board_triads, *allocator.full_single_board_triads]
        closed = sum(bit for triad in opened if (bit := grid.bit(*triad)) & mask)
        self.kept = Kept(mask, grid.full & ~mask, closed=closed)

    def age(self, now: float) -> float:
        """Seconds since the job first got a region."""
        assert self.job.region_since is not None
        return now - self.job.region_since

    def is_held_by(self, footprint: Footprint) -> bool:
        """Whether an allocation has a board of the region."""
        return _has_board_of(footprint, self.place)

    def is_sound(self, allocator: GridAllocator) -> bool:
        """Whether no board of it is out of service, and the request would accept it."""
        if len(self.place) == 3:
            return self.place not in allocator.quarantined and allocator.is_possible(
                self.job.request
            )
        if self.kept.triads & allocator.out_triads:
            return False
        return allocator.would_accept(self.job.request, self.place)


class RegionRecord(NamedTuple):
    """A place that is kept for a job.

    Attributes
    ----------
    machine : str
        Name of the machine.
    place : (x, y, width, height) or (x, y, z)
        A block of triads, or a given board.
    age : float
        Seconds since the job first got a region.
    closed : bool
        Whether others may not use it at all.
    """

    machine: str
    place: tuple[int, int, int, int] | tuple[int, int, int]
    age: float
    closed: bool


class BestPlace(NamedTuple):
    """A place for a region, and seconds until the last of its holders is expected to go."""

    slowest: float
    place: Block | Board


def can_have_region(request: Request) -> bool:
    """Whether a request is for a block or a given board."""
    return request.kind is not _AllocationType.board or bool(request.numbers)


def best_place(
    allocator: GridAllocator, request: Request, holders: Sequence[Holder]
) -> BestPlace | None:
    """Find the place whose slowest holder is expected to be gone first.

    Parameters
    ----------
    allocator : GridAllocator
    request : Request
        For a block or a given board.
    holders : sequence of Holder
        All of the machine.

    Returns
    -------
    BestPlace or None
        None if each place has a board out of service, or the filter refuses it.

    Raises
    ------
    UnfinishedError
        See `GridAllocator.start_searching`.
    """
    if request.kind is _AllocationType.board:
        x, y, z = request.numbers
        if (x, y, z) in allocator.quarantined or not allocator.is_possible(request):
            return None
        held = (each.remaining for each in holders if _has_board_of(each.footprint, (x, y, z)))
        return BestPlace(max(held, default=0.0), (x, y, z))
    blocks = allocator.blocks(request)
    if blocks is None:
        return None
    longest_first = sorted(holders, key=lambda each: (-each.remaining, each.footprint))
    return _Elimination(allocator, blocks, longest_first).best()


class _Elimination:
    """Narrows the places for a block down to the best one.

    Each holder, the longest first, removes the places that it has triads of,
    unless none would be left.
    """

    def __init__(
        self, allocator: GridAllocator, blocks: Blocks, longest_first: list[Holder]
    ) -> None:
        self._allocator, self._grid = allocator, allocator.grid
        self._judge = blocks.judge
        self._holders = longest_first
        out = allocator.out_triads
        self._places = {
            size: anchors
            for size in blocks.sizes
            if (anchors := allocator.hopeful_anchors(blocks.judge, *size))
        }
        if out:
            self._places = self._without(out, self._places)

    def best(self) -> BestPlace | None:
        """Find the best place that the filter accepts."""
        while self._places:
            avoided, left = self._avoid_the_longest()
            left = self._remove_more(avoided + 1, left)
            bit, _, size = min(
                (anchors & -anchors, number, size)
                for number, (size, anchors) in enumerate(left.items())
            )
            block = (*self._grid.lowest(bit), *size)
            if self._allocator.accepts(self._judge, block):
                slowest = 0.0
                if avoided < len(self._holders):
                    slowest = self._holders[avoided].remaining
                return BestPlace(slowest, block)
            self._places[size] ^= bit
            if not self._places[size]:
                del self._places[size]
        return None

    def _avoid_the_longest(self) -> tuple[int, dict[tuple[int, int], int]]:
        """Count the longest holders that can all be avoided, and find the places that do."""
        taken, low, high = 0, 0, len(self._holders) + 1
        left = self._places
        while high - low > 1:
            middle = (low + high) // 2
            more = taken
            for holder in self._holders[low:middle]:
                more |= self._grid.block(*holder.block)
            avoiding = self._without(more, left)
            if avoiding:
                taken, low, left = more, middle, avoiding
            else:
                high = middle
        return low, left

    def _without(
        self, taken: int, places: dict[tuple[int, int], int]
    ) -> dict[tuple[int, int], int]:
        """Those of some places that have none of some triads."""
        free = Opening(self._grid, self._grid.full & ~taken)
        if not places or not free.holds(min(width * height for width, height in places)):
            return {}
        found = free.anchors_of(places)
        return {size: left for size, anchors in places.items() if (left := anchors & found[size])}

    def _remove_more(
        self, begin: int, left: dict[tuple[int, int], int]
    ) -> dict[tuple[int, int], int]:
        """Let the holders from some number on remove places."""
        touched = {size: self._grid.touched(anchors, *size) for size, anchors in left.items()}
        near = _union(touched.values())
        for holder in self._holders[begin:]:
            if len(left) == 1 and next(iter(left.values())).bit_count() == 1:
                break
            if not near & self._grid.block(*holder.block):
                continue
            fewer = {
                size: kept
                for size, anchors in left.items()
                if (kept := anchors & ~self._grid.overlapping(holder.block, *size))
            }
            if fewer:
                touched = {
                    size: touched[size] if kept == left[size] else self._grid.touched(kept, *size)
                    for size, kept in fewer.items()
                }
                left, near = fewer, _union(touched.values())
        return left


def _union(masks: Iterable[int]) -> int:
    union = 0
    for mask in masks:
        union |= mask
    return union


def block_of(footprint: Footprint) -> Block:
    """Return the block of triads that has all boards of an allocation."""
    if len(footprint) == 5:
        return footprint[1:]
    return footprint[1], footprint[2], 1, 1


def _has_board_of(footprint: Footprint, place: Block | Board) -> bool:
    if len(place) == 3:
        if len(footprint) == 4:
            return footprint[1:] == place
        return _overlap(footprint[1:], (place[0], place[1], 1, 1))
    return _overlap(block_of(footprint), place)


def _overlap(one: Block, other: Block) -> bool:
    return (
        one[0] < other[0] + other[2]
        and other[0] < one[0] + one[2]
        and one[1] < other[1] + other[3]
        and other[1] < one[1] + one[3]
    )
