r"""A binary tree of free and taken rectangles, for packing blocks of triads.

Owns which cells are taken and how free room is cut up and melted together.
Must not know boards, jobs or why a place was refused: that is the business of
the filter it is given.

Room for a block of 2x1 in a free leaf of 4x3 is made in two cuts::

    +---------+      +----+----+      +----+----+
    |         |      |    |    |      |free|    |
    |         |  ->  |    |    |  ->  +----+free|
    |         |      |    |free|      |took|    |
    +---------+      +----+----+      +----+----+
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from spalloc_server._guillotine import Block, find_cut
from spalloc_server.area_to_rect import area_to_rect

__all__ = ("FreeError", "PackTree")

#: Asked with (x, y, width, height) whether that block may be allocated.
CandidateFilter = Callable[[int, int, int, int], bool]

#: Sizes of free leaves, none of which fits inside another one of them.
_Sizes = tuple[tuple[int, int], ...]


class FreeError(Exception):
    """The place to be freed is not the bottom-left of an allocation."""


class PackTree:
    """A rectangle that is free, allocated or cut in two.

    Parameters
    ----------
    x, y : int
        Bottom-left cell.
    width, height : int
        Size, cells.

    Attributes
    ----------
    allocated : bool
        Whether this leaf is taken.  May be assigned.
    children : (PackTree, PackTree) or None
        The two halves, lower or left one first; None in a leaf.  May be
        assigned.

    Notes
    -----
    Each node remembers the sizes of the free leaves below it, so that a walk
    enters only where there is room; and where the way down to them forks, so
    that it need not go step by step through taken rectangles.  Both are brought
    up to date from a changed node towards the root, until nothing changes.
    """

    def __init__(self, x: int, y: int, width: int, height: int) -> None:
        self.x = x
        self.y = y
        self.width = width
        self.height = height
        self._parent: PackTree | None = None
        self._allocated = False
        self._children: tuple[PackTree, PackTree] | None = None
        self._free_sizes: _Sizes = ((width, height),)
        # None stands for the node itself, lest each refers to itself.
        self._fork: PackTree | None = None

    def __contains__(self, position: tuple[int, int]) -> bool:
        x, y = position
        return (
            self.x <= x < self.x + self.width and self.y <= y < self.y + self.height
        )

    def __repr__(self) -> str:
        what = (
            "split" if self._children else "allocated" if self._allocated else "free"
        )
        return f"<PackTree {self.width}x{self.height} at {self.x},{self.y} {what}>"

    # --- shape ---

    @property
    def allocated(self) -> bool:
        """Whether this leaf is taken."""
        return self._allocated

    @allocated.setter
    def allocated(self, allocated: bool) -> None:
        self._allocated = allocated
        self._free_sizes_changed()

    @property
    def children(self) -> "tuple[PackTree, PackTree] | None":
        """The two halves, or None in a leaf."""
        return self._children

    @children.setter
    def children(self, children: "Sequence[PackTree] | None") -> None:
        if children is None:
            self._children = None
        else:
            first, second = children
            self._adopt(first, second)
        self._free_sizes_changed()

    def hsplit(self, y: int) -> None:
        """Cut this free leaf into a lower and an upper half.

        Parameters
        ----------
        y : int
            First row of the upper half.
        """
        self._hsplit(y)
        self._free_sizes_changed()

    def vsplit(self, x: int) -> None:
        """Cut this free leaf into a left and a right half.

        Parameters
        ----------
        x : int
            First column of the right half.
        """
        self._vsplit(x)
        self._free_sizes_changed()

    # --- allocate ---

    def alloc(
        self, width: int, height: int, candidate_filter: CandidateFilter | None = None
    ) -> tuple[int, int] | None:
        """Allocate a block of a given size.

        Parameters
        ----------
        width, height : int
            Size, cells (> 0).
        candidate_filter : callable, optional
            Asked with (x, y, width, height) once for each place considered.

        Returns
        -------
        (x, y) or None
            Bottom-left cell of the block; None if there is no place for it.

        Raises
        ------
        ValueError
            If the size is not positive.
        """
        if width <= 0 or height <= 0:
            raise ValueError(f"a block cannot have the size {width!r} x {height!r}")

        def fits(sizes: _Sizes) -> bool:
            # A loop, for this is asked at every node of a walk.
            for free_width, free_height in sizes:
                if free_width >= width and free_height >= height:
                    return True
            return False

        for leaf in self._free_leaves(fits):
            corner = leaf._corner_for(width, height, candidate_filter)
            if corner is not None:
                leaf._carve(*corner, width, height)
                return corner
        return None

    def alloc_area(
        self,
        area: int,
        min_ratio: float = 0.0,
        candidate_filter: CandidateFilter | None = None,
    ) -> tuple[int, int, int, int] | None:
        """Allocate a block that holds a number of cells.

        Parameters
        ----------
        area : int
            Cells needed (> 0).
        min_ratio : float
            Least short side / long side of the block.
        candidate_filter : callable, optional
            Asked with (x, y, width, height) once for each place considered.

        Returns
        -------
        (x, y, width, height) or None
            The block; None if there is no place for one.

        Raises
        ------
        ValueError
            If `area` is not positive or `min_ratio` is negative.
        """
        # Complains about wrong arguments even where no leaf would be asked.
        area_to_rect(area, self.width, self.height, min_ratio)
        # A block a x b with a <= b, a / b >= ratio and a * b >= area has
        # a * a >= ratio * area.  One less, against rounding.
        ratio = 1.0 / min_ratio if min_ratio > 1.0 else min_ratio
        least_side = max(1, int(math.sqrt(ratio * area)) - 1)

        def fits(sizes: _Sizes) -> bool:
            for width, height in sizes:
                if (
                    width * height >= area
                    and width >= least_side
                    and height >= least_side
                ):
                    return True
            return False

        for leaf in self._free_leaves(fits):
            shape = area_to_rect(area, leaf.width, leaf.height, min_ratio)
            if shape is None:
                continue
            corner = leaf._corner_for(*shape, candidate_filter)
            if corner is not None:
                leaf._carve(*corner, *shape)
                return *corner, *shape
        return None

    def request(self, x: int, y: int) -> tuple[int, int] | None:
        """Allocate one given cell.

        Parameters
        ----------
        x, y : int
            The cell.

        Returns
        -------
        (x, y) or None
            The cell; None if it is taken or outside.
        """
        leaf = self._leaf_at(x, y)
        if leaf is None or leaf._allocated:
            return None
        leaf._carve(x, y, 1, 1)
        return x, y

    def take(self, x: int, y: int, width: int, height: int) -> None:
        """Allocate one given block, regardless of the present cuts.

        Used to impose earlier decisions.  Where the block lies across
        a cut, the room around it is cut anew.

        Parameters
        ----------
        x, y : int
            Bottom-left cell.
        width, height : int
            Size, cells (> 0).

        Raises
        ------
        ValueError
            If the block is not wholly free and inside.
        """
        block = Block(x, y, width, height)
        if width <= 0 or height <= 0 or not self._holds(block):
            raise ValueError(f"{block} is not inside {self!r}")
        node = self
        while node._children is not None:
            half = next((c for c in node._children if c._holds(block)), None)
            if half is None:
                node._cut_anew([*node.taken(), block])
                return
            node = half
        if node._allocated:
            raise ValueError(f"{block} is taken already")
        node._carve(x, y, width, height)

    def take_all(self, blocks: Iterable[tuple[int, int, int, int]]) -> None:
        """Forget all allocations and take these instead.

        Parameters
        ----------
        blocks : iterable of (x, y, width, height)
            As from `taken`.

        Raises
        ------
        ValueError
            If they overlap or are not inside; nothing changes.
        """
        self._cut_anew([Block(*block) for block in blocks])

    def is_free(self, x: int, y: int) -> bool:
        """Whether one given cell is free and inside."""
        leaf = self._leaf_at(x, y)
        return leaf is not None and not leaf._allocated

    def taken(self) -> list[Block]:
        """Blocks that are allocated.

        Returns
        -------
        list of (x, y, width, height)
        """
        blocks = []
        stack = [self]
        while stack:
            node = stack.pop()
            if node._children is not None:
                stack.extend(node._children)
            elif node._allocated:
                blocks.append(Block(node.x, node.y, node.width, node.height))
        return blocks

    # --- free ---

    def free(self, x: int, y: int) -> None:
        """Free an allocation and melt the free room around it together.

        Parameters
        ----------
        x, y : int
            Bottom-left cell of the allocation.

        Raises
        ------
        FreeError
            If there is no allocation with that bottom-left cell.
        """
        node = self._leaf_at(x, y)
        if node is None:
            raise FreeError(f"({x}, {y}) is outside")
        if not node._allocated:
            raise FreeError(f"({x}, {y}) is not allocated")
        if (node.x, node.y) != (x, y):
            raise FreeError(
                f"({x}, {y}) is not the bottom-left of the allocation "
                f"at ({node.x}, {node.y})"
            )
        node._allocated = False
        while node is not self and (parent := node._parent) is not None:
            first, second = parent._children or (node, node)
            if not (first._is_free_leaf() and second._is_free_leaf()):
                break
            first._parent = second._parent = None
            parent._children = None
            parent._allocated = False
            node = parent
        node._free_sizes_changed()

    # --- pickling ---

    def __getstate__(self) -> dict[str, object]:
        return {
            "region": (self.x, self.y, self.width, self.height),
            "taken": [tuple(block) for block in self.taken()],
        }

    def __setstate__(self, state: dict[str, object]) -> None:
        region = state["region"]
        taken = state["taken"]
        assert isinstance(region, tuple)
        assert isinstance(taken, list)
        self.__init__(*region)  # type: ignore[misc]
        self._cut_anew([Block(*block) for block in taken])

    # --- helpers ---

    def _is_free_leaf(self) -> bool:
        return self._children is None and not self._allocated

    def _holds(self, block: Block) -> bool:
        return (
            self.x <= block.x
            and self.y <= block.y
            and block.x + block.width <= self.x + self.width
            and block.y + block.height <= self.y + self.height
        )

    def _adopt(
        self, first: "PackTree", second: "PackTree"
    ) -> "tuple[PackTree, PackTree]":
        first._parent = second._parent = self
        self._children = (first, second)
        return self._children

    def _hsplit(self, y: int) -> "tuple[PackTree, PackTree]":
        """`hsplit`, leaving the remembered sizes to the caller."""
        assert self._is_free_leaf(), "only a free leaf can be split"
        below = y - self.y
        assert 0 < below < self.height, "both halves must have some room"
        return self._adopt(
            PackTree(self.x, self.y, self.width, below),
            PackTree(self.x, y, self.width, self.height - below),
        )

    def _vsplit(self, x: int) -> "tuple[PackTree, PackTree]":
        """`vsplit`, leaving the remembered sizes to the caller."""
        assert self._is_free_leaf(), "only a free leaf can be split"
        left = x - self.x
        assert 0 < left < self.width, "both halves must have some room"
        return self._adopt(
            PackTree(self.x, self.y, left, self.height),
            PackTree(x, self.y, self.width - left, self.height),
        )

    def _leaf_at(self, x: int, y: int) -> "PackTree | None":
        position = (x, y)
        if position not in self:
            return None
        node = self
        while node._children is not None:
            first, second = node._children
            if position in first:
                node = first
            elif position in second:
                node = second
            else:
                return None
        return node

    def _free_leaves(self, fits: Callable[[_Sizes], bool]) -> Iterator["PackTree"]:
        """Free leaves in the order of the walk, only where sizes `fits`.

        A stack instead of recursion: a tree grows as deep as its machine is
        long.
        """
        stack = [self]
        while stack:
            node = stack.pop()
            node = node._fork or node
            if not fits(node._free_sizes):
                continue
            if node._children is None:
                yield node
                continue
            first, second = node._children
            if second.width * second.height < first.width * first.height:
                stack += (first, second)
            else:
                stack += (second, first)

    def _corner_for(
        self, width: int, height: int, candidate_filter: CandidateFilter | None
    ) -> tuple[int, int] | None:
        """First corner of this free leaf where a block that fits is accepted."""
        if candidate_filter is None:
            return self.x, self.y
        high_x = self.x + self.width - width
        high_y = self.y + self.height - height
        for x in (self.x,) if high_x == self.x else (self.x, high_x):
            for y in (self.y,) if high_y == self.y else (self.y, high_y):
                if candidate_filter(x, y, width, height):
                    return x, y
        return None

    def _carve(self, x: int, y: int, width: int, height: int) -> None:
        """Allocate a block inside this free leaf, cutting off the rest around it.

        The side with the largest gap is cut off first, so that the biggest
        free piece stays whole.
        """
        node = self
        while True:
            left = x - node.x
            right = node.width - left - width
            below = y - node.y
            above = node.height - below - height
            gap = max(left, right, above, below)
            if gap == 0:
                break
            if gap == left:
                node = node._vsplit(x)[1]
            elif gap == right:
                node = node._vsplit(x + width)[0]
            elif gap == above:
                node = node._hsplit(y + height)[0]
            else:
                node = node._hsplit(y)[1]
        node.allocated = True

    def _cut_anew(self, blocks: Iterable[Block]) -> None:
        """Forget all below and cut so that exactly these blocks are taken.

        Raises ValueError, leaving everything as it was, if blocks overlap.
        """
        fresh = PackTree(self.x, self.y, self.width, self.height)
        splits = []
        stack = [(fresh, list(blocks))]
        while stack:
            node, inside = stack.pop()
            region = Block(node.x, node.y, node.width, node.height)
            if not inside:
                continue
            if inside == [region]:
                node._allocated = True
                node._look_below()
                continue
            vertical, at = find_cut(region, inside)
            first, second = node._vsplit(at) if vertical else node._hsplit(at)
            before = [b for b in inside if (b.x if vertical else b.y) < at]
            after = [b for b in inside if (b.x if vertical else b.y) >= at]
            stack += ((first, before), (second, after))
            splits.append(node)
        for node in reversed(splits):
            node._look_below()
        self._allocated = fresh._allocated
        self.children = fresh._children

    def _free_sizes_changed(self) -> None:
        """Bring the remembered sizes up to date from here to the root."""
        node: PackTree | None = self
        while node is not None and node._look_below():
            node = node._parent

    def _look_below(self) -> bool:
        """Remember the sizes right below; tell whether they are new."""
        fork = None
        if self._children is None:
            sizes: _Sizes = () if self._allocated else ((self.width, self.height),)
        else:
            first, second = self._children
            sizes = _largest(first._free_sizes, second._free_sizes)
            if not second._free_sizes:
                fork = first._fork or first
            elif not first._free_sizes:
                fork = second._fork or second
        if sizes == self._free_sizes and fork is self._fork:
            return False
        self._free_sizes = sizes
        self._fork = fork
        return True


def _largest(some: _Sizes, others: _Sizes) -> _Sizes:
    """Sizes of both that do not fit inside another one."""
    if not some:
        return others
    if not others:
        return some
    kept = [
        (width, height)
        for width, height in some
        if not any(w >= width and h >= height for w, h in others)
    ]
    kept += [
        (width, height)
        for width, height in others
        if not any(w >= width and h >= height for w, h in kept)
    ]
    return tuple(kept)
