"""The common methods of the two kinds of room for free triads.

Owns the few methods that a tree of free rectangles and a mask of free triads
have in common.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol


class Room(Protocol):
    """Free triads, from which blocks are taken."""

    def request(self, x: int, y: int, /) -> tuple[int, int] | None:
        """Take one given triad; None if it is taken or outside."""

    def take(self, x: int, y: int, width: int, height: int, /) -> None:
        """Take one given block; ValueError if it is not wholly free and inside."""

    def take_all(self, blocks: Iterable[tuple[int, int, int, int]], /) -> None:
        """Forget all that is taken and take these blocks instead, as from `taken`."""

    def free(self, x: int, y: int, /) -> None:
        """Free the block with a given bottom-left triad."""

    def taken(self) -> Sequence[tuple[int, int, int, int]]:
        """List the blocks that are taken."""
