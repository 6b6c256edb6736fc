"""What a request for boards means."""

import math
from typing import Any

import pytest

from spalloc_server._allocation.kinds import Limits, Request, _AllocationType, understand

NO_LIMITS = Limits(None, None, False, 0.0)


class OtherWholeNumber:
    """As numpy has them: no int, but as good as one."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


@pytest.mark.parametrize(
    ("what", "kind", "numbers"),
    [
        ((), _AllocationType.board, ()),
        ((1,), _AllocationType.board, ()),
        ((None,), _AllocationType.board, ()),
        ((None, None, None), _AllocationType.board, ()),
        ((1, None, None), _AllocationType.board, ()),
        ((4,), _AllocationType.boards, (4,)),
        ((4, None, None), _AllocationType.boards, (4,)),
        ((0,), _AllocationType.boards, (0,)),
        ((-1,), _AllocationType.boards, (-1,)),
        ((2, 3), _AllocationType.triads, (2, 3)),
        ((1, 1), _AllocationType.triads, (1, 1)),
        ((2, 3, None), _AllocationType.triads, (2, 3)),
        ((2, 3, 1), _AllocationType.board, (2, 3, 1)),
        ((0, 0, 0), _AllocationType.board, (0, 0, 0)),
    ],
)
def test_the_number_of_numbers_tells_the_kind(
    what: tuple[int | None, ...], kind: _AllocationType, numbers: tuple[int, ...]
) -> None:
    assert understand(what, {}) == Request(kind, numbers, NO_LIMITS)


@pytest.mark.parametrize("what", [(OtherWholeNumber(4),), (OtherWholeNumber(2), True)])
def test_whole_numbers_of_other_kinds_become_plain_ones(what: tuple[Any, ...]) -> None:
    numbers = understand(what, {}).numbers

    assert [type(number) for number in numbers] == [int] * len(what)
    assert numbers == tuple(map(int, what))


@pytest.mark.parametrize("what", [(None, 4), (1, None, 3), (None, None, 3), (None, 1, None)])
def test_a_number_after_a_null_means_nothing(what: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match="null"):
        understand(what, {})


def test_there_are_at_most_three_numbers() -> None:
    with pytest.raises(TypeError, match=r"1, 2, 3, 4"):
        understand((1, 2, 3, 4), {})

    assert understand((1, 2, 3, None), {}).numbers == (1, 2, 3)


@pytest.mark.parametrize("what", [(2.5,), (2.0,), ("3",), (1, "1"), ([],), (math.nan, 2)])
def test_numbers_are_whole(what: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="whole number"):
        understand(what, {})


@pytest.mark.parametrize("what", [(), (1,), (None,), (0, 0, 0)])
def test_single_boards_have_no_torus(what: tuple[int | None, ...]) -> None:
    with pytest.raises(ValueError, match="require_torus"):
        understand(what, {"require_torus": True})

    assert understand(what, {"require_torus": False}).kind is _AllocationType.board


def test_limits_are_told_apart() -> None:
    limits = {"max_dead_boards": 1, "max_dead_links": 2, "require_torus": True, "min_ratio": 0.5}

    assert understand((2, 3), limits).limits == Limits(1, 2, True, 0.5)


@pytest.mark.parametrize("name", Limits._fields)
def test_a_null_means_not_given(name: str) -> None:
    assert understand((2, 3), {name: None}).limits == NO_LIMITS


def test_an_unknown_keyword_is_refused_with_its_name() -> None:
    with pytest.raises(TypeError, match="'owner'"):
        understand((2, 3), {"owner": "me"})


@pytest.mark.parametrize("name", ["max_dead_boards", "max_dead_links"])
@pytest.mark.parametrize("value", [1.5, "1", math.inf])
def test_counts_are_whole(name: str, value: object) -> None:
    with pytest.raises(TypeError, match=name):
        understand((2, 3), {name: value})


@pytest.mark.parametrize("ratio", [-0.1, math.nan, math.inf])
def test_a_ratio_is_finite_and_not_negative(ratio: float) -> None:
    with pytest.raises(ValueError, match="min_ratio"):
        understand((7,), {"min_ratio": ratio})


def test_a_ratio_is_a_number() -> None:
    with pytest.raises(TypeError):
        understand((7,), {"min_ratio": "0.5"})


def test_nothing_is_kept_of_what_was_given() -> None:
    limits: dict[str, Any] = {"max_dead_boards": 1}
    understood = understand((2, 3), limits)

    limits["max_dead_boards"] = 7

    assert understood.limits.max_dead_boards == 1
