"""Changes are told in order, apart where they must be, and not before they are written."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spalloc_server._wire.telling import Telling


class Position:
    """A write-ahead that is safe as far as the test says."""

    def __init__(self) -> None:
        self.position = self.safe = 0

    def commit(self) -> int:
        self.position += 1
        return self.position


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def position() -> Position:
    return Position()


@pytest.fixture
def telling(told: list[Any], position: Position) -> Telling:
    def tell(client: Any, line: bytes) -> None:
        told.append((client, *json.loads(line).items()))

    position.safe = 10**9
    return Telling(position, tell)  # type: ignore[arg-type]


def test_each_hears_of_what_it_watches(telling: Telling, told: list[Any]) -> None:
    jobs, machines = {"all": None, "some": {2, 9}, "other": {7}}, {"all": None, "b": {"b"}}

    telling.tell_changes(({3, 2, 1}, {"b", "a"}), jobs, machines)

    assert told == [
        ("all", ("jobs_changed", [1, 2, 3])),
        ("some", ("jobs_changed", [2])),
        ("all", ("machines_changed", ["a", "b"])),
        ("b", ("machines_changed", ["b"])),
    ]


def test_changes_of_the_same_job_are_told_apart_and_others_together(
    telling: Telling, told: list[Any]
) -> None:
    telling.put_aside(({1}, {"m"}))
    telling.put_aside(({2}, set()))
    telling.put_aside(({1}, {"m"}))

    telling.tell_changes((set(), set()), {"c": None}, {})

    assert told == [("c", ("jobs_changed", [1, 2])), ("c", ("jobs_changed", [1]))]


def test_nothing_is_told_before_it_is_safe(
    telling: Telling, told: list[Any], position: Position
) -> None:
    position.safe = 0
    telling.tell_changes(({1}, set()), {"c": None}, {})
    telling.tell_changes(({2}, set()), {"c": None}, {})
    assert told == []

    position.safe = 1
    telling.tell_changes((set(), set()), {"c": None}, {})
    assert told == [("c", ("jobs_changed", [1]))]

    position.safe = 10
    telling.tell_changes((set(), set()), {"c": None}, {})
    assert told[1:] == [("c", ("jobs_changed", [2]))]


def test_without_watchers_nothing_is_written_for_them(
    telling: Telling, told: list[Any], position: Position
) -> None:
    telling.tell_changes(({1}, {"m"}), {}, {})
    telling.tell_changes((set(), set()), {"c": None}, {})

    assert told == []
    assert position.position == 0


def test_a_client_that_is_dropped_meanwhile_is_told_nothing(position: Position) -> None:
    jobs: dict[Any, set[Any] | None] = {"a": None, "b": None}
    told = []

    def tell(client: Any, _line: bytes) -> None:
        told.append(client)
        jobs.clear()

    position.safe = 10
    Telling(position, tell).tell_changes(({1}, set()), jobs, {})  # type: ignore[arg-type]

    assert told == ["a"]


def test_of_events_one_line_waits_at_most(telling: Telling, told: list[Any]) -> None:
    reads = {"quick": True, "slow": False}
    telling.event_watches.update(quick=0, slow=0)
    for until in (5, 6):
        telling.events_until = until
        telling.tell_events(reads.__getitem__)
        telling.tell_events(reads.__getitem__)
    reads["slow"] = True
    telling.tell_events(reads.__getitem__)

    assert told == [
        ("quick", ("events_until", 5)),
        ("quick", ("events_until", 6)),
        ("slow", ("events_until", 6)),
    ]
