"""Outcomes that are written into a book (those of a whole controller: test_controller_restart)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs import book as _book
from spalloc_server._jobs.book import BookError

RECORD = {
    "owner": "me", "start_time": 5.0, "keepalive": 60.0, "host": None, "args": [3], "kwargs": {},
}  # fmt: skip
MACHINE = {"name": "m"}
ALLOCATION = {"machine": "m", "id": 4, "outcome": ["triads", 0, 0, 1, 1], "boards": [[0, 0, 0]]}


def book_after(*outcomes: tuple[Any, ...]) -> dict[str, Any]:
    book = _book.empty()
    for outcome in outcomes:
        _book.apply(book, outcome)
    return book


def allocated() -> list[tuple[Any, ...]]:
    return [
        ("machines", ["m"], [MACHINE], [], {}),
        ("created", 7, RECORD),
        ("allocated", 7, ALLOCATION),
    ]


def test_a_new_book_has_what_a_new_controller_has() -> None:
    book = _book.empty()

    assert (book["next_id"], book["max_retired_jobs"], book["seconds_before_free"]) == (
        1, 1200, 30,
    )  # fmt: skip
    assert json.loads(json.dumps(book)) == book


def test_a_created_job_raises_the_next_id() -> None:
    book = book_after(("created", 7, RECORD), ("created", 3, RECORD))

    assert book["next_id"] == 8
    assert list(book["jobs"]) == [7, 3]
    assert (book["jobs"][7]["state"], book["jobs"][7]["owner"]) == (1, "me")


def test_a_job_that_ended_without_boards_is_retired() -> None:
    book = book_after(("created", 7, RECORD), ("ended", 7, None))

    assert (book["jobs"], book["going"], book["retired"]) == ({}, {}, {7: None})


def test_boards_go_off_rest_and_are_free() -> None:
    outcomes = [*allocated(), ("power", 7, True), ("ready", 7)]
    book = book_after(*outcomes)
    assert (book["jobs"][7]["state"], book["jobs"][7]["power"]) == (3, True)

    book = book_after(*outcomes, ("ended", 7, "over"))
    assert list(book["going"]["m"]) == [4]

    book = book_after(*outcomes, ("ended", 7, "over"), ("returned", "m", 4))
    assert book["going"] == {}
    assert list(book["resting"]["m"]) == [4]

    book = book_after(
        *outcomes, ("ended", 7, "over"), ("returned", "m", 4), ("rested", "m", [4])
    )
    assert book["resting"] == {}
    assert book["retired"] == {7: "over"}


def test_a_machine_that_goes_takes_its_allocations_along() -> None:
    book = book_after(
        *allocated(), ("ended", 7, "Machine removed."), ("machines", [], [], ["m"], {"h": [2, 1]})
    )

    assert (book["machines"], book["going"], book["orphans"]) == ({}, {}, {"h": [1, 2]})


def test_so_many_ends_are_remembered() -> None:
    ends = [outcome for n in range(5) for outcome in [("created", n, RECORD), ("ended", n, "x")]]

    book = book_after(("limits", 2, 5), *ends)

    assert list(book["retired"]) == [3, 4]
    assert book["seconds_before_free"] == 5


@pytest.mark.parametrize(
    "outcome",
    [
        (),
        ("nonsense",),
        ("created",),
        ("created", 1),
        ("created", 1, 5),
        ("ended", 99, "no such job"),
        ("power", 99, True),
        ("ready", None),
        ("allocated", 99, {}),
        ("returned", "m", 1),
        ("rested", "m", [1]),
        ("machines", ["m"], [], [], {}),
        ([],),
        (None,),
        ("host", 1),
    ],
)
def test_what_does_not_fit_is_refused(outcome: tuple[Any, ...]) -> None:
    with pytest.raises(BookError):
        _book.apply(_book.empty(), outcome)


@given(
    st.sampled_from([*_book.KINDS, "odd"]),
    st.lists(st.none() | st.integers() | st.text() | st.lists(st.integers()), max_size=4),
)
def test_nonsense_is_refused_in_one_way(kind: str, parts: list[Any]) -> None:
    book = book_after(*allocated())

    try:
        _book.apply(book, (kind, *parts))
    except BookError as e:
        assert kind in str(e)


def test_older_formats_are_read_and_newer_ones_refused() -> None:
    assert _book.upgrade({"next_id": 5}, 1) == {**_book.empty(), "next_id": 5}
    for unknown in (0, _book.FORMAT + 1):
        with pytest.raises(BookError):
            _book.upgrade({}, unknown)


def test_jobs_of_format_1_lack_times_and_may_have_numbers_without_end() -> None:
    old = {**RECORD, "args": [10**600], "kwargs": {"tags": ["a"], "max_dead_boards": 10**600}}
    for key in ("state", "power", "attempts", "was_ready", "allocation"):
        old[key] = _book.empty().get(key)

    book = _book.upgrade({"jobs": {3: old}}, 1)
    _book.apply(book, ("created", 4, {**RECORD, "args": [10**600]}))

    job = book["jobs"][3]
    assert (job["fault"], job["allocated_at"], job["ready_at"]) == (None, None, None)
    assert job["args"] == book["jobs"][4]["args"] == [2**63 - 1]
    assert job["kwargs"] == {"tags": ["a"], "max_dead_boards": 2**63 - 1}


def test_outcomes_of_format_1_have_no_times() -> None:
    outcomes = [*allocated(), ("ready", 7), ("requeued", 7, 1), ("ended", 7, "over")]
    book = book_after(*outcomes)

    assert (book["retired"], book["ended"]) == ({7: "over"}, {})


def test_a_job_that_ended_leaves_the_row_of_its_life() -> None:
    *before, given = allocated()
    outcomes = [*before, (*given, 20.0), ("ready", 7, 30.0), ("ready", 7, 40.0)]
    by = {"by": "client", "host": "10.0.0.9", "principal": "user:ada", "at": 50.0}
    book = book_after(*outcomes, ("ended", 7, "over", by))

    assert book["ended"][7] == [
        "me", None, 5.0, 20.0, 30.0, 50.0, "m", [0, 0, 1, 1], 1, "client", "10.0.0.9",
        "user:ada",
    ]  # fmt: skip
    _book.apply(book, ("limits", 0, 30))
    assert book["ended"] == {}
