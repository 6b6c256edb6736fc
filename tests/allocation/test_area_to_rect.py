"""Shapes of rectangles by area."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server.area_to_rect import (
    area_to_rect,
    least_rectangles,
    rectangle_with_aspect_ratio,
    squarest_rectangle,
)

areas = st.integers(1, 400)
sides = st.integers(1, 40)
ratios = st.floats(0.0, 1.0)
real_ratios = st.floats(0.01, 1.0)


@pytest.mark.parametrize(
    ("area", "rectangle"),
    [
        (0, (0, 0)),
        (1, (1, 1)),
        (2, (2, 1)),
        (7, (7, 1)),
        (12, (4, 3)),
        (16, (4, 4)),
        (24, (6, 4)),
        (1200, (40, 30)),
    ],
)
def test_the_squarest_rectangle_of_an_area(area: int, rectangle: tuple[int, int]) -> None:
    assert squarest_rectangle(area) == rectangle


@given(areas)
def test_the_squarest_rectangle_is_exact_and_no_other_is_squarer(area: int) -> None:
    width, height = squarest_rectangle(area)

    assert width * height == area
    assert height <= math.sqrt(area) <= width
    assert not [h for h in range(height + 1, math.isqrt(area) + 1) if area % h == 0]


@pytest.mark.parametrize(
    ("area", "ratio", "rectangle"),
    [
        (0, 1.0, (0, 0)),
        (5, 1.0, (3, 3)),
        (5, 0.5, (3, 2)),
        (7, 0.9, (3, 3)),
        (13, 0.3, (7, 2)),
        (16, 1.0, (4, 4)),
        (17, 1.0, (5, 5)),
    ],
)
def test_a_rectangle_with_an_aspect_ratio(
    area: int, ratio: float, rectangle: tuple[int, int]
) -> None:
    assert rectangle_with_aspect_ratio(area, ratio) == rectangle


@given(areas, real_ratios)
def test_a_rectangle_with_an_aspect_ratio_holds_the_area_and_is_landscape(
    area: int, ratio: float
) -> None:
    width, height = rectangle_with_aspect_ratio(area, ratio)

    assert width * height >= area
    assert width >= height


@pytest.mark.parametrize("ratio", [0.0, -0.5, 1.5, math.nan])
def test_an_aspect_ratio_lies_between_0_and_1(ratio: float) -> None:
    with pytest.raises(ValueError, match="ratio"):
        rectangle_with_aspect_ratio(5, ratio)


def test_there_is_no_negative_area() -> None:
    with pytest.raises(ValueError, match="-1"):
        squarest_rectangle(-1)
    with pytest.raises(ValueError, match="-1"):
        rectangle_with_aspect_ratio(-1, 1.0)


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (-1, 1, 1), (1, -1, 1)])
def test_sizes_must_be_positive(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="positive"):
        area_to_rect(*sizes)


@pytest.mark.parametrize("ratio", [-0.1, -math.inf, math.nan])
def test_a_ratio_must_not_be_negative(ratio: float) -> None:
    with pytest.raises(ValueError, match="min_ratio"):
        area_to_rect(1, 1, 1, ratio)


def test_an_area_that_exceeds_its_bounds_has_no_shape() -> None:
    assert area_to_rect(7, 3, 2) is None
    assert area_to_rect(6, 3, 2) == (3, 2)


def test_in_a_landscape_bound_a_rectangle_stands_upright() -> None:
    assert area_to_rect(6, 10, 9) == (2, 3)
    assert area_to_rect(6, 9, 10) == (3, 2)
    assert area_to_rect(6, 9, 9) == (3, 2)


def test_what_does_not_fit_is_squashed_to_the_bound() -> None:
    assert area_to_rect(7, 3, 3) == (3, 3)
    assert area_to_rect(7, 2, 5) == (2, 4)
    assert area_to_rect(7, 5, 2) == (4, 2)


def test_what_must_be_squashed_too_narrow_has_no_shape() -> None:
    assert area_to_rect(7, 7, 1) == (7, 1)
    assert area_to_rect(7, 7, 1, 0.5) is None
    assert area_to_rect(9, 2, 9, 0.5) is None


def test_a_ratio_that_the_exact_shape_misses_makes_another_shape() -> None:
    assert area_to_rect(7, 9, 10, 0.9) == (3, 3)
    assert area_to_rect(13, 7, 7, 0.3) == (7, 2)


@given(areas, sides, sides, st.floats(1.0, 20.0))
def test_a_ratio_above_1_is_inverted(area: int, width: int, height: int, ratio: float) -> None:
    assert area_to_rect(area, width, height, ratio) == area_to_rect(
        area, width, height, 1.0 / ratio
    )


@given(areas, sides, sides, ratios)
def test_a_shape_fits_and_holds_the_area(
    area: int, width: int, height: int, ratio: float
) -> None:
    shape = area_to_rect(area, width, height, ratio)

    if shape is not None:
        assert shape[0] * shape[1] >= area
        assert 1 <= shape[0] <= width
        assert 1 <= shape[1] <= height


@given(areas, sides, sides)
def test_without_a_ratio_whatever_has_room_has_a_shape(
    area: int, width: int, height: int
) -> None:
    assert (area_to_rect(area, width, height) is None) == (area > width * height)


@given(areas, sides, sides, ratios)
def test_the_shape_is_the_one_that_the_rules_give(
    area: int, width: int, height: int, ratio: float
) -> None:
    assert area_to_rect(area, width, height, ratio) == by_the_rules(area, width, height, ratio)


def by_the_rules(
    area: int, bound_width: int, bound_height: int, ratio: float
) -> tuple[int, int] | None:
    """The rules again, word by word."""
    if area > bound_width * bound_height:
        return None
    h = max(h for h in range(1, area + 1) if area % h == 0 and h <= math.sqrt(area))
    w = area // h
    if h / w < ratio:
        real_width = math.sqrt(area / ratio)
        h = math.ceil(area / real_width)
        w = math.ceil(area / h)
        w = max(w, h)
    if bound_width > bound_height and w > h:
        w, h = h, w
    squashed = True
    if w > bound_width:
        w, h = bound_width, math.ceil(area / bound_width)
    elif h > bound_height:
        w, h = math.ceil(area / bound_height), bound_height
    else:
        squashed = False
    if squashed and min(w, h) / max(w, h) < ratio:
        return None
    return w, h


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 9), st.sampled_from((0.0, 0.3, 0.5)))
def test_least_rectangles_hold_an_area_and_no_smaller_ones_would(
    area: int, width: int, height: int, ratio: float
) -> None:
    found = least_rectangles(area, width, height, ratio)

    assert len(found) == len(set(found))
    assert [w * h for w, h in found] == sorted(w * h for w, h in found)
    for wide, high in found:
        assert wide * high >= area
        assert wide <= width
        assert high <= height
        assert min(wide, high) / max(wide, high) >= ratio
    if not ratio:
        least = {
            (wide, high)
            for wide in range(1, width + 1)
            for high in range(1, height + 1)
            if wide * high >= area > max((wide - 1) * high, wide * (high - 1))
        }
        assert set(found) == least


def test_least_rectangles_are_ordered_by_area_then_squareness_then_width() -> None:
    assert least_rectangles(6, 9, 9, 0.0) == ((2, 3), (3, 2), (1, 6), (6, 1))
    assert least_rectangles(5, 9, 9, 0.0) == ((1, 5), (5, 1), (2, 3), (3, 2))


def test_where_no_least_rectangle_is_square_enough_a_larger_one_is() -> None:
    assert least_rectangles(5, 9, 9, 1.0)[0] == (3, 3)
    assert least_rectangles(5, 2, 9, 1.0) == ()
