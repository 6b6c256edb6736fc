"""The arguments of create_job, checked (refused ones are in test_controller)."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._checks.values import MAX_TEXT
from spalloc_server._jobs.job_request import (
    JobRequest,
    keepalive_seconds,
    owner_name,
)
from spalloc_server.allocator import Allocator

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
NAMES = ("machine", "tags", "min_ratio", "max_dead_boards", "max_dead_links", "require_torus", "x")


def test_nulls_at_the_end_are_dropped() -> None:
    assert JobRequest.parse((4, None, None), {"machine": None}) == JobRequest((4,))


def test_keywords_are_those_that_were_given() -> None:
    limits: dict[str, Any] = {"min_ratio": 1, "max_dead_boards": 0, "require_torus": False}
    request = JobRequest.parse((3, 2), {"tags": ["a", "b", "a"], "machine": None, **limits})

    assert request.tags == frozenset({"a", "b"})
    assert request.keywords == {"tags": {"a", "b"}, **limits}
    assert isinstance(request.limits["min_ratio"], float)


@given(
    st.lists(ANYTHING, max_size=4), st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3)
)
def test_whatever_comes_is_refused_with_words_or_understood_by_the_allocator(
    what: list[Any], keywords: dict[str, Any]
) -> None:
    try:
        request = JobRequest.parse(tuple(what), keywords)
    except (TypeError, ValueError) as e:
        assert len(str(e)) > 10
        return
    Allocator(2, 2).alloc_possible(*request.what, **request.limits)
    JobRequest.parse(request.what, request.keywords)


@given(st.lists(st.integers(-2, 4), max_size=3), st.booleans())
def test_numbers_are_refused_only_for_their_form(what: list[int], torus: bool) -> None:
    single = len(what) in (0, 3) or what == [1]
    try:
        JobRequest.parse(tuple(what), {"require_torus": torus})
    except ValueError:
        assert min(what, default=0) < 0 or (torus and single)
    else:
        assert min(what, default=0) >= 0
        assert not (torus and single)


def test_a_period_is_a_finite_number_of_seconds() -> None:
    assert keepalive_seconds(None) is None
    assert keepalive_seconds(0) == 0.0
    assert isinstance(keepalive_seconds(7), float)
    for wrong in (10**400, "1", [1], float("-inf"), float("inf"), float("nan")):
        with pytest.raises((TypeError, ValueError), match="keepalive"):
            keepalive_seconds(wrong)


def test_an_owner_is_text_of_a_sane_length() -> None:
    assert owner_name("x" * MAX_TEXT) == "x" * MAX_TEXT
    assert owner_name("") == ""
    with pytest.raises(TypeError, match=r"^owner must be specified for all jobs"):
        owner_name(None)
    with pytest.raises(ValueError, match="1024"):
        owner_name("x" * (MAX_TEXT + 1))


@pytest.mark.parametrize("name", ["max_dead_boards", "max_dead_links"])
def test_numbers_have_64_bits(name: str) -> None:
    largest = 2**63 - 1
    assert JobRequest.parse((largest,), {name: largest}).what == (largest,)

    with pytest.raises(ValueError, match="at most 9223372036854775807, not 9223372036854775808"):
        JobRequest.parse((largest + 1,), {})
    with pytest.raises(ValueError, match=f"{name} must be at most .*, not 1000"):
        JobRequest.parse((), {name: 10**600})
