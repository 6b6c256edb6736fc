"""Choose the shape of a rectangle from its area.

Owns the trade between square shapes, exact areas and the room there is.  Must
not know the cells, nor which are taken.
"""

import math
from functools import lru_cache

__all__ = ("area_to_rect", "rectangle_with_aspect_ratio", "squarest_rectangle")


# A walk through a tree of free rectangles asks for the same area at each of
# them; the answer depends on nothing but the area.
@lru_cache(maxsize=1024)
def squarest_rectangle(area: int) -> tuple[int, int]:
    """Most nearly square rectangle of exactly this area.

    Parameters
    ----------
    area : int
        Cells (>= 0).

    Returns
    -------
    (width, height)
        Landscape (width >= height); (0, 0) for no area.

    Raises
    ------
    ValueError
        If `area` is negative.
    """
    if area < 0:
        raise ValueError(f"area must not be negative, but is {area!r}")
    if area == 0:
        return 0, 0
    height = next(h for h in range(math.isqrt(area), 0, -1) if area % h == 0)
    return area // height, height


def rectangle_with_aspect_ratio(area: int, ratio: float) -> tuple[int, int]:
    """Smallest handy rectangle that is at least as square as asked.

    Parameters
    ----------
    area : int
        Cells that the rectangle has to hold (>= 0).
    ratio : float
        Wanted height / width, 0 < ratio <= 1.

    Returns
    -------
    (width, height)
        Landscape; may hold more cells than asked for.  (0, 0) for no area.

    Raises
    ------
    ValueError
        If `area` is negative or `ratio` out of its range.
    """
    if area < 0:
        raise ValueError(f"area must not be negative, but is {area!r}")
    if not 0.0 < ratio <= 1.0:
        raise ValueError(f"ratio must be above 0 and at most 1, but is {ratio!r}")
    if area == 0:
        return 0, 0
    real_width = math.sqrt(area / ratio)
    height = math.ceil(area / real_width)
    width = math.ceil(area / height)
    return max(width, height), height


def area_to_rect(
    area: int, bound_width: int, bound_height: int, min_ratio: float = 0.0
) -> tuple[int, int] | None:
    """Shape for an area that fits a bound and is not too narrow.

    Parameters
    ----------
    area : int
        Cells that the rectangle has to hold (> 0).
    bound_width, bound_height : int
        Size of the free room, cells (> 0).
    min_ratio : float
        Least short side / long side; above 1 it is inverted.

    Returns
    -------
    (width, height) or None
        Cells; None if no shape fits.

    Raises
    ------
    ValueError
        If a size is not positive or `min_ratio` is negative or no number.
    """
    if area <= 0 or bound_width <= 0 or bound_height <= 0:
        raise ValueError(
            "sizes must be positive, but are "
            f"area {area!r}, bound {bound_width!r} x {bound_height!r}"
        )
    if not min_ratio >= 0.0:
        raise ValueError(f"min_ratio must not be negative, but is {min_ratio!r}")
    if min_ratio > 1.0:
        min_ratio = 1.0 / min_ratio
    if area > bound_width * bound_height:
        return None

    width, height = squarest_rectangle(area)
    if height / width < min_ratio:
        width, height = rectangle_with_aspect_ratio(area, min_ratio)
    if bound_width > bound_height:
        # Stand it at the end of the room, so that the piece left is large.
        width, height = height, width
    if width <= bound_width and height <= bound_height:
        return width, height

    if width > bound_width:
        width = bound_width
        height = -(-area // width)
    else:
        height = bound_height
        width = -(-area // height)
    if min(width, height) / max(width, height) < min_ratio:
        return None
    return width, height


@lru_cache(maxsize=4096)
def least_rectangles(
    area: int, bound_width: int, bound_height: int, min_ratio: float
) -> tuple[tuple[int, int], ...]:
    """Rectangles that hold an area and would not if they were smaller.

    Parameters
    ----------
    area : int
        Cells to be held (> 0).
    bound_width, bound_height : int
        Most that a rectangle may have, cells.
    min_ratio : float
        Least short side / long side; above 1 it is inverted.

    Returns
    -------
    tuple of (width, height)
        By area, the squarest first, then the narrowest.
    """
    ratio = 1.0 / min_ratio if min_ratio > 1.0 else min_ratio
    found = []
    for high in range(1, bound_height + 1):
        wide = -(-area // high)
        least = wide <= bound_width and wide * (high - 1) < area
        if least and min(wide, high) >= ratio * max(wide, high):
            found.append((wide, high))
    if not found:
        # Only rectangles that hold more are square enough.
        found = [
            (wide, high)
            for wide in range(1, bound_width + 1)
            for high in range(1, bound_height + 1)
            if wide * high >= area and min(wide, high) >= ratio * max(wide, high)
        ]
    return tuple(sorted(found, key=lambda size: (size[0] * size[1], -min(size), size[0])))
