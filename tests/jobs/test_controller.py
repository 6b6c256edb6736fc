"""The life of jobs on frames that answer when the test says so."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from spalloc_server.configuration import Machine
from spalloc_server.controller import (
    Controller,
    JobMachineInfoTuple,
    JobState,
    JobStateTuple,
    JobTuple,
    MachineTuple,
    _Job,
)
from spalloc_server.links import Links
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.job_steps import HOST, NO_BOARDS, run_job, told
from tests.support.machines import machine

UNKNOWN = JobStateTuple(JobState.unknown, None, None, None, None, None)


# --- names, fields, signatures ---


def test_the_tuples_have_their_fields_in_the_order_of_the_specification() -> None:
    assert JobStateTuple._fields == (
        "state", "power", "keepalive", "reason", "start_time", "keepalivehost",
    )  # fmt: skip
    assert JobMachineInfoTuple._fields == (
        "width", "height", "connections", "machine_name", "boards",
    )  # fmt: skip
    assert JobTuple._fields == (
        "job_id", "owner", "start_time", "keepalive", "state", "power", "args", "kwargs",
        "allocated_machine_name", "boards", "keepalivehost",
    )  # fmt: skip
    assert MachineTuple._fields == (
        "name", "tags", "width", "height", "dead_boards", "dead_links",
    )  # fmt: skip


def test_the_states_have_the_protocol_s_numbers() -> None:
    assert {state.name: int(state) for state in JobState} == {
        "unknown": 0,
        "queued": 1,
        "power": 2,
        "ready": 3,
        "destroyed": 4,
    }


def test_the_constructor_has_the_defaults_of_the_specification(rack: Rack) -> None:
    made = Controller()

    assert made.max_retired_jobs == 1200
    assert made.seconds_before_free == 30
    assert made.on_background_state_change is None
    assert made.machines == {}


def test_the_first_job_has_the_id_that_was_given(rack: Rack) -> None:
    made = Controller(7, 3, None, 0.5)

    assert made.create_job(None, owner="me") == 7
    assert made.max_retired_jobs == 3
    assert made.seconds_before_free == 0.5


# --- creating ---


def test_changes_are_handed_over_once(made: Controller) -> None:
    made.create_job(None, owner="me")

    assert made.changed_jobs == {1}
    assert made.changed_jobs == set()
    assert made.changed_machines == {"m"}
    assert made.changed_machines == set()


def test_a_job_of_one_board_has_it_powered_and_its_six_links_shut(
    made: Controller, rack: Rack
) -> None:
    made.create_job(None, owner="me")

    (requests,) = rack[HOST].requests
    assert (requests.power_on_boards, requests.power_off_boards) == ([0], [])
    assert sorted(requests.link_requests) == [(0, link, False) for link in Links]


def test_a_triad_has_only_the_links_shut_that_leave_it(empty: Controller, rack: Rack) -> None:
    empty.machines = {"m": machine("m", 2, 2)}
    empty.create_job(None, 3, owner="me")

    (requests,) = rack[HOST].requests
    assert requests.power_on_boards == [0, 1, 2]
    # The three links within the triad, seen from both ends, stay open.
    assert len(requests.link_requests) == 18 - 6


def test_each_frame_of_a_job_is_asked_once_and_all_are_waited_for(
    empty: Controller, rack: Rack
) -> None:
    empty.machines = {"m": machine("m", 2, 1, boards_per_frame=3)}
    empty.create_job(None, 2, 1, owner="me")
    a, b = rack["10.1.0.0"], rack["10.1.1.0"]

    assert (len(a.requests), len(b.requests)) == (1, 1)
    assert empty._jobs[1].bmp_requests_until_ready == 2
    b.answer()
    assert empty.get_job_state(None, 1).state is JobState.power
    a.answer()
    assert empty.get_job_state(None, 1).state is JobState.ready
    assert empty._jobs[1].bmp_requests_until_ready == 0


@pytest.mark.parametrize(
    ("what", "keywords", "words"),
    [
        ((), {"owner": None}, "owner must be specified for all jobs"),
        ((), {"machine": "m", "tags": ["x"]}, "Only one of machine and tags may be specified"),
        ((), {"require_torus": True}, "require_torus"),
        ((1,), {"require_torus": True}, "require_torus"),
        ((0, 0, 0), {"require_torus": True}, "require_torus"),
        ((2.5,), {}, "2.5"),
        ((2.0, 1), {}, "2.0"),
        ((True,), {}, "True"),
        (("3",), {}, "'3'"),
        ((None, 4), {}, "None"),
        ((-1,), {}, "-1"),
        ((1, 2, 3, 4), {}, "at most 3"),
        ((), {"colour": "red"}, "'colour'"),
        ((), {"self": "me"}, "'self'"),
        ((), {"ownerhost": "10.0.0.1"}, "'ownerhost'"),
        ((), {"keepalive": float("nan")}, "keepalive"),
        ((), {"keepalive": float("inf")}, "keepalive"),
        ((), {"keepalive": -1}, "-1"),
        ((), {"keepalive": "60"}, "'60'"),
        ((), {"keepalive": True}, "True"),
        ((3,), {"min_ratio": float("nan")}, "min_ratio"),
        ((3,), {"min_ratio": -0.5}, "-0.5"),
        ((3,), {"min_ratio": "1"}, "min_ratio"),
        ((3,), {"max_dead_boards": 1.5}, "max_dead_boards"),
        ((3,), {"max_dead_links": -1}, "max_dead_links"),
        ((3,), {"require_torus": 1}, "require_torus"),
        ((), {"tags": "default"}, "tags"),
        ((), {"tags": [1]}, "tags"),
        ((), {"machine": 3}, "machine"),
        ((), {"owner": "x" * 1025}, "owner"),
    ],
)
def test_a_refused_request_says_why_and_leaves_nothing(
    made: Controller, rack: Rack, what: tuple[Any, ...], keywords: dict[str, Any], words: str
) -> None:
    before = made.__getstate__()

    with pytest.raises((TypeError, ValueError), match=words):
        made.create_job("10.0.0.1", *what, **{"owner": "me", **keywords})

    assert made.__getstate__() == before
    assert made._jobs == {}
    assert made._job_queue._jobs == {}
    assert told(made) == (set(), set())
    assert rack[HOST].requests == []


@pytest.mark.parametrize("what", [(), (None,), (None, None, None), (1,), (1, None, None)])
def test_nothing_nulls_and_1_ask_for_any_one_board(
    made: Controller, what: tuple[int | None, ...]
) -> None:
    made.create_job(None, *what, owner="me")

    assert made.get_job_machine_info(None, 1).boards == {(0, 0, 0)}


def test_a_number_of_boards_is_rounded_up_to_triads(made: Controller) -> None:
    made.create_job(None, 4, None, None, owner="me")

    boards = made.get_job_machine_info(None, 1).boards
    assert boards == {(x, 0, z) for x in (0, 1) for z in (0, 1, 2)}


def test_nulls_are_defaults(made: Controller) -> None:
    made.create_job(
        None,
        owner="me",
        machine=None,
        tags=None,
        min_ratio=None,
        max_dead_boards=None,
        max_dead_links=None,
        require_torus=None,
    )

    (job,) = made.list_jobs()
    assert (job.args, job.kwargs) == ((), {})
    assert made.get_job_state(None, 1).state is JobState.power


def test_no_tags_at_all_suit_any_machine(empty: Controller) -> None:
    empty.machines = {"m": machine(tags=["odd"])}

    assert empty.get_job_state(None, empty.create_job(None, owner="me")).reason is not None
    wanted = empty.create_job(None, owner="me", tags=[])
    assert empty.get_job_state(None, wanted).state is JobState.power


def test_whoever_owns_a_job_is_stored_as_text(made: Controller) -> None:
    made.create_job(None, owner=42)

    assert made.list_jobs()[0].owner == "42"


def test_a_job_may_live_for_ever(made: Controller, clock: HandClock) -> None:
    made.create_job(None, owner="me", keepalive=None)
    clock.advance(1e9)

    made.destroy_timed_out_jobs()

    state = made.get_job_state(None, 1)
    assert (state.state, state.keepalive) == (JobState.power, None)


# --- asking ---


def test_machine_info_of_one_board(made: Controller) -> None:
    made.create_job(None, 1, 0, 1, owner="me")

    assert made.get_job_machine_info(None, 1) == (
        8, 8, {(0, 0): "10.1.0.33"}, "m", {(1, 0, 1)},
    )  # fmt: skip


def test_machine_info_of_a_block_is_relative_to_its_corner(empty: Controller) -> None:
    empty.machines = {"m": machine("m", 3, 2)}
    empty.create_job(None, 1, 2, owner="me")
    empty.create_job(None, 1, 2, owner="me")

    info = empty.get_job_machine_info(None, 2)
    assert (info.width, info.height) == (16, 24)
    assert info.boards == {(1, y, z) for y in (0, 1) for z in (0, 1, 2)}
    assert info.connections is not None
    assert set(info.connections) == {(0, 0), (8, 4), (4, 8), (0, 12), (8, 16), (4, 20)}
    assert info.connections[0, 0] == "10.1.0.25"


def test_a_whole_machine_is_a_torus_of_its_own_size(empty: Controller) -> None:
    empty.machines = {"m": machine("m", 2, 2)}
    empty.create_job(None, 2, 2, owner="me", require_torus=True)

    assert empty.get_job_machine_info(None, 1)[:2] == (24, 24)


def test_nobody_knows_of_other_jobs(made: Controller) -> None:
    made.job_keepalive("10.0.0.1", 99)
    made.power_on_job_boards("10.0.0.1", 99)
    made.power_off_job_boards("10.0.0.1", 99)
    made.destroy_job("10.0.0.1", 99)
    made.destroy_job("10.0.0.1", 99, "because")

    assert made.get_job_state("10.0.0.1", 99) == UNKNOWN
    assert made.get_job_machine_info("10.0.0.1", 99) == NO_BOARDS
    assert made.where_is(job_id=99, chip_x=0, chip_y=0) is None
    assert told(made) == (set(), set())


def test_jobs_are_listed_oldest_first_as_python_values(
    made: Controller, rack: Rack, clock: HandClock
) -> None:
    made.create_job("10.0.0.1", 1, 0, 2, owner="me", keepalive=10, max_dead_boards=0)
    made.create_job(None, 2, 1, owner="you", keepalive=None, tags=["default"])
    rack.answer_all()

    assert made.list_jobs() == [
        JobTuple(
            1, "me", clock.today, 10.0, JobState.ready, True, (1, 0, 2),
            {"max_dead_boards": 0}, "m", {(1, 0, 2)}, "10.0.0.1",
        ),
        JobTuple(
            2, "you", clock.today, None, JobState.queued, None, (2, 1),
            {"tags": {"default"}}, None, None, "",
        ),
    ]  # fmt: skip


def test_machines_are_listed_by_priority_as_python_values(empty: Controller) -> None:
    dead_links = {(0, 0, 0, Links.north)}
    empty.machines = {
        "z": machine("z", 2, 1, dead_boards={(1, 0, 2)}, dead_links=dead_links),
        "a": machine("a", tags=["x", "y"], net=2),
    }

    assert empty.list_machines() == [
        ("z", {"default"}, 2, 1, {(1, 0, 2)}, dead_links),
        ("a", {"x", "y"}, 1, 1, set(), set()),
    ]


def test_boards_are_found_by_place_both_ways(made: Controller) -> None:
    assert made.get_board_position("m", 1, 0, 2) == (0, 0, 5)
    assert made.get_board_at_position("m", 0, 0, 5) == (1, 0, 2)
    for where in [("m", 9, 0, 0), ("m", 0, 0, 9), ("n", 0, 0, 0)]:
        assert made.get_board_position(*where) is None
    for where in [("m", 1, 0, 0), ("m", 0, 0, 6), ("n", 0, 0, 0)]:
        assert made.get_board_at_position(*where) is None


def test_what_is_set_from_outside_shows_at_once(made: Controller) -> None:
    made.create_job(None, owner="me")
    assert made.list_jobs()[0].state is JobState.power
    job = made._jobs[1]

    job.start_time = 12.0
    job.state = JobState.ready
    job.bmp_requests_until_ready = 4

    assert made.get_job_state(None, 1)[::4] == (JobState.ready, 12.0)
    assert made.list_jobs()[0].start_time == 12.0
    assert isinstance(job, _Job)
    assert (job.keepalive, job.power, job.boards) == (60.0, True, {(0, 0, 0)})


# --- the end of a job ---


def test_what_callers_from_within_pass_for_text_becomes_text(made: Controller, rack: Rack) -> None:
    """Anything else could not be saved, and with it nothing could."""
    host: Any = ip_address("10.0.0.7")
    reason: Any = ValueError("no more")
    made.create_job(host, owner="me")
    made.create_job(None, owner="me")
    made.job_keepalive(host, 2)
    made.destroy_job(None, 1, reason)

    assert made.get_job_state(None, 1).reason == "no more"
    assert made.list_jobs()[0].keepalivehost == "10.0.0.7"


def test_so_many_ended_jobs_are_remembered(made: Controller) -> None:
    made.max_retired_jobs = 2
    for job_id in (1, 2, 3):
        made.create_job(None, owner="me")
        made.destroy_job(None, job_id, f"end of {job_id}")

    assert made.get_job_state(None, 1) == UNKNOWN
    assert dict(made._retired_jobs) == {2: "end of 2", 3: "end of 3"}

    made.max_retired_jobs = 1

    assert dict(made._retired_jobs) == {3: "end of 3"}


# --- machines ---


def test_the_setter_copies_and_so_does_the_getter(empty: Controller) -> None:
    given = {"m": machine()}
    empty.machines = given
    given["n"] = machine("n", net=2)
    empty.machines["o"] = machine("o", net=3)

    assert list(empty.machines) == ["m"]
    assert isinstance(empty._machines["m"], Machine)
    assert list(empty._bmp_controllers) == ["m"]


def test_machines_come_and_go_and_watchers_hear_of_it(empty: Controller, rack: Rack) -> None:
    empty.machines = {"a": machine("a"), "b": machine("b", net=2)}
    assert told(empty) == (set(), {"a", "b"})

    empty.machines = {"b": machine("b", net=2), "c": machine("c", net=3)}

    assert told(empty) == (set(), {"a", "c"})
    assert list(empty.machines) == ["b", "c"]
    assert [frame.stops for frame in rack.frames] == [1, 0, 0]


def test_the_same_again_is_no_change(made: Controller, rack: Rack) -> None:
    run_job(made, rack)
    told(made)

    made.machines = {"m": machine("m", 2, 1)}

    assert told(made) == (set(), set())
    assert len(rack.frames) == 1


def test_the_order_follows_the_mapping(empty: Controller, rack: Rack) -> None:
    a, b = machine("a"), machine("b", net=2)
    empty.machines = {"a": a, "b": b}
    told(empty)

    empty.machines = {"b": b, "a": a}

    assert [row.name for row in empty.list_machines()] == ["b", "a"]
    assert empty.get_job_machine_info(None, empty.create_job(None, owner="me"))[3] == "b"
    assert len(rack.frames) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"tags": {"default", "new"}},
        {"dead_boards": {(1, 0, 2)}},
        {"dead_links": {(0, 0, 0, Links.east)}},
    ],
)
def test_tags_and_dead_things_change_in_place(
    made: Controller, rack: Rack, change: dict[str, Any]
) -> None:
    job_id = run_job(made, rack)
    told(made)

    made.machines = {"m": machine("m", 2, 1, **change)}

    assert told(made) == (set(), {"m"})
    assert made.get_job_state(None, job_id).state is JobState.ready
    assert len(rack.frames) == 1
    (row,) = made.list_machines()
    assert {name: getattr(row, name) for name in change} == change


@pytest.mark.parametrize(
    "remade",
    [
        machine("m", 1, 1),
        machine("m", 2, 1, net=2),
        machine("m", 2, 1, boards_per_frame=3),
        machine("m", 2, 1, spinnaker_offset="0.0.0.2"),
    ],
)
def test_what_changes_otherwise_is_another_machine(
    made: Controller, rack: Rack, remade: Machine
) -> None:
    job_id = run_job(made, rack)
    told(made)
    old = rack[HOST]

    made.machines = {"m": remade}

    assert made.get_job_state(None, job_id).reason == "Machine removed."
    assert told(made) == ({job_id}, {"m"})
    assert old.power[-1] == ([], [0])
    assert (old.stops, old.holds) == (1, 0)
    assert made.get_job_state(None, made.create_job(None, owner="me")).state is JobState.power


def test_queued_jobs_find_another_machine_or_are_cancelled(empty: Controller, rack: Rack) -> None:
    empty.machines = {"m": machine("m", 2, 1), "n": machine("n", net=2)}
    run_job(empty, rack, 2, 1)
    run_job(empty, rack, 1, 1)
    small = empty.create_job(None, 1, 1, owner="me")
    large = empty.create_job(None, 2, 1, owner="me")
    named = empty.create_job(None, owner="me", machine="m")

    empty.machines = {"n": machine("n", net=2)}

    gone = "Cancelled: No suitable machines available."
    assert empty.get_job_state(None, small).state is JobState.queued
    assert empty.get_job_state(None, large).reason == gone
    assert empty.get_job_state(None, named).reason == gone


@pytest.mark.parametrize(
    "changes",
    [
        {"tags": None},
        {"dead_links": {(0, 0, 0, "east")}},
        {"bmp_ips": {("c", 0): "10.2.0.0"}},
        {"spinnaker_ips": {(0, 0): "10.2.0.1", None: "10.2.0.2"}},
    ],
)
def test_a_machine_that_cannot_be_used_leaves_everything_as_it_was(
    made: Controller, rack: Rack, changes: dict[str, Any]
) -> None:
    before = made.__getstate__()
    odd = machine("odd", net=2)._replace(**changes)

    with pytest.raises((TypeError, ValueError)):
        made.machines = {"m": machine("m", 1, 1), "odd": odd}

    assert made.__getstate__() == before
    assert told(made) == (set(), set())
    assert len(rack.frames) == 1


def test_a_machine_under_another_name_leaves_everything_as_it_was(
    made: Controller, rack: Rack
) -> None:
    before = made.__getstate__()

    with pytest.raises(ValueError, match="machine 'odd' is given as 'even'"):
        made.machines = {"even": machine("odd", net=2)}

    assert made.__getstate__() == before
    assert told(made) == (set(), set())
    assert len(rack.frames) == 1


def test_nothing_is_decided_until_the_whole_change_is_made(made: Controller, rack: Rack) -> None:
    run_job(made, rack, 2, 1)
    waiting = made.create_job(None, owner="me")

    # The old m goes, n comes after it: a job that waits gets the first in order.
    made.machines = {"n": machine("n", net=2), "m": machine("m", 2, 1, net=3)}

    assert made.get_job_machine_info(None, waiting).machine_name == "n"


def test_the_lock_is_a_context_and_may_be_taken_again(made: Controller) -> None:
    with made._lock, made._lock:
        made.create_job(None, owner="me")

    assert list(made._jobs) == [1]
