"""Servers from version 1.1.0 on: the questions they get, and how their answers are read."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spalloc_client import ProtocolClient, ProtocolError, ProtocolTimeoutError
from spalloc_client._endpoint import Endpoint
from spalloc_client._extensions import (
    NOTHING_NEW,
    Obstacle,
    Outlook,
    read_boards,
    read_facility,
    read_outlook,
    read_queue,
)
from spalloc_client._outlook import brief_text, expected_text, place_text, span, why_text
from spalloc_client._session import Session

from tests.fake_server import HANG, NEW_COMMANDS, VANISH, FakeServer


def session(server: FakeServer, timeout: float = 10.0) -> Session:
    return Session(Endpoint("127.0.0.1", server.port), timeout, 0.01)


def names(server: FakeServer) -> list[str]:
    return [name for name, *_ in server.heard]


# --- which servers are asked ---


@pytest.mark.parametrize("version", ["0.1.0", "1.0.0", "1.0.99", "2.0.0", "4.5.6", "1!7.0.0",
                                     "1!1.1.0"])  # fmt: skip
def test_other_servers_are_asked_nothing_new(server: FakeServer, version: str) -> None:
    server.version = version
    talk = session(server)
    talk.subscribe("notify_events")
    talk.subscribe("notify_job")

    assert talk.facility() == NOTHING_NEW
    assert not talk.offers("list_boards")
    assert talk.call("list_jobs") == []

    assert names(server) == ["version", "notify_job", "list_jobs"]
    talk.close()


@pytest.mark.parametrize("version", ["1.1.0", "1.1.0.dev3", "1.9"])
def test_newer_servers_are_asked_what_they_have(newer: FakeServer, version: str) -> None:
    newer.version = version
    newer.commands.remove("list_queue")
    talk = session(newer)
    talk.subscribe("notify_events")

    facility = talk.facility()

    assert facility.offers("list_boards", "get_job_outlook")
    assert not facility.offers("list_boards", "list_queue")
    assert facility.scheduling == "overtaking"
    assert names(newer) == ["version", "get_facility", "notify_events"]
    talk.close()


def test_a_server_that_hangs_up_on_the_question_is_used_without_it(newer: FakeServer) -> None:
    newer.behave["get_facility"] = lambda: VANISH
    talk = session(newer)

    assert talk.call("list_jobs") == []

    assert talk.facility() == NOTHING_NEW
    assert names(newer) == ["version", "get_facility", "version", "list_jobs"]
    talk.close()


def test_a_server_that_refuses_the_question_is_used_without_it(newer: FakeServer) -> None:
    def refuse() -> None:
        raise ValueError("no")

    newer.behave["get_facility"] = refuse
    talk = session(newer)

    assert talk.facility() == NOTHING_NEW
    assert newer.connections == 1
    talk.close()


def test_a_server_that_does_not_answer_the_question_is_not_waited_for(
    newer: FakeServer, in_vain: set[str]
) -> None:
    in_vain.add("get_facility")
    newer.behave["get_facility"] = lambda: HANG
    talk = session(newer, 0.05)

    with pytest.raises(ProtocolTimeoutError, match="did not answer get_facility"):
        talk.facility()
    newer.wait_clients(0)


def test_an_answer_that_makes_no_sense_ends_the_connection(newer: FakeServer) -> None:
    newer.behave["get_facility"] = lambda: 7
    talk = session(newer)

    with pytest.raises(ProtocolError, match="makes no sense"):
        talk.facility()
    newer.wait_clients(0)


def test_a_server_that_is_replaced_by_an_older_one_is_asked_nothing_new(
    newer: FakeServer,
) -> None:
    talk = session(newer)
    talk.subscribe("notify_events")
    assert talk.facility().offers("notify_events")
    newer.version, newer.commands = "1.0.0", newer.commands - NEW_COMMANDS
    newer.drop_clients()

    assert talk.call("list_jobs") == []

    assert talk.facility() == NOTHING_NEW
    assert names(newer)[-2:] == ["version", "list_jobs"]
    talk.close()


# --- answers ---


def test_facilities_may_say_more_or_less() -> None:
    assert read_facility({"commands": []}) == NOTHING_NEW
    facility = read_facility(
        {"commands": ["x"], "message": "hi", "accepting": False, "principal": "unix:1", "new": 1}
    )
    assert facility == (frozenset({"x"}), "hi", False, None, "unix:1")


def test_states_that_are_not_known_count_as_out() -> None:
    rows = read_boards({"event": 1, "boards": [[0, 0, 0, "free", None, None],
                                               [0, 0, 1, "melting", None, "hot", "more"],
                                               [0, 0, 2, "used", 3, ""]]})  # fmt: skip

    assert rows == [
        ((0, 0, 0), "free", None, None),
        ((0, 0, 1), "out", None, "hot"),
        ((0, 0, 2), "used", 3, None),
    ]
    assert read_boards(None) is None


ENTRY: dict[str, Any] = {"job_id": 3, "machines": [{"name": "m", "why": "full", "until": 5}]}


@pytest.mark.parametrize(
    ("expected", "span_"),
    [
        (None, None),
        ([600, 4200], (600.0, 4200.0)),
        ([600, 4200, 1_700_000_000], (600.0, 4200.0)),
        ({"low": 0, "high": 1.5, "made": 7}, (0.0, 1.5)),
        ({"from": 1, "until": 2}, (1.0, 2.0)),
        ({"from": None, "least": 1, "most": 2}, (1.0, 2.0)),
        ({"low": 1}, None),
        ([1], None),
        (["a", "b"], None),
        ("soon", None),
    ],
)
def test_expectations_are_spans_or_nothing(
    expected: Any, span_: tuple[float, float] | None
) -> None:
    outlook = read_outlook({**ENTRY, "expected": expected})

    assert outlook is not None
    assert outlook.expected == span_
    assert outlook.obstacles == (("m", "full", 5.0),)
    assert read_outlook(None) is None
    assert read_queue({"made": 9, "jobs": [{**ENTRY, "expected": expected}]}) == (
        9.0, {3: outlook}
    )  # fmt: skip


@pytest.mark.parametrize("answer", [7, {}, {"jobs": 7}, {"jobs": [{}]}, {"boards": [[0, 0]]}])
def test_answers_that_make_no_sense_are_told(answer: object) -> None:
    for read in (read_queue, read_boards):
        with pytest.raises(ProtocolError, match="makes no sense"):
            read(answer)


# --- words ---


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(-3.0, "0 s"), (0.4, "0 s"), (45.0, "45 s"), (119.0, "119 s"), (754.0, "13 min"),
     (7199.0, "120 min"), (7200.0, "2 h"), (172_800.0, "2 d")],
)  # fmt: skip
def test_spans_are_told_roughly(seconds: float, words: str) -> None:
    assert span(seconds) == words


@given(st.floats(0, 1e9))
def test_a_rough_span_is_less_than_half_off(seconds: float) -> None:
    number, unit = span(seconds).split()

    told = int(number) * {"s": 1, "min": 60, "h": 3600, "d": 86400}[unit]
    assert abs(told - seconds) <= max(0.5, 0.26 * seconds)


def outlook(*obstacles: Obstacle, **changes: Any) -> Outlook:
    return Outlook(9, 3, 2, (4, 7), obstacles, (600.0, 4200.0))._replace(**changes)


def test_a_place_in_line_names_the_jobs_ahead() -> None:
    assert place_text(outlook()) == "number 3 in line, 2 jobs ahead: 4, 7"
    assert place_text(outlook(ahead=1, first_ahead=(4,))) == "number 3 in line, 1 job ahead: 4"
    assert place_text(outlook(ahead=12)) == "number 3 in line, 12 jobs ahead: 4, 7 ..."
    assert place_text(outlook(ahead=12, first_ahead=())) == "number 3 in line, 12 jobs ahead"
    assert place_text(outlook(position=1, ahead=0, first_ahead=())) == "first in line"
    assert place_text(outlook(position=None)) == ""


def test_reasons_name_the_machines_where_there_are_several() -> None:
    one = Obstacle("a", "no place for 3 x 2 triads", None)

    assert why_text(outlook()) == ""
    assert why_text(outlook(one)) == "no place for 3 x 2 triads"
    assert why_text(outlook(one, one._replace(machine="b"))) == "a, b: no place for 3 x 2 triads"
    assert why_text(outlook(one, Obstacle("b", "full\x1b", None))) == (
        "a: no place for 3 x 2 triads; b: full\\x1b"
    )


def test_an_end_that_is_known_is_told_once() -> None:
    assert why_text(outlook(Obstacle("a", "planned work", 0.0))) == (
        "planned work (until 1970-01-01 00:00:00 UTC)"
    )
    assert why_text(outlook(Obstacle("a", "6 boards rest until 14:03", 0.0))) == (
        "6 boards rest until 14:03"
    )


def test_an_expectation_is_no_promise() -> None:
    assert expected_text(outlook()) == (
        "similar requests waited 10 min to 70 min lately; not promised"
    )
    assert expected_text(outlook(expected=None)) == ""
    assert brief_text(outlook(expected=None, position=None)) == ""
    assert brief_text(outlook(Obstacle("a", "full", None))) == (
        "number 3 in line, 2 jobs ahead: 4, 7; full; "
        "similar requests waited 10 min to 70 min lately; not promised"
    )


# --- commands as methods ---


@pytest.mark.parametrize(
    ("method", "args", "sent"),
    [
        ("get_facility", (), []),
        ("list_boards", ("demo",), ["demo"]),
        ("list_queue", (), []),
        ("get_job_outlook", (3,), [3]),
        ("report_problem", (3, "10.0.0.1", "smoke"), [3, "10.0.0.1", "smoke"]),
        ("report_problem", (3, (0, 1, 2), "smoke"), [3, [0, 1, 2], "smoke"]),
        ("list_ended_jobs", (10,), [10, None]),
        ("list_ended_jobs", (10, 7), [10, 7]),
        ("list_events", (5, 10), [5, 10]),
        ("notify_events", (), []),
        ("no_notify_events", (), []),
        ("get_takeover_code", (3,), [3]),
        ("take_over_job", (3, "secret"), [3, "secret"]),
        ("operate", ({"do": "jobs"},), [{"do": "jobs"}, None]),
        ("list_places", ("demo",), ["demo"]),
        ("list_job_times", (), []),
    ],
)
def test_each_command_is_a_method(
    newer: FakeServer, method: str, args: tuple[Any, ...], sent: list[Any]
) -> None:
    with ProtocolClient("127.0.0.1", newer.port, timeout=10.0) as client:
        getattr(client, method)(*args)

    assert newer.calls(method) == [(sent, {})]


def test_every_newer_command_is_tried_above() -> None:
    assert all(hasattr(ProtocolClient, name) for name in NEW_COMMANDS)


def test_hints_of_events_are_notifications(newer: FakeServer) -> None:
    with ProtocolClient("127.0.0.1", newer.port, timeout=10.0) as client:
        client.notify_events()
        newer.tell({"events_until": 12})

        assert client.wait_for_notification(10.0) == {"events_until": 12}
