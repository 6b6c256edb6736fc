"""Where a block goes when any place will do, once more: as specified, place by place.

Written from the specification alone, without any care for speed, to be
compared with the allocator.
"""

from typing import Any

from tests.support.naive_allocator import NaiveMachine

Triad = tuple[int, int]
Block = tuple[int, int, int, int]


def triads_of(block: Block) -> set[Triad]:
    x, y, width, height = block
    return {(x + dx, y + dy) for dx in range(width) for dy in range(height)}


class NaiveGrid:
    """Chooses among all places of a machine."""

    def __init__(self, machine: NaiveMachine) -> None:
        self.machine = machine
        self.width, self.height = machine.width, machine.height
        self.whole = triads_of((0, 0, self.width, self.height))

    def sizes(self, what: tuple[int, ...], limits: dict[str, Any]) -> list[tuple[int, int]]:
        """Sizes that a request accepts, in the order in which they are tried."""
        if not self.machine.size_is_right(what, limits):
            return []
        if len(what) == 2:
            return [(what[0], what[1])]
        area = (what[0] + 2) // 3
        ratio = limits.get("min_ratio") or 0.0
        ratio = 1 / ratio if ratio > 1 else ratio
        sizes = []
        for height in range(1, self.height + 1):
            width = -(-area // height)
            square = min(width, height) / max(width, height)
            if width <= self.width and width * (height - 1) < area and square >= ratio:
                sizes.append((width, height))
        return sorted(sizes, key=lambda s: (s[0] * s[1], -min(s), s[0]))

    def accepts(self, what: tuple[int, ...], block: Block, limits: dict[str, Any]) -> bool:
        return self.machine.judge(block, self.machine.expected(what, block), limits) is not None

    def places(
        self, what: tuple[int, ...], limits: dict[str, Any], usable: set[Triad]
    ) -> list[Block]:
        """All accepted places within some triads, for any shape."""
        return [
            (x, y, width, height)
            for width, height in self.sizes(what, limits)
            for x, y in sorted(usable)
            if triads_of((x, y, width, height)) <= usable
            and self.accepts(what, (x, y, width, height), limits)
        ]

    def possible(self, what: tuple[int, ...], limits: dict[str, Any]) -> bool:
        return bool(self.places(what, limits, self.whole))

    def best(
        self, what: tuple[int, ...], limits: dict[str, Any], usable: set[Triad], taken: set[Triad]
    ) -> Block | None:
        """The place that is chosen, on machines of at most 1,000 triads."""
        places = self.places(what, limits, usable)
        if not places:
            return None
        least = min(width * height for _, _, width, height in places)
        places = [place for place in places if place[2] * place[3] == least]
        order = self.sizes(what, limits)
        corners = [place for place in places if self.is_corner(place, usable)]

        def contact(place: Block) -> tuple[Any, ...]:
            x, y, width, height = place
            return (
                -self.contact(place, taken) / (width + height),
                order.index((width, height)),
                y,
                x,
            )

        def final(place: Block) -> tuple[Any, ...]:
            side, number = self.largest_square(usable - triads_of(place))
            return -side, -number, contact(place)

        return min(sorted(corners or places, key=contact)[:8], key=final)

    def is_corner(self, place: Block, usable: set[Triad]) -> bool:
        x, y, width, height = place

        def fits(dx: int, dy: int) -> bool:
            return triads_of((x + dx, y + dy, width, height)) <= usable

        return not (fits(1, 0) and fits(-1, 0)) and not (fits(0, 1) and fits(0, -1))

    def contact(self, place: Block, taken: set[Triad]) -> int:
        inside = triads_of(place)
        neighbours = [
            (x + dx, y + dy)
            for x, y in inside
            for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1))
            if (x + dx, y + dy) not in inside
        ]
        return sum(
            near in taken
            or near not in self.whole
            or all((*near, z) in self.machine.dead_boards for z in range(3))
            for near in neighbours
        )

    def largest_square(self, usable: set[Triad]) -> tuple[int, int]:
        for side in range(min(self.width, self.height), 0, -1):
            number = sum(triads_of((x, y, side, side)) <= usable for x, y in usable)
            if number:
                return side, number
        return 0, 0
