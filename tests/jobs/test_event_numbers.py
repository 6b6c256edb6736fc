"""Numbers of events: never twice, and the same after a start."""

from __future__ import annotations

from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._jobs import book as _book
from spalloc_server._jobs.event_numbers import EventNumbers
from spalloc_server._jobs.machine_map import to_plain
from tests.support.machines import machine

NOW = 1_800_000_000.0
MICROSECONDS = int(NOW * 1e6)
RECORD = {
    "owner": "me",
    "start_time": 5.0,
    "keepalive": None,
    "host": None,
    "args": [],
    "kwargs": {},
}


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_clock, "wall", lambda: NOW)


def created(job_id: int) -> tuple[Any, ...]:
    return ("created", job_id, RECORD)


def power(job_id: int) -> tuple[Any, ...]:
    return ("power", job_id, True)


def a_book(**events: Any) -> dict[str, Any]:
    plain = {"m": to_plain(machine("m", 1, 1))}
    return {**_book.empty(), "machines": plain, "events": events or None}


def begun(*args: Any) -> EventNumbers:
    numbers = EventNumbers(*args)
    numbers.begin(a_book())
    return numbers


def brief(events: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(event["number"], event["event"]) for event in events]


def test_a_cold_start_begins_at_the_time_and_tells_the_machines() -> None:
    numbers = begun(None, [], 0)

    assert brief(numbers.unfiled) == [
        (MICROSECONDS, "started"),
        (MICROSECONDS + 1, "machine changed"),
    ]
    assert numbers.unfiled[0]["last"] is None
    assert numbers.unfiled[0]["cold"] is True
    assert {event["state"] for event in numbers.unfiled} == {MICROSECONDS}
    assert numbers.last == MICROSECONDS + 1


@pytest.mark.parametrize("last", [5, MICROSECONDS - 1, MICROSECONDS, MICROSECONDS + 10**9])
def test_a_start_begins_above_all_numbers_known(last: int) -> None:
    numbers = begun(a_book(last=last, state=3, unfiled=[]), [], 0)

    (started,) = numbers.unfiled
    assert started["number"] == max(last + 1, MICROSECONDS)
    assert (started["last"], started["state"], started["cold"]) == (last, 3, False)


def test_the_file_may_know_more_numbers_than_the_state() -> None:
    numbers = begun(a_book(last=5, state=3, unfiled=[]), [], MICROSECONDS + 7)

    assert numbers.unfiled[0]["number"] == MICROSECONDS + 8
    assert numbers.unfiled[0]["last"] == MICROSECONDS + 7


def test_a_state_of_an_older_format_begins_a_lineage_and_is_not_cold() -> None:
    numbers = begun(a_book(), [[created(1)]], 0)

    assert brief(numbers.unfiled)[0] == (MICROSECONDS, "started")
    assert numbers.unfiled[0]["cold"] is False
    assert [kind for _, kind in brief(numbers.unfiled)] == ["started", "machine changed"]


def test_each_event_has_the_next_number() -> None:
    numbers = begun(None, [], 0)
    numbers.note(created(1))
    numbers.note(("host", 1, "10.0.0.1"))
    numbers.note(power(1))

    taken = numbers.take()

    assert taken is not None
    outcome, events = taken
    first = MICROSECONDS + 2
    assert brief(events) == [(first, "created"), (first + 1, "power")]
    assert outcome == ("events", first, 2, NOW)
    assert numbers.last == first + 1
    assert numbers.take() is None


def test_an_outcome_without_events_takes_no_number() -> None:
    numbers = begun(None, [], 0)
    numbers.note(("limits", 5, 30))

    assert numbers.take() is None


def test_a_journal_gives_the_same_events_again_with_the_same_numbers() -> None:
    life = begun(None, [], 0)
    book = {**a_book(), "events": life.plain(life.unfiled)}
    records, told = [], []
    for job_id in (1, 2):
        outcomes = [created(job_id), power(job_id)]
        for outcome in outcomes:
            life.note(outcome)
        taken = life.take()
        assert taken is not None
        records.append([*outcomes, taken[0]])
        told += taken[1]

    again = EventNumbers(book, records, 0)

    assert again.unfiled == [*life.unfiled, *told]
    assert again.last == life.last
    filed = told[1]["number"]
    assert EventNumbers(book, records, filed).unfiled == told[2:]


def test_a_snapshot_carries_the_events_that_the_file_lacks() -> None:
    life = begun(None, [], 0)
    life.note(created(1))
    taken = life.take()
    assert taken is not None
    book = {**a_book(), "events": life.plain([*life.unfiled, *taken[1]])}

    again = EventNumbers(book, [], MICROSECONDS)

    assert brief(again.unfiled) == [(MICROSECONDS + 1, "machine changed"), *brief(taken[1])]


def test_a_program_that_makes_other_events_of_a_journal_keeps_its_numbers() -> None:
    book = a_book(last=10, state=3, unfiled=[])

    again = EventNumbers(book, [[created(1), ("events", 11, 3, NOW)]], 0)

    assert brief(again.unfiled) == [(11, "created")]
    assert again.last == 13


def test_the_book_knows_the_last_number() -> None:
    book = a_book(last=10, state=3, unfiled=[])

    _book.apply(book, ("events", 11, 3, NOW))

    assert book["events"] == {"last": 13, "state": 3, "unfiled": []}


def test_an_event_that_cannot_be_made_costs_the_outcome_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    numbers = begun(None, [], 0)

    numbers.note(("returned", "m", 99))

    assert numbers.take() is None
    assert "nobody is told of an outcome" in caplog.text
