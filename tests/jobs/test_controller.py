"""The life of jobs on frames that answer when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from spalloc_server import controller as controller_module
from spalloc_server._allocation.kinds import Request
from spalloc_server._jobs import job_life
from spalloc_server._places import Frame
from spalloc_server.async_bmp_controller import AtomicRequests
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
from tests.support.fake_frame import FakeFrame, Rack
from tests.support.hand_clock import HandClock
from tests.support.machines import machine
from tests.support.outcomes import hear_outcomes

UNKNOWN = JobStateTuple(JobState.unknown, None, None, None, None, None)
NO_BOARDS = JobMachineInfoTuple(None, None, None, None, None)
#: The one frame of the machine that `made` has.
HOST = "10.1.0.0"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    return Rack(monkeypatch)


@pytest.fixture
def empty(rack: Rack, clock: HandClock) -> Iterator[Controller]:
    """No machines."""
    made = Controller()
    yield made
    made.stop()
    made.join()


@pytest.fixture
def made(empty: Controller) -> Controller:
    """One machine of 2 x 1 triads on one frame, whose changes have been told."""
    empty.machines = {"m": machine("m", 2, 1)}
    told(empty)
    return empty


def told(made: Controller) -> tuple[set[int], set[str]]:
    return made.changed_jobs, made.changed_machines


def run_job(made: Controller, rack: Rack, *what: int, **keywords: Any) -> int:
    """Create a job and have its boards come up."""
    job_id = made.create_job(None, *what, owner="me", **keywords)
    rack.answer_all()
    assert made.get_job_state(None, job_id).state is JobState.ready
    return job_id


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


def test_a_job_goes_from_power_to_ready(made: Controller, rack: Rack, clock: HandClock) -> None:
    job_id = made.create_job("10.0.0.1", owner="me")

    assert job_id == 1
    assert made.get_job_state(None, 1) == (
        JobState.power, True, 60.0, None, clock.today, "10.0.0.1",
    )  # fmt: skip
    assert told(made) == ({1}, {"m"})

    rack[HOST].answer()

    assert made.get_job_state(None, 1).state is JobState.ready
    assert made.get_job_state(None, 1).power is True
    assert told(made) == ({1}, set())


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


def test_a_job_that_finds_no_room_is_queued(made: Controller, rack: Rack) -> None:
    run_job(made, rack, 2, 1)
    job_id = made.create_job(None, owner="me")

    assert made.get_job_state(None, job_id)[:2] == (JobState.queued, None)
    assert made.get_job_machine_info(None, job_id) == NO_BOARDS
    assert made.where_is(job_id=job_id, chip_x=0, chip_y=0) is None


def test_what_no_machine_can_give_gets_an_id_and_is_cancelled(made: Controller) -> None:
    job_id = made.create_job(None, 1000, owner="me")

    state = made.get_job_state(None, job_id)
    assert state == (
        JobState.destroyed, None, None, "Cancelled: No suitable machines available.", None, None,
    )  # fmt: skip
    assert made.changed_jobs == {job_id}
    assert made.list_jobs() == []


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


def test_at_most_so_many_jobs_live_at_a_time(
    made: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_life, "MAX_JOBS", 3)
    for _ in range(3):
        made.create_job(None, owner="me")

    with pytest.raises(ValueError, match="3 are allowed"):
        made.create_job(None, owner="me")

    made.destroy_job(None, 1)
    assert made.create_job(None, owner="me") == 4


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


# --- keepalive ---


@pytest.mark.parametrize(
    "command",
    [
        "job_keepalive",
        "get_job_state",
        "get_job_machine_info",
        "power_on_job_boards",
        "power_off_job_boards",
    ],
)
@pytest.mark.parametrize("host", ["10.0.0.2", None])
def test_signs_of_life(made: Controller, clock: HandClock, command: str, host: str | None) -> None:
    made.create_job("10.0.0.1", owner="me")
    clock.advance(59)

    getattr(made, command)(host, 1)
    clock.advance(59)
    made.destroy_timed_out_jobs()

    assert made.list_jobs()[0].keepalivehost == (host or "10.0.0.1")
    clock.advance(2)
    made.destroy_timed_out_jobs()
    assert made.get_job_state(None, 1)[:4] == (JobState.destroyed, None, None, "Job timed out.")


def test_looking_around_is_no_sign_of_life(made: Controller, clock: HandClock) -> None:
    made.create_job("10.0.0.1", owner="me")
    clock.advance(59)

    made.list_jobs()
    made.where_is(job_id=1, chip_x=0, chip_y=0)
    made.where_is(machine="m", x=0, y=0, z=0)
    clock.advance(2)
    made.destroy_timed_out_jobs()

    assert made.list_jobs() == []


def test_a_job_ends_only_after_its_whole_period(made: Controller, clock: HandClock) -> None:
    made.create_job(None, owner="me", keepalive=10)
    clock.advance(10)
    made.destroy_timed_out_jobs()
    assert len(made.list_jobs()) == 1

    clock.advance(0.1)
    made.destroy_timed_out_jobs()

    assert made.list_jobs() == []


@pytest.mark.parametrize("before", [60, None])
def test_a_period_made_shorter_from_outside_counts_from_the_next_sign_of_life(
    made: Controller, clock: HandClock, before: float | None
) -> None:
    made.create_job(None, owner="me", keepalive=before)
    made.next_due(clock.now)
    made._jobs[1].keepalive = 10.0
    made.job_keepalive(None, 1)
    assert made.next_due(clock.now) == clock.now + 10

    clock.advance(11)
    made.destroy_timed_out_jobs()

    assert made.get_job_state(None, 1).reason == "Job timed out."


def test_a_queued_job_that_times_out_is_cancelled(made: Controller, clock: HandClock) -> None:
    made.create_job(None, 2, 1, owner="me", keepalive=None)
    made.create_job(None, owner="me", keepalive=10)
    clock.advance(11)

    made.destroy_timed_out_jobs()

    assert made.get_job_state(None, 2).reason == "Cancelled: Job timed out."


def test_the_wall_clock_ends_no_job(made: Controller, clock: HandClock) -> None:
    made.create_job(None, owner="me")

    clock.today += 1e6
    made.destroy_timed_out_jobs()
    clock.today -= 2e6
    made.destroy_timed_out_jobs()

    assert made.get_job_state(None, 1).state is JobState.power


def test_deadlines_may_be_judged_as_of_earlier(made: Controller, clock: HandClock) -> None:
    made.create_job(None, owner="me", keepalive=10)
    clock.advance(11)

    made.destroy_timed_out_jobs(clock.now - 2)
    assert len(made.list_jobs()) == 1

    made.destroy_timed_out_jobs(clock.now)
    assert made.list_jobs() == []


# --- power ---


def test_powering_on_again_shuts_the_links_again(made: Controller, rack: Rack) -> None:
    job_id = run_job(made, rack, 0, 0, 1)
    told(made)

    made.power_on_job_boards(None, job_id)

    requests = rack[HOST].requests[-1]
    assert (requests.power_on_boards, len(requests.link_requests)) == ([1], 6)
    assert not any(request.enable for request in requests.link_requests)
    assert made.get_job_state(None, job_id)[:2] == (JobState.power, True)
    assert told(made) == ({job_id}, set())
    rack.answer_all()
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, True)
    assert told(made) == ({job_id}, set())


def test_powering_off_leaves_the_links_alone(made: Controller, rack: Rack) -> None:
    job_id = run_job(made, rack, 0, 0, 1)

    made.power_off_job_boards(None, job_id)

    requests = rack[HOST].requests[-1]
    assert (requests.power_off_boards, requests.link_requests) == ([1], [])
    assert made.get_job_state(None, job_id)[:2] == (JobState.power, False)
    rack.answer_all()
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, False)


def test_power_commands_overtake_each_other_without_getting_lost(
    made: Controller, rack: Rack
) -> None:
    made.create_job(None, owner="me")
    made.power_off_job_boards(None, 1)
    made.power_on_job_boards(None, 1)

    assert made._jobs[1].bmp_requests_until_ready == 3
    rack[HOST].answer()
    rack[HOST].answer()
    assert made.get_job_state(None, 1).state is JobState.power
    rack[HOST].answer()
    assert made.get_job_state(None, 1)[:2] == (JobState.ready, True)


def test_a_queued_job_has_nothing_to_power(made: Controller, rack: Rack) -> None:
    run_job(made, rack, 2, 1)
    made.create_job(None, owner="me")
    asked = len(rack[HOST].requests)
    told(made)

    made.power_on_job_boards(None, 2)
    made.power_off_job_boards(None, 2)

    assert len(rack[HOST].requests) == asked
    assert made.get_job_state(None, 2).state is JobState.queued
    assert told(made) == (set(), set())


def test_power_and_links_are_set_through_a_method_that_may_be_replaced(
    made: Controller, rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job(made, rack)
    calls = []

    def instead(job: _Job, power: bool, link_enable: bool | None = None) -> None:
        calls.append((job.id, power, link_enable))

    monkeypatch.setattr(made, "_set_job_power_and_links", instead)
    made.power_on_job_boards(None, 1)
    made.power_off_job_boards(None, 1)

    assert calls == [(1, True, False), (1, False, None)]


# --- answers of the frames ---


def test_an_answer_is_counted_down_whatever_the_job_s_state(made: Controller) -> None:
    made.create_job(None, owner="me")
    job = made._jobs[1]
    job.bmp_requests_until_ready = 2
    job.state = JobState.queued

    made._bmp_on_request_complete(job, True)
    assert (job.bmp_requests_until_ready, job.state) == (1, JobState.queued)

    made._bmp_on_request_complete(job, True, None)
    assert (job.bmp_requests_until_ready, job.state) == (0, JobState.ready)


def test_answers_for_a_job_that_is_gone_only_count(made: Controller) -> None:
    calls = []
    made.on_background_state_change = lambda: calls.append(1)
    made.create_job(None, owner="me")
    job = made._jobs[1]
    made.power_off_job_boards(None, 1)
    made.destroy_job(None, 1, "over")
    told(made)

    made._bmp_on_request_complete(job, True)
    made._bmp_on_request_complete(job, False, "too late")

    assert job.bmp_requests_until_ready == 0
    assert made.get_job_state(None, 1).reason == "over"
    assert told(made) == (set(), set())
    assert calls == []


def test_who_waits_for_background_changes_is_called_once_per_ready_job(
    empty: Controller, rack: Rack
) -> None:
    calls = []
    empty.on_background_state_change = lambda: calls.append(1)
    empty.machines = {"m": machine("m", 2, 1, boards_per_frame=3)}
    empty.create_job(None, 2, 1, owner="me")

    rack.frames[0].answer()
    assert calls == []
    rack.frames[1].answer()
    assert calls == [1]

    empty.destroy_job(None, 1)
    rack.answer_all()
    assert calls == [1]


def test_frames_may_answer_at_once_and_without_a_reason(made: Controller, rack: Rack) -> None:
    rack.at_once = True

    job_id = made.create_job(None, owner="me")
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, True)
    made.power_off_job_boards(None, job_id)
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, False)
    made.destroy_job(None, job_id)

    assert made._job_queue._jobs == {}
    assert made.get_job_state(None, job_id).state is JobState.destroyed


def test_a_machine_may_go_while_its_frames_answer_at_once(made: Controller, rack: Rack) -> None:
    outcomes: list[tuple[Any, ...]] = []
    made.create_job(None, owner="me")
    rack.at_once = True
    hear_outcomes(made, outcomes.append)

    made.machines = {}

    assert [outcome[0] for outcome in outcomes] == ["ended", "machines"]
    assert made.get_job_state(None, 1).reason == "Machine removed."
    assert (made._power_downs.going, made._power_downs.orphans) == ({}, {})


def test_frames_may_answer_from_many_threads(made: Controller, rack: Rack) -> None:
    for _ in range(6):
        made.create_job(None, owner="me")
    threads = [threading.Thread(target=rack[HOST].answer) for _ in range(6)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {job.state for job in made.list_jobs()} == {JobState.ready}


@pytest.mark.parametrize(
    ("reason", "words"),
    [((), ""), ((None,), ""), (("board 3 on fire",), "board 3 on fire")],
)
def test_a_failure_without_details_ends_the_job(
    made: Controller, rack: Rack, reason: tuple[str | None, ...], words: str
) -> None:
    made.create_job(None, 3, owner="me")

    rack[HOST].answer(False, *reason)

    state = made.get_job_state(None, 1)
    assert state.state is JobState.destroyed
    assert state.reason == f"Machine configuration failed. Error: {words}"
    assert made.changed_jobs == {1}
    assert rack[HOST].power[-1] == ([], [0, 1, 2])


def test_one_frame_s_failure_ends_the_job_once(empty: Controller, rack: Rack) -> None:
    empty.machines = {"m": machine("m", 2, 1, boards_per_frame=3)}
    empty.create_job(None, 2, 1, owner="me")

    rack.frames[0].answer(False, "first")
    rack.frames[1].answer(False, "second")

    assert empty.get_job_state(None, 1).reason == "Machine configuration failed. Error: first"
    assert [frame.power[1:] for frame in rack.frames] == [[([], [0, 1, 2])]] * 2
    rack.answer_all()
    assert empty._job_queue._jobs == {}


def test_a_failed_power_off_ends_a_running_job_too(made: Controller, rack: Rack) -> None:
    job_id = run_job(made, rack)
    made.power_off_job_boards(None, job_id)

    rack[HOST].answer(False, "stuck")

    assert made.get_job_state(None, job_id).reason is not None


# --- the end of a job ---


def test_destroying_powers_off_at_once_also_during_a_power_on(
    made: Controller, rack: Rack
) -> None:
    made.create_job(None, 3, owner="me")
    told(made)

    made.destroy_job("10.0.0.9", 1, "enough")

    assert rack[HOST].power == [([0, 1, 2], []), ([], [0, 1, 2])]
    assert rack[HOST].requests[1].link_requests == []
    assert made.get_job_state(None, 1) == (
        JobState.destroyed, None, None, "enough", None, None,
    )  # fmt: skip
    assert made.get_job_machine_info(None, 1) == NO_BOARDS
    assert told(made) == ({1}, {"m"})


def test_boards_are_given_out_again_when_they_are_off_and_have_rested(
    made: Controller, rack: Rack, clock: HandClock
) -> None:
    run_job(made, rack, 2, 1)
    waiting = made.create_job(None, owner="me", keepalive=None)
    made.destroy_job(None, 1)
    told(made)

    clock.advance(1000)
    made.check_free()
    assert made.get_job_state(None, waiting).state is JobState.queued
    rack.answer_all()
    assert told(made) == (set(), set())
    clock.advance(29.9)
    made.check_free()
    assert made.get_job_state(None, waiting).state is JobState.queued
    assert told(made) == (set(), set())

    clock.advance(0.2)
    made.check_free()

    assert made.get_job_state(None, waiting).state is JobState.power
    assert told(made) == ({waiting}, {"m"})


@pytest.mark.parametrize(
    ("reason", "told_reason"),
    [("", "Cancelled: "), (None, "Cancelled: "), ("bored", "Cancelled: bored")],
)
def test_a_queued_job_is_cancelled(
    made: Controller, rack: Rack, reason: str | None, told_reason: str
) -> None:
    run_job(made, rack, 2, 1)
    made.create_job(None, owner="me")

    made.destroy_job(None, 2, reason)

    assert made.get_job_state(None, 2).reason == told_reason


def test_a_job_that_had_boards_may_end_without_a_reason(made: Controller, rack: Rack) -> None:
    run_job(made, rack)

    made.destroy_job(None, 1)

    assert made.get_job_state(None, 1)[:4] == (JobState.destroyed, None, None, None)


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


def test_a_second_end_changes_nothing(made: Controller, rack: Rack) -> None:
    run_job(made, rack)
    made.destroy_job(None, 1, "first")
    told(made)

    made.destroy_job(None, 1, "second")

    assert made.get_job_state(None, 1).reason == "first"
    assert told(made) == (set(), set())


def test_so_many_ended_jobs_are_remembered(made: Controller) -> None:
    made.max_retired_jobs = 2
    for job_id in (1, 2, 3):
        made.create_job(None, owner="me")
        made.destroy_job(None, job_id, f"end of {job_id}")

    assert made.get_job_state(None, 1) == UNKNOWN
    assert dict(made._retired_jobs) == {2: "end of 2", 3: "end of 3"}

    made.max_retired_jobs = 1

    assert dict(made._retired_jobs) == {3: "end of 3"}


def test_boards_come_back_although_their_job_is_forgotten(
    made: Controller, rack: Rack, clock: HandClock
) -> None:
    made.max_retired_jobs = 0
    run_job(made, rack, 2, 1)
    made.destroy_job(None, 1)

    rack.answer_all()
    clock.advance(31)
    made.check_free()

    assert made.get_job_state(None, made.create_job(None, 2, 1, owner="me"))[:1] == (2,)


def test_the_last_frame_to_switch_off_gives_the_boards_back(
    empty: Controller, rack: Rack, clock: HandClock
) -> None:
    empty.seconds_before_free = 0
    empty.machines = {"m": machine("m", 2, 1, boards_per_frame=3)}
    run_job(empty, rack, 2, 1)
    waiting = empty.create_job(None, owner="me")
    empty.destroy_job(None, 1)

    rack.frames[0].answer()
    clock.advance(1)
    empty.check_free()
    assert empty.get_job_state(None, waiting).state is JobState.queued

    rack.frames[1].answer()
    clock.advance(1)
    empty.check_free()
    assert empty.get_job_state(None, waiting).state is JobState.power


# --- where_is ---


@pytest.fixture
def places(empty: Controller, rack: Rack) -> Controller:
    """A machine of 3 x 2 triads, of which jobs 1 and 2 have one each."""
    empty.machines = {"m": machine("m", 3, 2)}
    for _ in range(2):
        run_job(empty, rack, 1, 1)
    return empty


def test_one_board_is_found_in_every_way(places: Controller) -> None:
    boards = places.get_job_machine_info(None, 2).boards
    assert boards is not None
    x, y, _ = min(boards)
    number = (y * 3 + x) * 3 + 1
    ethernet = (x * 12 + 8, y * 12 + 4)
    found = {
        "machine": "m",
        "logical": (x, y, 1),
        "physical": (0, 0, number),
        "chip": ethernet,
        "board_chip": (0, 0),
        "job_id": 2,
        "job_chip": (8, 4),
    }

    assert places.where_is(machine="m", x=x, y=y, z=1) == found
    assert places.where_is(machine="m", x=x - 3, y=y + 2, z=1) == found
    assert places.where_is(machine="m", cabinet=0, frame=0, board=number) == found
    assert places.where_is(machine="m", chip_x=ethernet[0], chip_y=ethernet[1]) == found
    assert places.where_is(machine="m", chip_x=ethernet[0] - 36, chip_y=ethernet[1] + 24) == found
    assert places.where_is(job_id=2, chip_x=8, chip_y=4) == found
    chip = (ethernet[0] + 1, ethernet[1] + 1)
    beside = {**found, "chip": chip, "board_chip": (1, 1), "job_chip": (9, 5)}
    assert places.where_is(job_id=2, chip_x=9, chip_y=5) == beside
    assert places.where_is(machine="m", chip_x=chip[0], chip_y=chip[1]) == beside


def test_every_chip_of_a_job_is_found_from_the_jobs_corner(
    empty: Controller, rack: Rack
) -> None:
    empty.machines = {"m": machine("m", 3, 2)}
    run_job(empty, rack, 1, 2)
    run_job(empty, rack, 2, 2)

    for chip in [(0, 0), (7, 7), (11, 9), (12, 4), (13, 5), (23, 19), (20, 11)]:
        found = empty.where_is(job_id=2, chip_x=chip[0], chip_y=chip[1])

        assert found is not None, chip
        assert found["job_chip"] == chip
        assert found["chip"] == ((chip[0] + 12) % 36, chip[1] % 24)
        assert found["job_id"] == 2


def test_a_free_board_is_nobody_s(places: Controller) -> None:
    found = places.where_is(machine="m", x=2, y=1, z=0)

    assert found is not None
    assert (found["job_id"], found["job_chip"]) == (None, None)


@pytest.mark.parametrize(
    "nowhere",
    [
        {"machine": "n", "x": 0, "y": 0, "z": 0},
        {"machine": "m", "x": 0, "y": 0, "z": 3},
        {"machine": "m", "x": 0, "y": 0, "z": -1},
        {"machine": "m", "cabinet": 1, "frame": 0, "board": 0},
        {"machine": "n", "cabinet": 0, "frame": 0, "board": 0},
        {"machine": "n", "chip_x": 0, "chip_y": 0},
        {"job_id": 99, "chip_x": 0, "chip_y": 0},
        {"job_id": 2, "chip_x": 13, "chip_y": 13},
    ],
)
def test_what_is_nowhere_is_none(places: Controller, nowhere: dict[str, Any]) -> None:
    assert places.where_is(**nowhere) is None


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        ({}, ""),
        ({"machine": "m"}, "machine"),
        ({"machine": "m", "x": 0, "y": 0}, "machine, x, y"),
        ({"x": 0, "y": 0, "z": 0}, "x, y, z"),
        ({"machine": "m", "job_id": 1, "chip_x": 0, "chip_y": 0}, "machine, job_id, chip_x"),
        ({"self": 1}, "self"),
    ],
)
def test_other_ways_of_asking_where_are_refused(
    made: Controller, keywords: dict[str, Any], names: str
) -> None:
    with pytest.raises(TypeError, match=f"^Invalid arguments: {names}"):
        made.where_is(**keywords)


def test_nulls_in_where_is_are_not_given(places: Controller) -> None:
    nulls = dict.fromkeys(("cabinet", "frame", "board", "chip_x", "chip_y", "job_id"))

    assert places.where_is(machine="m", x=0, y=0, z=0, **nulls) is not None


@pytest.mark.parametrize("odd", [1.0, True, "1", float("nan")])
def test_coordinates_are_whole_numbers(made: Controller, odd: Any) -> None:
    with pytest.raises(TypeError, match="x must be a whole number"):
        made.where_is(machine="m", x=odd, y=0, z=0)


# --- machines ---


def test_the_setter_copies_and_so_does_the_getter(empty: Controller) -> None:
    given = {"m": machine()}
    empty.machines = given
    given["n"] = machine("n", net=2)
    empty.machines["o"] = machine("o", net=3)

    assert list(empty.machines) == ["m"]
    assert isinstance(empty._machines["m"], Machine)
    assert list(empty._bmp_controllers) == ["m"]


def test_every_entry_of_bmp_ips_has_a_frame(empty: Controller, rack: Rack) -> None:
    plain = machine()
    odd = plain._replace(bmp_ips={**plain.bmp_ips, (3, 4): "10.9.9.9"})
    same_host = machine("same")

    empty.machines = {"m": odd, "same": same_host}

    assert [frame.hostname for frame in rack.frames] == [HOST, "10.9.9.9", HOST]
    assert empty._bmp_controllers["m"][Frame((3, 4))] is rack["10.9.9.9"]  # type: ignore[comparison-overlap]


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


def test_new_frames_wait_for_all_old_ones_and_the_setter_for_none(
    empty: Controller, rack: Rack
) -> None:
    empty.machines = {"a": machine("a"), "b": machine("b", net=2)}
    a, b = rack.frames
    empty.machines = {"a": machine("a", net=3), "b": machine("b", 2, 1, net=2)}
    new = rack.frames[2:]

    assert [frame.hostname for frame in new] == ["10.3.0.0", "10.2.0.0"]
    assert (a.joins, b.joins) == (0, 0)
    for frame in new:
        assert frame.on_thread_start is not None
        thread = threading.Thread(target=frame.on_thread_start)
        thread.start()
        thread.join()
    assert (a.joins, b.joins) == (2, 2)
    assert new[0].on_thread_start is not None
    new[0].on_thread_start()
    assert (a.joins, b.joins) == (3, 3)


def test_a_frame_may_begin_within_its_constructor(
    empty: Controller, rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Eager(FakeFrame):
        def __init__(self, hostname: str, on_thread_start: Any = None) -> None:
            super().__init__(rack, hostname, on_thread_start)
            on_thread_start()

    monkeypatch.setattr(controller_module, "AsyncBMPController", Eager)

    empty.machines = {"m": machine()}

    assert list(empty.machines) == ["m"]


def test_a_frame_that_cannot_be_made_leaves_everything_as_it_was(
    made: Controller, rack: Rack
) -> None:
    job_id = run_job(made, rack)
    told(made)
    rack.broken = "10.3.0.0"

    with pytest.raises(OSError, match=r"no frame at 10\.3"):
        made.machines = {"a": machine("a", net=2), "b": machine("b", net=3)}

    assert list(made.machines) == ["m"]
    assert list(made._job_queue._machines) == ["m"]
    assert told(made) == (set(), set())
    assert made.get_job_state(None, job_id).state is JobState.ready
    assert [(frame.hostname, frame.stops) for frame in rack.frames] == [
        (HOST, 0),
        ("10.2.0.0", 1),
    ]
    rack.broken = None
    made.machines = {"a": machine("a", net=2), "b": machine("b", net=3)}
    assert list(made.machines) == ["a", "b"]


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


def test_a_removed_machine_s_boards_go_off_before_its_frame_ends(
    made: Controller, rack: Rack
) -> None:
    run_job(made, rack)
    frame = rack[HOST]

    made.machines = {}

    assert frame.power[-1] == ([], [0])
    assert made._power_downs.orphans == {HOST: {0}}
    frame.answer()
    assert made._power_downs.orphans == {}


def test_an_earlier_power_off_may_be_answered_while_its_machine_is_removed(
    made: Controller, rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, running = run_job(made, rack), run_job(made, rack)
    made.destroy_job(None, ended)
    frame = rack.frames[0]

    def answer_everything(requests: AtomicRequests) -> None:
        frame.waiting.append(requests)
        rack.answer_all()

    monkeypatch.setattr(frame, "add_requests", answer_everything)

    made.machines = {}

    assert made.machines == {}
    assert made.get_job_state(None, running).reason == "Machine removed."
    assert made.__getstate__()["going"] == made.__getstate__()["orphans"] == {}
    made.machines = {"m": machine("m")}
    assert run_job(made, rack, 1, 1) == running + 1


def test_boards_that_were_going_off_do_not_come_back_to_another_machine(
    made: Controller, rack: Rack
) -> None:
    run_job(made, rack, 2, 1)
    made.destroy_job(None, 1)
    old = rack[HOST]
    made.machines = {"m": machine("m", 2, 1, net=2)}
    new = made.create_job(None, 2, 1, owner="me")

    old.answer()

    assert made.get_job_state(None, new).state is JobState.power
    assert made._power_downs.going == {}


def test_nothing_is_decided_until_the_whole_change_is_made(made: Controller, rack: Rack) -> None:
    run_job(made, rack, 2, 1)
    waiting = made.create_job(None, owner="me")

    # The old m goes, n comes after it: a job that waits gets the first in order.
    made.machines = {"n": machine("n", net=2), "m": machine("m", 2, 1, net=3)}

    assert made.get_job_machine_info(None, waiting).machine_name == "n"


def test_stop_and_join_are_passed_on(made: Controller, rack: Rack) -> None:
    made.stop()
    made.join()

    assert (rack[HOST].stops, rack[HOST].joins) == (1, 1)


def test_the_lock_is_a_context_and_may_be_taken_again(made: Controller) -> None:
    with made._lock, made._lock:
        made.create_job(None, owner="me")

    assert list(made._jobs) == [1]


def test_a_job_that_the_queue_fails_at_is_ended_and_told(
    made: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("surprise")

    add_job = made._job_queue.add_job

    def cancel_and_fail(job_id: int, request: Request, **keywords: Any) -> None:
        add_job(job_id, request, **keywords)
        made._job_queue.destroy_job(2, "cancelled")
        raise RuntimeError("surprise")

    for failure in (fail, cancel_and_fail):
        with monkeypatch.context() as patch:
            patch.setattr(made._job_queue, "add_job", failure)
            with pytest.raises(RuntimeError, match="surprise"):
                made.create_job(None, owner="me")

    assert made.list_jobs() == []
    states = [made.get_job_state(None, job_id) for job_id in (1, 2)]
    assert [state.state for state in states] == [JobState.destroyed] * 2
    assert [state.reason for state in states] == ["Cancelled: surprise", "cancelled"]
    assert made.create_job(None, owner="me") == 3
