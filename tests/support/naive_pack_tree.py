"""The tree of free room once more: as specified, remembering nothing.

Written from the specification alone, with recursion and without any care for
speed, to be compared with `PackTree`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spalloc_server.pack_tree import PackTree

Filter = Callable[[int, int, int, int], bool]
Shape = tuple[int, int]


class NaiveTree:
    """A rectangle that is free, taken or cut in two."""

    def __init__(self, x: int, y: int, width: int, height: int) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        self.taken = False
        self.pair: tuple[NaiveTree, NaiveTree] | None = None

    @classmethod
    def copy_of(cls, tree: PackTree) -> NaiveTree:
        """The same, read off the attributes that others may see."""
        copy = cls(tree.x, tree.y, tree.width, tree.height)
        copy.taken = tree.allocated
        if tree.children is not None:
            first, second = tree.children
            copy.pair = (cls.copy_of(first), cls.copy_of(second))
        return copy

    def dump(self) -> Any:
        """The whole tree as something that can be compared."""
        region = (self.x, self.y, self.width, self.height)
        if self.pair is None:
            return region, self.taken
        return region, [half.dump() for half in self.pair]

    def alloc(self, width: int, height: int, keep: Filter | None = None) -> Any:
        place = self._walk(lambda _leaf: (width, height), keep)
        return None if place is None else place[:2]

    def alloc_area(
        self, shape_in: Callable[[int, int], Shape | None], keep: Filter | None = None
    ) -> Any:
        """Like alloc; the shape for a leaf of some size is asked for."""
        return self._walk(lambda leaf: shape_in(leaf.width, leaf.height), keep)

    def _walk(
        self, shape_for: Callable[[NaiveTree], Shape | None], keep: Filter | None
    ) -> tuple[int, int, int, int] | None:
        if self.pair is not None:
            first, second = self.pair
            if second.width * second.height < first.width * first.height:
                first, second = second, first
            return first._walk(shape_for, keep) or second._walk(shape_for, keep)
        if self.taken:
            return None
        shape = shape_for(self)
        if shape is None or shape[0] > self.width or shape[1] > self.height:
            return None
        width, height = shape
        asked = set()
        for x in (self.x, self.x + self.width - width):
            for y in (self.y, self.y + self.height - height):
                if (x, y) in asked:
                    continue
                asked.add((x, y))
                if keep is None or keep(x, y, width, height):
                    self._cut_at_corner(x, y, width, height)
                    return x, y, width, height
        return None

    def _cut_at_corner(self, x: int, y: int, width: int, height: int) -> None:
        over_width, over_height = self.width - width, self.height - height
        if over_width == 0 and over_height == 0:
            self.taken = True
        elif over_width >= over_height:
            half = self._vcut(x if x > self.x else x + width, right=x > self.x)
            half._cut_at_corner(x, y, width, height)
        else:
            half = self._hcut(y if y > self.y else y + height, upper=y > self.y)
            half._cut_at_corner(x, y, width, height)

    def _vcut(self, at: int, right: bool) -> NaiveTree:
        self.pair = (
            NaiveTree(self.x, self.y, at - self.x, self.height),
            NaiveTree(at, self.y, self.x + self.width - at, self.height),
        )
        return self.pair[1 if right else 0]

    def _hcut(self, at: int, upper: bool) -> NaiveTree:
        self.pair = (
            NaiveTree(self.x, self.y, self.width, at - self.y),
            NaiveTree(self.x, at, self.width, self.y + self.height - at),
        )
        return self.pair[1 if upper else 0]

    def request(self, x: int, y: int) -> tuple[int, int] | None:
        leaf = self._leaf_at(x, y)
        if leaf is None or leaf.taken:
            return None
        while (leaf.width, leaf.height) != (1, 1):
            gaps = {
                "left": x - leaf.x,
                "right": leaf.x + leaf.width - x - 1,
                "above": leaf.y + leaf.height - y - 1,
                "below": y - leaf.y,
            }
            side = max(gaps, key=lambda name: gaps[name])
            if side == "left":
                leaf = leaf._vcut(x, right=True)
            elif side == "right":
                leaf = leaf._vcut(x + 1, right=False)
            elif side == "above":
                leaf = leaf._hcut(y + 1, upper=False)
            else:
                leaf = leaf._hcut(y, upper=True)
        leaf.taken = True
        return x, y

    def _leaf_at(self, x: int, y: int) -> NaiveTree | None:
        if not (
            self.x <= x < self.x + self.width and self.y <= y < self.y + self.height
        ):
            return None
        if self.pair is None:
            return self
        return self.pair[0]._leaf_at(x, y) or self.pair[1]._leaf_at(x, y)

    def free(self, x: int, y: int) -> bool:
        """Whether there was an allocation to free."""
        leaf = self._leaf_at(x, y)
        if leaf is None or not leaf.taken or (leaf.x, leaf.y) != (x, y):
            return False
        leaf.taken = False
        self._melt_around(x, y)
        return True

    def _melt_around(self, x: int, y: int) -> None:
        if self.pair is None:
            return
        for half in self.pair:
            if half._leaf_at(x, y) is not None:
                half._melt_around(x, y)
        if all(half.pair is None and not half.taken for half in self.pair):
            self.pair = None
