"""The blocks of triads that a server tries for a number of boards, and the places it tries.

Servers from 1.1.0 on say how they schedule. By "fcfs", as older servers do, they take one
shape for a number of boards, at the corners of the machine; otherwise any shape that would
not do if it were smaller, anywhere. Knows no dead boards.
"""

import math
from collections.abc import Iterator

Size = tuple[int, int]


def triads_for(boards: int) -> int:
    """Return how many triads hold so many boards."""
    return -(-boards // 3)


def tries_corners_only(scheduling: str | None) -> bool:
    """Whether a server that says so (None: an older one) cuts blocks at corners only."""
    return scheduling in {None, "fcfs"}


def sizes_for(
    boards: int, width: int, height: int, min_ratio: float, scheduling: str | None
) -> list[Size]:
    """Return the sizes of blocks, in triads, that a server would try.

    Parameters
    ----------
    boards
        Asked for (> 0).
    width, height
        Of the machine, in triads.
    min_ratio
        Least short side / long side; above 1 it is inverted.
    scheduling
        As the server says; None: an older one.

    Returns
    -------
    list of (width, height)
        Smallest area first; empty if no shape fits.
    """
    ratio = 1 / min_ratio if min_ratio > 1 else min_ratio
    area = triads_for(boards)
    if tries_corners_only(scheduling):
        size = _one_size(area, width, height, ratio)
        return [] if size is None else [size]
    every = [
        (wide, high)
        for high in range(1, height + 1)
        for wide in range(triads_over(area, high), width + 1)
        if min(wide, high) >= ratio * max(wide, high)
    ]
    least = [(w, h) for w, h in every if w == triads_over(area, h) and w * (h - 1) < area]
    return sorted(least or every, key=lambda size: (size[0] * size[1], abs(size[0] - size[1])))


def triads_over(area: int, rows: int) -> int:
    """Return how wide a block of so many rows must be to hold an area."""
    return -(-area // rows)


def anchors(
    size: Size, width: int, height: int, scheduling: str | None
) -> Iterator[tuple[int, int]]:
    """Give the bottom-left triads of the blocks of a size that a server would try."""
    last_x, last_y = width - size[0], height - size[1]
    if tries_corners_only(scheduling):
        yield from sorted({(x, y) for x in (0, last_x) for y in (0, last_y)})
        return
    for y in range(last_y + 1):
        for x in range(last_x + 1):
            yield x, y


def _one_size(area: int, bound_width: int, bound_height: int, ratio: float) -> Size | None:
    """Return the block that is cut out for an area.

    Exact rectangles that are not too long come first, else ones with a few triads too many,
    turned and squashed to fit the machine.
    """
    if area < 1 or area > bound_width * bound_height:
        return None
    height = next(side for side in range(math.isqrt(area), 0, -1) if area % side == 0)
    width = area // height
    if height / width < ratio:
        height = math.ceil(area / math.sqrt(area / ratio))
        width = max(-(-area // height), height)
    if bound_width > bound_height:
        width, height = height, width
    if width <= bound_width and height <= bound_height:
        return width, height
    if width > bound_width:
        width, height = bound_width, -(-area // bound_width)
    else:
        width, height = -(-area // bound_height), bound_height
    return (width, height) if min(width, height) / max(width, height) >= ratio else None
