"""The promises that readers of events rely on, over random lives of a controller."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from spalloc_server._jobs.events import EventMaker, EventNumbers
from tests.support import recovery_life
from tests.support.recovery_life import Life, random_life

#: Followed by these at once or later, in the life of one job.
NEXT = {
    None: {"created"},
    "created": {"allocated", "ended"},
    "allocated": {"power"},
    "power": {"power", "ready", "moved", "ended"},
    "ready": {"power", "ready", "moved", "ended"},
    "moved": {"allocated", "ended", "freed"},
    "ended": {"freed"},
    "freed": set[str](),
}


def events_of(seed: str) -> list[dict[str, Any]]:
    """All events of one life, made on top of the book at its beginning."""
    told: list[dict[str, Any]] = []
    write = Life._write
    makers: list[EventMaker] = []

    def write_and_tell(life: Life, outcome: Any) -> None:
        if not makers:
            makers.append(EventMaker(life.book))
        made = makers[0].make(outcome, 7.0)
        # Numbers are given before events are made.
        if outcome[0] not in EventNumbers.several:
            assert len(made) == (outcome[0] in EventNumbers.kinds), outcome
        told.extend(made)
        write(life, outcome)

    with mock.patch.object(recovery_life.Life, "_write", write_and_tell):
        random_life(seed, 200)
    return told


@pytest.fixture(scope="module", params=range(12))
def told(request: pytest.FixtureRequest) -> Iterator[list[dict[str, Any]]]:
    yield events_of(f"events-{request.param}")


def test_the_events_of_a_job_come_in_order(told: list[dict[str, Any]]) -> None:
    last: dict[int, str] = {}
    for event in told:
        if event["event"] not in NEXT or event["event"] == "freed":
            continue
        job = event["job"]
        assert event["event"] in NEXT[last.get(job)], (job, last.get(job), event)
        last[job] = event["event"]

    assert "ended" in last.values()


def test_boards_are_freed_after_their_job_and_rest_once(told: list[dict[str, Any]]) -> None:
    left: list[tuple[str, list[int]]] = []
    resting: list[tuple[str, list[int]]] = []
    for event in told:
        place = event.get("machine"), event.get("place")
        if event["event"] in ("ended", "moved") and event["place"] is not None:
            left.append(place)  # type: ignore[arg-type]
        elif event["event"] == "freed":
            left.remove(place)  # type: ignore[arg-type]
            resting.append(place)  # type: ignore[arg-type]
        elif event["event"] == "rested":
            for each in event["places"]:
                resting.remove((event["machine"], each))
        elif event.get("change") == "removed":
            left = [each for each in left if each[0] != event["machine"]]
            resting = [each for each in resting if each[0] != event["machine"]]


def test_boards_come_back_only_after_they_were_out(told: list[dict[str, Any]]) -> None:
    out: set[tuple[Any, ...]] = set()
    for event in told:
        board = event.get("machine"), str(event.get("board") or event.get("frame"))
        if event["event"] == "board out":
            out.add(board)
        elif event["event"] == "board back":
            assert board in out, event
            out.discard(board)
