"""Outcomes in the words of readers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._jobs import book as _book
from spalloc_server._jobs.events import EventMaker, EventNumbers
from spalloc_server._jobs.plain_machine import to_plain
from spalloc_server._jobs.write_ahead import EventBatch
from spalloc_server.controller import Controller, JobState
from tests.support.facility import Facility, machine
from tests.support.machines import machine as plain_machine
from tests.support.outcomes import hear_outcomes

A, B = (0, 0, 0), (0, 0, 1)


@pytest.fixture
def facility() -> Iterator[Facility]:
    """Four triads on two frames; their events are told."""
    facility = Facility([machine("m", 4, 1)])
    yield facility
    facility.close()


def events(facility: Facility, *kinds: str) -> list[dict[str, Any]]:
    """All events of a facility since its beginning, of some kinds or all."""
    maker = EventMaker(_book.empty())
    made = [event for outcome in facility.outcomes for event in maker.make(outcome, 7.0)]
    assert json.loads(json.dumps(made))
    return [event for event in made if not kinds or event["event"] in kinds]


def kinds(facility: Facility) -> list[str]:
    return [event["event"] for event in events(facility)]


def ready(facility: Facility, *what: int) -> int:
    job_id = facility.create(*what)
    facility.run_until(lambda: facility.state(job_id) is JobState.ready, 100.0)
    return job_id


def test_the_life_of_a_job(facility: Facility) -> None:
    begun = facility.time.wall()
    job = ready(facility, 1, 1)
    was_ready = facility.time.wall()
    facility.controller.destroy_job("10.0.0.9", job, "done")
    ended = facility.time.wall()
    facility.run(60.0)

    told = events(facility)[1:]  # the machine was added first
    assert told[0] == {
        "event": "created", "time": begun, "job": job, "owner": "me", "host": None,
        "keepalive": None, "args": [1, 1], "kwargs": {},
    }  # fmt: skip
    place = [0, 0, 1, 1]
    assert told[1:] == [
        {
            "event": "allocated", "time": begun, "job": job, "machine": "m", "place": place,
            "boards": 3,
        },
        {"event": "power", "time": 7.0, "job": job, "on": True},
        {"event": "ready", "time": was_ready, "job": job},
        {
            "event": "ended", "time": ended, "job": job, "reason": "done", "by": "client",
            "by_host": "10.0.0.9", "by_principal": "host:10.0.0.9", "machine": "m",
            "place": place,
        },
        {"event": "freed", "time": 7.0, "job": job, "machine": "m", "place": place},
        {"event": "rested", "time": 7.0, "machine": "m", "places": [place]},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("size", "boards"), [((1, 1), 2), ((1, 2), 5), ((2, 1), 5), ((2, 2), 11)]
)
def test_boards_of_a_place_that_a_job_did_not_get_are_named(
    size: tuple[int, int], boards: int
) -> None:
    facility = Facility([machine("m", 2, 2, dead_boards={B})])
    try:
        facility.create(*size)
        (told,) = events(facility, "allocated")
        assert (told["boards"], told["without"]) == (boards, [[0, 0, 1]])
    finally:
        facility.close()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2)])
def test_a_whole_place_lacks_nothing(size: tuple[int, int]) -> None:
    facility = Facility([machine("m", 2, 2, dead_boards=set())])
    try:
        facility.create(*size)
        (told,) = events(facility, "allocated")
        assert told["boards"] == 3 * size[0] * size[1]
        assert "without" not in told
    finally:
        facility.close()


def test_a_job_that_never_had_boards_ends_without_a_place(facility: Facility) -> None:
    facility.create(99)

    (ended,) = events(facility, "ended")
    assert (ended["machine"], ended["place"], ended["by"]) == (None, None, "request")


def test_a_moved_job_tells_the_fault_and_what_it_had(facility: Facility) -> None:
    facility.inject("0 board 0 refuse-power on")
    job = facility.create(1)
    facility.run_until(lambda: bool(facility.moves), 100.0)

    (moved,) = events(facility, "moved")
    assert (moved["job"], moved["machine"], moved["place"]) == (job, "m", [0, 0, 0])
    assert (moved["attempt"], moved["board"], moved["physical"]) == (1, [0, 0, 0], [0, 0, 0])
    assert "board (0, 0, 0) of machine m" in moved["fault"]
    (out,) = events(facility, "board out")
    assert (out["board"], out["physical"], out["kind"]) == ([0, 0, 0], [0, 0, 0], "power_on")
    assert (out["job"], out["sure"]) == (job, True)
    assert out["until"] == pytest.approx(facility.time.wall() + 60.0, abs=1.0)
    assert kinds(facility).index("moved") > kinds(facility).index("power")


def test_boards_come_back_by_a_test_or_an_operator(facility: Facility) -> None:
    facility.inject("0 board 0 refuse-power on")
    facility.create(*A)
    facility.run_until(lambda: facility.out == {A}, 100.0)
    facility.inject("0 clear")
    facility.run_until(lambda: not facility.out, 100.0)
    facility.controller.upkeep.hold_boards("m", [B], "drained")
    facility.controller.upkeep.release_boards("m", [B])

    back = events(facility, "board back")
    assert [(each["board"], each["how"]) for each in back] == [
        ([0, 0, 0], "test passed"),
        ([0, 0, 1], "released"),
    ]
    assert [each["kind"] for each in events(facility, "board out")] == ["power_on", "operator"]


def test_a_frame_falls_silent_and_answers_again(facility: Facility) -> None:
    facility.inject("0 silent")
    job = facility.create(*A)
    facility.run(60.0)
    facility.inject("0 clear")
    facility.run(60.0)

    (out,) = events(facility, "board out")
    host = facility.controller.machines["m"].bmp_ips[0, 0]
    assert out == {
        "event": "board out", "time": 7.0, "machine": "m", "board": None, "frame": [0, 0],
        "boards": 6, "kind": "silent", "text": f"BMP {host} does not answer", "sure": True,
        "job": out["job"], "until": None,
    }  # fmt: skip
    assert out["job"] in (None, job)
    (back,) = events(facility, "board back")
    assert (back["board"], back["frame"], back["how"]) == (None, [0, 0], "answers")


def test_a_suspect_is_told_as_such(facility: Facility) -> None:
    facility.inject("0 board 0 refuse-power on")
    facility.create(3)
    facility.run_until(lambda: bool(facility.moves), 100.0)

    out = events(facility, "board out")
    assert {(each["kind"], each["sure"]) for each in out} == {("suspected", False)}
    assert len(out) == 3


def test_machines_come_change_and_go(facility: Facility) -> None:
    controller = facility.controller
    m, n = controller.machines["m"], machine("n", 1, 1)
    controller.machines = {"n": n, "m": m}
    controller.machines = {"n": n._replace(tags=frozenset({"x"})), "m": m}
    facility.controller.upkeep.hold_boards("m", [A], "drained")
    controller.machines = {"m": machine("m", 3, 1)}

    told = [(e["machine"], e["change"], e.get("priority")) for e in events(facility)
            if e["event"] == "machine changed"]  # fmt: skip
    assert told == [
        ("m", "added", 0),
        ("n", "added", 0),
        ("m", "changed", 1),
        ("n", "changed", 0),
        ("n", "removed", None),
        ("m", "removed", None),
        ("m", "added", 0),
    ]
    changed = [e for e in events(facility, "machine changed") if e["change"] == "changed"][1]
    assert (changed["width"], changed["live"], changed["tags"]) == (1, 3, ["x"])
    (removed,) = [e for e in events(facility, "board back") if e["how"] == "removed"]
    assert removed["board"] == [0, 0, 0]


def test_a_maker_goes_on_from_a_book(facility: Facility) -> None:
    job, resting = ready(facility, *A), ready(facility, *B)
    facility.controller.destroy_job(None, resting)
    facility.run(10.0)
    book = facility.controller.__getstate__()
    maker = EventMaker(book)
    made: list[dict[str, Any]] = []
    hear_outcomes(facility.controller, lambda outcome: made.extend(maker.make(outcome, 7.0)))

    facility.controller.destroy_job(None, job)
    facility.run(60.0)

    assert [(each["event"], each.get("place", each.get("places"))) for each in made] == [
        ("ended", [0, 0, 0]),
        ("freed", [0, 0, 0]),
        ("rested", [[0, 0, 1]]),
        ("rested", [[0, 0, 0]]),
    ]
    (added,) = EventMaker(book).all_machines(9.0)
    assert (added["event"], added["machine"], added["time"]) == ("machine changed", "m", 9.0)


def test_outcomes_without_a_reader_make_no_events() -> None:
    controller = Controller()
    maker = EventMaker(controller.__getstate__())

    assert maker.make(("limits", 5, 30), 7.0) == []
    assert maker.make(("of a later version", 1), 7.0) == []
    report = {"event": "report", "text": "smoke"}
    assert maker.make(("event", report), 7.0) == [{"time": 7.0, **report}]


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


ALLOCATION = {"machine": "m", "id": 5, "outcome": ["board", 0, 0, 0], "boards": [[0, 0, 0]]}
ENDING = {"by": "client", "host": None, "principal": None, "at": NOW}


def created(job_id: int) -> tuple[Any, ...]:
    return ("created", job_id, RECORD)


def power(job_id: int) -> tuple[Any, ...]:
    return ("power", job_id, True)


def a_book(**events: Any) -> dict[str, Any]:
    plain = {"m": to_plain(plain_machine("m", 1, 1))}
    return {**_book.empty(), "machines": plain, "events": events or None}


def begun(*args: Any) -> EventNumbers:
    numbers = EventNumbers(*args)
    numbers.begin(a_book())
    return numbers


def batch_of(numbers: EventNumbers, *outcomes: tuple[Any, ...]) -> EventBatch:
    """Return the events of a commit; one for each outcome that makes any."""
    untold = [(outcome, NOW) for outcome in outcomes if outcome[0] in numbers.kinds]
    batch = EventBatch(numbers, numbers.last + 1, untold)
    numbers.unmade.append(batch)
    numbers.last = batch.last
    return batch


def record_of(*outcomes: tuple[Any, ...], batch: EventBatch) -> list[tuple[Any, ...]]:
    """Return the record that the journal has of a commit."""
    return [*outcomes, ("events", batch.first, batch.last + 1 - batch.first, NOW)]


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

    batch = batch_of(numbers, created(1), ("host", 1, "10.0.0.1"), power(1))

    first = MICROSECONDS + 2
    assert brief(list(batch)) == [(first, "created"), (first + 1, "power")]
    assert (batch.first, batch.last) == (first, first + 1)


def test_events_are_made_in_the_order_of_their_numbers_whichever_is_looked_at_first() -> None:
    numbers = begun(None, [], 0)
    first = batch_of(numbers, created(1), ("allocated", 1, ALLOCATION, NOW))
    second = batch_of(numbers, ("ended", 1, None, ENDING))
    third = batch_of(numbers, created(2))

    (ended,) = second

    assert ended["machine"] == "m"
    assert [event["event"] for event in first.events or ()] == ["created", "allocated"]
    assert third.events is None
    assert list(second) == [ended]


def test_an_outcome_may_make_any_number_of_events() -> None:
    numbers = begun(None, [], 0)
    plain = [to_plain(plain_machine(name, 1, 1)) for name in ("n", "m")]
    added: tuple[Any, ...] = ("machines", ["m", "n"], plain, [], {})

    batch = batch_of(numbers, created(1), added, power(1), ("quarantine", "m", None))

    first = MICROSECONDS + 2
    assert brief(list(batch)) == [
        (first, "created"),
        (first + 1, "machine changed"),
        (first + 2, "machine changed"),
        (first + 3, "power"),
    ]
    assert batch.last == first + 3


def test_a_journal_gives_the_same_events_again_with_the_same_numbers() -> None:
    life = begun(None, [], 0)
    book = {**a_book(), "events": life.plain(life.unfiled)}
    records, told = [], []
    for job_id in (1, 2):
        outcomes = [created(job_id), ("host", job_id, "10.0.0.1"), power(job_id)]
        batch = batch_of(life, *outcomes)
        records.append(record_of(*outcomes, batch=batch))
        told += list(batch)

    again = EventNumbers(book, records, 0)

    assert again.unfiled == [*life.unfiled, *told]
    assert again.last == life.last
    filed = told[1]["number"]
    assert EventNumbers(book, records, filed).unfiled == told[2:]


def test_a_snapshot_carries_the_events_that_the_file_lacks() -> None:
    life = begun(None, [], 0)
    told = list(batch_of(life, created(1)))
    book = {**a_book(), "events": life.plain([*life.unfiled, *told])}

    again = EventNumbers(book, [], MICROSECONDS)

    assert brief(again.unfiled) == [(MICROSECONDS + 1, "machine changed"), *brief(told)]


def test_a_program_that_makes_other_events_of_a_journal_keeps_its_numbers() -> None:
    book = a_book(last=10, state=3, unfiled=[])

    again = EventNumbers(book, [[created(1), ("events", 11, 3, NOW)]], 0)

    assert brief(again.unfiled) == [(11, "created")]
    assert again.last == 13


def test_the_book_knows_the_last_number() -> None:
    book = a_book(last=10, state=3, unfiled=[])

    _book.apply(book, ("events", 11, 3, NOW))

    assert book["events"] == {"last": 13, "state": 3, "unfiled": []}


def test_an_event_that_cannot_be_made_costs_its_own_number(
    caplog: pytest.LogCaptureFixture,
) -> None:
    life = begun(None, [], 0)
    book = {**a_book(), "events": life.plain([])}
    outcomes = [("returned", "m", 99), created(1)]

    batch = batch_of(life, *outcomes)

    assert brief(list(batch)) == [(MICROSECONDS + 3, "created")]
    assert batch.last == MICROSECONDS + 3
    assert "nobody is told of an outcome" in caplog.text
    again = EventNumbers(book, [record_of(*outcomes, batch=batch)], 0)
    assert again.unfiled == list(batch)


def test_outcomes_that_have_no_numbers_yet_go_before_those_of_the_next_record() -> None:
    book = a_book(last=10, state=3, unfiled=[])
    before = [created(1), ("allocated", 1, ALLOCATION, NOW)]
    end = [("ended", 1, None, ENDING), ("events", 11, 1, NOW)]

    (ended,) = EventNumbers(book, [before, end], 0).unfiled

    assert (ended["number"], ended["machine"]) == (11, "m")
