"""What blocks are worth, once more: as specified, link by link.

Written from the specification alone, without any care for speed, to be
compared with the allocator.
"""

from collections.abc import Sized
from typing import Any, NamedTuple, Protocol

from spalloc_server._places import Board
from spalloc_server.area_to_rect import area_to_rect
from spalloc_server.coordinates import WrapAround, board_down_link
from spalloc_server.links import Links

Cable = frozenset[tuple[int, int, int, Links]]


class Members(Sized, Protocol):
    """What may be asked of a dead set."""

    def __contains__(self, place: object, /) -> bool: ...


class OnlyInAndLen:
    """A dead set of which no more may be asked; others may change it."""

    def __init__(self, places: Any) -> None:
        self.places = set(places)

    def __contains__(self, place: object) -> bool:
        return place in self.places

    def __len__(self) -> int:
        return len(self.places)


class Network(NamedTuple):
    """What an accepted block amounts to."""

    boards: set[Board]
    periphery: set[tuple[int, int, int, Links]]
    torus: WrapAround


class NaiveMachine:
    """A machine that is asked about blocks and remembers nothing."""

    def __init__(
        self, width: int, height: int, dead_boards: Members, dead_links: Members
    ) -> None:
        self.width, self.height = width, height
        self.dead_boards, self.dead_links = dead_boards, dead_links

    def all_boards(self) -> list[Board]:
        return [
            (x, y, z) for x in range(self.width) for y in range(self.height) for z in range(3)
        ]

    def cable(self, board: Board, link: Links) -> Cable:
        """Both ends of a cable."""
        *far, _ = board_down_link(*board, link, self.width, self.height)
        return frozenset({(*board, link), (far[0], far[1], far[2], link.opposite)})

    def is_dead(self, board: Board, link: Links) -> bool:
        """Whether a cable is named as dead, at whichever end."""
        return any(end in self.dead_links for end in self.cable(board, link))

    def reachable(self, x: int, y: int, width: int, height: int) -> set[Board]:
        """Flood from the block's first board."""
        if (x, y, 0) in self.dead_boards:
            return set()
        reached: set[Board] = {(x, y, 0)}
        while True:
            further = set()
            for board in reached:
                for link in Links:
                    far = board_down_link(*board, link, self.width, self.height)[:3]
                    if (
                        x <= far[0] < x + width
                        and y <= far[1] < y + height
                        and far not in self.dead_boards
                        and not self.is_dead(board, link)
                    ):
                        further.add(far)
            if further <= reached:
                return reached
            reached |= further

    def judge(
        self, block: tuple[int, int, int, int], expected: int, limits: dict[str, Any]
    ) -> Network | None:
        """The network of a block, if it keeps to the limits."""
        boards = self.reachable(*block)
        torus = WrapAround.none
        dead: set[Cable] = set()
        dead_wrap: set[Cable] = set()
        periphery = set()
        for board in boards:
            for link in Links:
                *far, wrap = board_down_link(*board, link, self.width, self.height)
                if tuple(far) not in boards:
                    periphery.add((*board, link))
                    continue
                if self.is_dead(board, link):
                    periphery.add((*board, link))
                    (dead_wrap if wrap else dead).add(self.cable(board, link))
                else:
                    torus = WrapAround(torus | wrap)
        require_torus = limits.get("require_torus") or False
        max_boards, max_links = limits.get("max_dead_boards"), limits.get("max_dead_links")
        if (
            not boards
            or (max_boards is not None and expected - len(boards) > max_boards)
            or (require_torus and not torus)
            or (max_links is not None and len(dead) + len(dead_wrap) * require_torus > max_links)
        ):
            return None
        return Network(boards, periphery, torus)

    def expected(self, what: tuple[int, ...], block: tuple[int, int, int, int]) -> int:
        """Boards that dead ones are weighed against."""
        return what[0] if len(what) == 1 else block[2] * block[3] * 3

    def size_is_right(self, what: tuple[int, ...], limits: dict[str, Any]) -> bool:
        """Whether a block of this size could be on this machine at all."""
        if limits.get("require_torus"):
            if len(what) == 2:
                return what == (self.width, self.height)
            return (what[0] + 2) // 3 == self.width * self.height
        if len(what) == 2:
            return 0 < what[0] <= self.width and 0 < what[1] <= self.height
        return 0 < what[0] <= 3 * self.width * self.height

    def possible(self, what: tuple[int, ...], limits: dict[str, Any]) -> bool:
        """Whether a request could be met in a corner of the idle machine."""
        if what in {(), (1,)}:
            return any(board not in self.dead_boards for board in self.all_boards())
        if len(what) == 3:
            return what in self.all_boards() and what not in self.dead_boards
        if not self.size_is_right(what, limits):
            return False
        size: Any = what
        if len(what) == 1:
            ratio = limits.get("min_ratio") or 0.0
            size = area_to_rect((what[0] + 2) // 3, self.width, self.height, ratio)
            if size is None:
                return False
        return self._in_a_corner(size, self.expected(what, (0, 0, *size)), limits)

    def full_measure(
        self, boards: int, limits: dict[str, Any]
    ) -> tuple[int, dict[str, Any]]:
        """Triads and limits for a number of boards.

        The smallest block with so many live boards that the idle machine has
        in a corner, else the one with the most boards; the plain rules where
        it was said how many dead boards will do.
        """
        area = (boards + 2) // 3
        ratio = limits.get("min_ratio") or 0.0
        largest = self.width * self.height
        said = limits.get("max_dead_boards") is not None
        if said or not self.possible((boards,), limits):
            return area, limits
        areas = [largest] if limits.get("require_torus") else range(1, largest + 1)
        for missing in range(boards):
            strict = limits | {"max_dead_boards": missing}
            for other in [n for n in areas if missing or n >= area]:
                size = area_to_rect(other, self.width, self.height, ratio)
                if size is not None and self._in_a_corner(size, boards, strict):
                    return other, strict
        return area, limits

    def _in_a_corner(
        self, size: tuple[int, int], expected: int, limits: dict[str, Any]
    ) -> bool:
        width, height = size
        return any(
            self.judge((x, y, width, height), expected, limits)
            for x in (0, self.width - width)
            for y in (0, self.height - height)
        )
