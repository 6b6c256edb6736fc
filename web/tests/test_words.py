"""Times, sizes and places in words, on pages and in scripts alike."""

from __future__ import annotations

import pytest
from spalloc_web._http.query import NoParameters
from spalloc_web._http.span import Span
from spalloc_web._http.templates import clock, expected, iso, place, query, size_of, span


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "-"), (0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3661, "1 h 1 min"),
     (7200, "2 h"), (599, "9 min 59 s"), (615, "10 min"), (90000, "1 d 1 h"), (-5, "0 s")],
)  # fmt: skip
def test_lengths_of_time(seconds: float | None, words: str) -> None:
    assert span(seconds) == words.replace("-", "\N{EN DASH}")


def test_moments() -> None:
    assert clock(1764000000) == "2025-11-24 16:00:00"
    assert iso(1764000000) == "2025-11-24T16:00:00Z"
    assert (clock(None), iso(None)) == ("\N{EN DASH}", "")
    assert clock(1e30) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("args", "words"),
    [([], "1 board"), ([None], "1 board"), ([5], "5 boards"), ([1, 2, 0], "board (1, 2, 0)"),
     ([3, 2], "3 \N{MULTIPLICATION SIGN} 2 triads"), ([4, None, None], "4 boards")],
)  # fmt: skip
def test_requests(args: list[int | None], words: str) -> None:
    assert size_of(args) == words


def test_places() -> None:
    assert place(None) == "\N{EN DASH}"
    assert place([1, 2, 0]) == "board (1, 2, 0)"
    assert place([1, 2, 3, 4]) == "3 \N{MULTIPLICATION SIGN} 4 triads at (1, 2)"


@pytest.mark.parametrize(
    "outlook",
    [[600, 4200], {"low": 600, "high": 4200.0, "made": 1.0}, {"from": 600, "until": 4200}],
)
def test_an_outlook_is_a_span(outlook: object) -> None:
    assert expected(outlook) == (
        "similar requests waited 10 min to 1 h 10 min lately; not promised"
    )


@pytest.mark.parametrize("outlook", [None, [], [1], {}, {"low": "x"}, 5])
def test_without_an_outlook_nothing_is_said(outlook: object) -> None:
    assert expected(outlook) == ""


def test_an_outlook_in_words_is_told_as_it_is() -> None:
    assert expected("soon") == "soon"


def test_queries_leave_out_parameters_that_are_not_given() -> None:
    assert query(Span(since="2026-01-01")) == "since=2026-01-01"
    assert query(Span(since="a b"), until="&") == "since=a+b&until=%26"
    assert query(NoParameters()) == ""
