"""A controller that is saved and made anew: pickled, or imposed from its book."""

from __future__ import annotations

import copy
import json
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs import book as _book
from spalloc_server._jobs.outlet import AtOnce
from spalloc_server.controller import Controller, JobState
from spalloc_server.links import Links
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.machines import machine
from tests.support.outcomes import hear_outcomes

HOST = "10.1.0.0"


def new_controller(rack: Rack) -> Controller:
    made = Controller()
    made.machines = {"m": machine("m", 2, 1), "n": machine("n", net=2, tags=["odd"])}
    return made


def again(made: Controller, rack: Rack) -> Controller:
    """Stop, pickle, and forget the old frames."""
    made.stop()
    made.join()
    data = pickle.dumps(made)
    rack.frames.clear()
    restarted = pickle.loads(data)
    assert isinstance(restarted, Controller)
    return restarted


def test_a_pickle_holds_plain_builtins_only(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.create_job("10.0.0.1", 3, owner="me", tags=["default"], require_torus=False)
    made.create_job(None, owner="me")
    rack.answer_all()
    made.destroy_job(None, 1)
    made.create_job(None, 2, 1, owner="me", machine="m")
    made.on_background_state_change = lambda: None
    hear_outcomes(made, lambda _: None)

    named = [
        argument
        for opcode, argument, _ in pickletools.genops(pickle.dumps(made, protocol=2))
        if opcode.name == "GLOBAL"
    ]

    assert set(named) <= {
        "spalloc_server.controller Controller",
        "copyreg __newobj__",
        "copy_reg _reconstructor",
        "__builtin__ object",
    }
    assert json.loads(json.dumps(made.__getstate__()["jobs"]))


def test_everything_is_there_again(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.max_retired_jobs = 5
    made.seconds_before_free = 7
    made.create_job("10.0.0.1", 3, owner="me", keepalive=None, tags=["default"])
    made.create_job("10.0.0.2", 2, 1, owner="you", min_ratio=0.25)
    made.create_job(None, 1000, owner="me")
    rack.answer_all()

    restarted = again(made, rack)

    assert restarted.list_jobs() == made.list_jobs()
    assert restarted.list_machines() == made.list_machines()
    assert restarted.machines == made.machines
    for job_id in range(5):
        assert restarted.get_job_state(None, job_id) == made.get_job_state(None, job_id)
        info = restarted.get_job_machine_info(None, job_id)
        assert info == made.get_job_machine_info(None, job_id)
    where = {"job_id": 1, "chip_x": 9, "chip_y": 5}
    assert restarted.where_is(**where) == made.where_is(**where)
    assert (restarted.max_retired_jobs, restarted.seconds_before_free) == (5, 7)
    assert restarted.create_job(None, owner="me") == 4
    assert [frame.hostname for frame in rack.frames] == [HOST, "10.2.0.0"]


def test_every_job_gets_a_fresh_keepalive_period(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.create_job(None, owner="me", keepalive=10)
    data = pickle.dumps(made)
    clock.now += 1000

    restarted: Controller = pickle.loads(data)
    clock.now += 9
    restarted.destroy_timed_out_jobs()
    assert len(restarted.list_jobs()) == 1

    clock.now += 2
    restarted.destroy_timed_out_jobs()
    assert restarted.list_jobs() == []


def test_a_ready_job_is_left_alone(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.create_job(None, owner="me")
    rack.answer_all()

    restarted = again(made, rack)

    assert restarted.get_job_state(None, 1)[:2] == (JobState.ready, True)
    assert rack[HOST].requests == []


def test_a_job_that_is_being_powered_on_is_so_again_with_its_links(
    rack: Rack, clock: HandClock
) -> None:
    made = new_controller(rack)
    made.create_job(None, owner="me")

    restarted = again(made, rack)

    assert restarted.get_job_state(None, 1)[:2] == (JobState.power, True)
    (requests,) = rack[HOST].requests
    assert requests.power_on_boards == [0]
    assert {(board, Links(link)) for board, link, _ in requests.link_requests} == {
        (0, link) for link in Links
    }
    rack.answer_all()
    assert restarted.get_job_state(None, 1).state is JobState.ready


def test_a_job_that_is_being_powered_off_is_so_again(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.create_job(None, owner="me")
    rack.answer_all()
    made.power_off_job_boards(None, 1)

    restarted = again(made, rack)

    assert restarted.get_job_state(None, 1)[:2] == (JobState.power, False)
    (requests,) = rack[HOST].requests
    assert (requests.power_off_boards, requests.link_requests) == ([0], [])


def test_boards_that_were_going_off_go_off_and_come_back(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.create_job(None, 2, 1, owner="me")
    made.destroy_job(None, 1)
    made.create_job(None, owner="me")

    restarted = again(made, rack)

    assert restarted.get_job_state(None, 2).state is JobState.queued
    assert rack[HOST].power == [([], [0, 1, 2, 3, 4, 5])]
    rack.answer_all()
    clock.advance(31)
    restarted.check_free()
    assert restarted.get_job_state(None, 2).state is JobState.power


def test_boards_go_on_resting(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.create_job(None, 2, 1, owner="me")
    made.destroy_job(None, 1)
    rack.answer_all()
    made.create_job(None, owner="me")
    clock.advance(20)

    restarted = again(made, rack)
    clock.advance(9)
    restarted.check_free()
    assert restarted.get_job_state(None, 2).state is JobState.queued
    clock.advance(2)
    restarted.check_free()

    assert restarted.get_job_state(None, 2).state is JobState.power


def test_boards_of_a_machine_that_is_gone_go_off_after_the_restart(
    rack: Rack, clock: HandClock
) -> None:
    made = new_controller(rack)
    made.create_job(None, owner="me")
    made.machines = {}

    restarted = again(made, rack)

    assert rack[HOST].power == [([], [0])]
    assert rack[HOST].stops == 1
    rack.answer_all()
    assert restarted._power_downs.orphans == {}


def test_a_restart_with_other_machines_is_a_change_like_any(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.create_job(None, owner="me")
    rack.answer_all()
    restarted = again(made, rack)

    restarted.machines = {"m": machine("m", 2, 1, net=7)}

    assert restarted.get_job_state(None, 1).reason == "Machine removed."
    assert restarted.changed_machines == {"m", "n"}


def test_the_lock_callbacks_and_changes_are_new(rack: Rack, clock: HandClock) -> None:
    made = new_controller(rack)
    made.on_background_state_change = lambda: None

    restarted = again(made, rack)

    assert restarted.on_background_state_change is None
    assert isinstance(restarted._records.outlet, AtOnce)
    with restarted._lock, restarted._lock:
        assert restarted.changed_jobs == set()


def test_a_book_that_contradicts_itself_leaves_no_frame_running(
    rack: Rack, clock: HandClock
) -> None:
    made = new_controller(rack)
    made.create_job(None, owner="me")
    book = copy.deepcopy(made.__getstate__())
    book["jobs"][2] = copy.deepcopy(book["jobs"][1])
    rack.frames.clear()

    with pytest.raises(ValueError, match="known already"):
        Controller.__new__(Controller).__setstate__(book)

    assert rack.frames
    assert all(frame.stops for frame in rack.frames)


# --- the book says the same as the controller ---

ACTIONS: dict[str, Callable[[Controller, Rack, HandClock, int], object]] = {
    "one": lambda made, rack, clock, n: made.create_job(f"10.0.0.{n}", owner="me"),
    "three": lambda made, rack, clock, n: made.create_job(None, 3, owner="me", keepalive=20),
    "all": lambda made, rack, clock, n: made.create_job(None, 2, 1, owner="\ud800\u2028"),
    "odd": lambda made, rack, clock, n: made.create_job(None, owner="me", tags=["odd"]),
    "that": lambda made, rack, clock, n: made.create_job(None, n % 2, 0, n % 3, owner="me"),
    "impossible": lambda made, rack, clock, n: made.create_job(None, 10**18, owner="me"),
    "destroy": lambda made, rack, clock, n: made.destroy_job(None, n, "why not"),
    "on": lambda made, rack, clock, n: made.power_on_job_boards("10.0.0.9", n),
    "off": lambda made, rack, clock, n: made.power_off_job_boards(None, n),
    "answer": lambda made, rack, clock, n: rack.answer_all(),
    "fail": lambda made, rack, clock, n: fail_one(rack),
    "wait": lambda made, rack, clock, n: wait(made, clock, 11),
    "remade": lambda made, rack, clock, n: change(made, {"m": machine("m", 2, 1, net=n + 1)}),
    "both": lambda made, rack, clock, n: change(
        made, {"n": machine("n", net=20, tags=["odd"]), "m": machine("m", 2, 1)}
    ),
    "dead": lambda made, rack, clock, n: change(
        made, {"m": machine("m", 2, 1, dead_boards={(n % 2, 0, n % 3)})}
    ),
    "order": lambda made, rack, clock, n: made.set_order(
        ["fcfs", "fcfs-grid", "overtaking", "overtaking"][n % 4], [0.0, 15.0, 7200.0][n % 3]
    ),
    "few": lambda made, rack, clock, n: setattr(made, "max_retired_jobs", n),
}


def fail_one(rack: Rack) -> None:
    for frame in rack.frames:
        if frame.waiting:
            frame.answer(False, "broken")
            return


def wait(made: Controller, clock: HandClock, seconds: float) -> None:
    clock.advance(seconds)
    made.destroy_timed_out_jobs()
    made.check_free()


def change(made: Controller, machines: dict[str, Any]) -> None:
    made.machines = machines


@given(
    st.booleans(),
    st.lists(st.tuples(st.sampled_from(sorted(ACTIONS)), st.integers(0, 6)), max_size=25),
)
def test_outcomes_written_into_a_book_give_the_controller_s_state(
    at_once: bool, actions: list[tuple[str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        clock, rack = HandClock(monkeypatch), Rack(monkeypatch)
        made = new_controller(rack)
        book = copy.deepcopy(made.__getstate__())
        outcomes: list[Any] = []
        hear_outcomes(made, outcomes.append)
        rack.at_once = at_once
        for name, number in actions:
            ACTIONS[name](made, rack, clock, number)

        for outcome in outcomes:
            written = json.loads(json.dumps(outcome))
            _book.apply(book, tuple(written))

        assert settled(book) == settled(made.__getstate__())
        restarted = Controller.__new__(Controller)
        restarted.__setstate__(copy.deepcopy(book))
        assert restarted.list_jobs() == made.list_jobs() or not at_once


def settled(book: dict[str, Any]) -> Any:
    """A book without what an outcome cannot know: how long boards have rested."""
    book = json.loads(json.dumps(book))
    for allocations in book["resting"].values():
        for outcome_and_time in allocations.values():
            outcome_and_time[1] = 0.0
    del book["told_at"]
    for job in book["jobs"].values():
        if job["region"] is not None:
            # It is as old, but was told at another time.
            job["region"]["began"] = job["region"].pop("at") - job["region"].pop("age")
    return book


@pytest.mark.parametrize(("what", "place"), [((), [0, 0, 0]), ((2, 1), [0, 0, 2, 1])])
def test_a_job_goes_on_in_its_place(
    rack: Rack, clock: HandClock, what: tuple[int, ...], place: list[int]
) -> None:
    made = new_controller(rack)
    job_id = made.create_job(HOST, *what, owner="me", machine="m")
    assert made._jobs[job_id].place == place

    restarted = again(made, rack)

    assert restarted._jobs[job_id].place == place
    restarted.stop()
