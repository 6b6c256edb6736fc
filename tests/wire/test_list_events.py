"""Events, from the command to the file and back."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.simulated_server import Client

__all__ = ("facility",)


def read_all(client: Client, after: int = 0) -> tuple[list[dict[str, Any]], int]:
    """Return all events after a number, and the number to go on from."""
    events: list[dict[str, Any]] = []
    while True:
        reply = client.call("list_events", after, 7)
        assert not reply["lost"]
        events += reply["events"]
        if not reply["events"]:
            assert reply["next"] == after
            return events, after
        after = reply["next"]
        assert after == reply["events"][-1]["number"]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["event"] for event in events]


def test_a_job_is_told_from_its_beginning_to_the_rest_of_its_boards(facility: Facility) -> None:
    with facility.server() as server, Client(server.port) as client:
        client.call("create_job", 3, owner="me", keepalive=None)
        client.wait_until(1, 3)
        client.call("destroy_job", 1, "done")
        wait_until(lambda: kinds(server.list_events(None, 0)["events"])[-1] == "rested")

        events, _ = read_all(client)

    assert kinds(events) == [
        "started",
        "machine changed",
        "created",
        "allocated",
        "power",
        "ready",
        "ended",
        "freed",
        "rested",
    ]
    numbers = [event["number"] for event in events]
    assert numbers == sorted(set(numbers))
    assert abs(numbers[0] / 1e6 - time.time()) < 60
    assert {event["state"] for event in events} == {numbers[0]}
    assert events[0]["last"] is None
    assert events[0]["cold"] is True
    assert (events[-3]["reason"], events[-3]["by"]) == ("done", "client")


@pytest.mark.parametrize("way", ["stop", "crash"])
def test_a_start_goes_on_with_higher_numbers_in_the_same_state(
    facility: Facility, way: str
) -> None:
    with facility.server() as server, Client(server.port) as client:
        client.call("create_job", owner="me", keepalive=None)
        client.wait_until(1, 3)
        before, after = read_all(client)
        if way == "crash":
            facility.crash(server)
    with facility.server() as server, Client(server.port) as client:
        events, _ = read_all(client)
        reply = client.call("list_events", after)

    new = [event for event in events if event["number"] > after]
    assert events[: len(before)] == before
    started = next(event for event in new if event["event"] == "started")
    assert started["last"] == max(
        [after, *(e["number"] for e in new if e["number"] < started["number"])]
    )
    assert started["cold"] is False
    assert kinds(new).count("machine changed") == 0
    assert {event["state"] for event in events} == {before[0]["number"]}
    assert reply["events"][0] == new[0]
    assert not reply["lost"]


def test_a_cold_start_begins_another_state(facility: Facility) -> None:
    with facility.server() as server, Client(server.port) as client:
        client.call("create_job", owner="me", keepalive=None)
        _, after = read_all(client)
    with facility.server(cold_start=True) as server, Client(server.port) as client:
        events, _ = read_all(client, after)

    started = next(event for event in events if event["event"] == "started")
    assert started["state"] == started["number"]
    assert started["cold"] is True
    assert kinds(events)[kinds(events).index("started") :] == ["started", "machine changed"]


def test_a_client_that_wants_it_is_told_up_to_which_number_it_can_ask(facility: Facility) -> None:
    with facility.server() as server, Client(server.port) as client:
        _, after = read_all(client)
        client.call("notify_events")
        first = client.next_notification()
        client.call("create_job", owner="me", keepalive=None)

        until = 0
        while not client.call("list_events", after)["events"] or until <= after:
            until = client.next_notification()["events_until"]

        assert first == {"events_until": after}
        client.call("no_notify_events")
        assert server._watchers.event_watches == {}


def test_commands_behind_a_question_for_events_keep_their_order(facility: Facility) -> None:
    with facility.server() as server, Client(server.port) as client:
        for line in (
            '{"command": "list_events", "args": [0]}',
            '{"command": "version"}',
            '{"command": "list_events", "args": [0, 1]}',
            '{"command": "list_machines"}',
        ):
            client.send_line(line)

        answers = [client.answer()["return"] for _ in range(4)]

    assert answers[0]["events"][0]["event"] == "started"
    assert isinstance(answers[1], str)
    assert len(answers[2]["events"]) == 1
    assert answers[3][0]["name"] == "f"


def test_a_client_that_ends_behind_its_question_gets_the_answer(facility: Facility) -> None:
    with facility.server() as server, Client(server.port) as client:
        client.send_line('{"command": "list_events", "args": [0]}')
        client._socket.shutdown(1)

        assert client.answer()["return"]["events"]
        assert client.next_line() == ""


@pytest.mark.parametrize("args", [(-1,), (0, -1), (0, 1001), ("x",), (0, 1.5), ()])
def test_a_question_that_makes_no_sense_is_refused(facility: Facility, args: Any) -> None:
    with facility.server() as server, pytest.raises((ValueError, TypeError), match=r"after|limit"):
        server.list_events(None, *args)


def test_a_number_that_was_never_given_is_told_as_a_loss(facility: Facility) -> None:
    with facility.server() as server, Client(server.port) as client:
        _, last = read_all(client)

        assert client.call("list_events", 2**60) == {"events": [], "next": last, "lost": True}
