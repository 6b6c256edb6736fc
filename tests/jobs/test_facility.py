"""The machines of a controller: how they come, change and go, and come back from a book."""

from __future__ import annotations

from typing import Any

import pytest

from spalloc_server.controller import Controller, JobState
from spalloc_server.links import Links
from tests.support.fake_frame import Rack
from tests.support.machines import machine


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    """Frames that answer at once."""
    rack = Rack(monkeypatch)
    rack.at_once = True
    return rack


def saved(**machines: int) -> Any:
    """Return the book of a controller with machines of so many triads."""
    controller = Controller()
    controller.machines = {
        name: machine(name, width, net=number)
        for number, (name, width) in enumerate(machines.items(), start=1)
    }
    book = controller.__getstate__()
    controller.stop()
    return book


# --- from a book ---


def test_machines_of_a_book_come_back_in_their_order(rack: Rack) -> None:
    book = saved(n=1, m=2)
    rack.frames.clear()

    again = Controller.restore(book)

    assert [row.name for row in again.list_machines()] == ["n", "m"]
    assert [(row.width, row.height) for row in again.list_machines()] == [(1, 1), (2, 1)]
    assert [frame.hostname for frame in rack.frames] == ["10.1.0.0", "10.2.0.0"]
    assert again.create_job("10.0.0.1", owner="me") == 1
    again.stop()


def test_a_machine_that_is_saved_under_another_name_is_refused(rack: Rack) -> None:
    book = saved(m=1, n=1)
    book["machines"] = {"m": book["machines"]["m"], "x": book["machines"]["n"]}
    rack.frames.clear()

    with pytest.raises(ValueError, match=r"machines\.x: the machine is called 'n'"):
        Controller.restore(book)

    assert rack.frames == []


def test_no_frame_is_left_if_one_of_a_book_cannot_start(rack: Rack) -> None:
    book = saved(m=1, n=1)
    rack.frames.clear()
    rack.broken = "10.2.0.0"

    with pytest.raises(OSError, match=r"no frame at 10\.2\.0\.0"):
        Controller.restore(book)

    (frame,) = rack.frames
    assert frame.stops == 1


# --- a changed configuration ---


def test_all_of_a_change_is_carried_out_or_nothing(rack: Rack) -> None:
    controller = Controller()
    before = {"m": machine("m", 1)}
    controller.machines = before
    job_id = controller.create_job("10.0.0.1", owner="me")
    rack.broken = "10.2.0.0"

    with pytest.raises(OSError, match="no frame"):
        controller.machines = {"n": machine("n", net=2), "o": machine("o", net=3)}

    assert controller.machines == before
    assert [row.name for row in controller.list_machines()] == ["m"]
    assert controller.get_job_state(None, job_id).state is JobState.ready
    assert not rack["10.1.0.0"].stops
    controller.stop()


def test_jobs_of_a_machine_that_goes_end_and_those_of_others_stay(rack: Rack) -> None:
    controller = Controller()
    m, n = machine("m", net=1), machine("n", net=2)
    controller.machines = {"m": m, "n": n}
    jobs = {name: controller.create_job("10.0.0.1", owner="me", machine=name) for name in "mn"}
    controller.take_changes()

    controller.machines = {"n": n}

    assert controller.get_job_state(None, jobs["m"]).state is JobState.destroyed
    assert controller.get_job_state(None, jobs["n"]).state is JobState.ready
    assert controller.take_changes() == ({jobs["m"]}, {"m"})
    assert rack["10.1.0.0"].stops == 1
    assert not rack["10.2.0.0"].stops
    controller.stop()


def test_a_machine_that_only_changes_keeps_its_frames_and_jobs(rack: Rack) -> None:
    controller = Controller()
    old = machine("m", 2)
    controller.machines = {"m": old}
    job_id = controller.create_job("10.0.0.1", 0, 0, 0, owner="me")
    frames = list(rack.frames)
    new = old._replace(
        tags={"big"}, dead_boards={(1, 0, 2)}, dead_links={(0, 0, 1, Links.north)}
    )
    controller.take_changes()

    controller.machines = {"m": new}

    assert rack.frames == frames
    assert controller.get_job_state(None, job_id).state is JobState.ready
    (row,) = controller.list_machines()
    assert (row.tags, row.dead_boards, row.dead_links) == (
        {"big"}, {(1, 0, 2)}, {(0, 0, 1, Links.north)}
    )  # fmt: skip
    assert controller.take_changes() == (set(), {"m"})
    for wanted, state in (("big", JobState.ready), ("default", JobState.destroyed)):
        job_id = controller.create_job("10.0.0.1", owner="me", tags={wanted})
        assert controller.get_job_state(None, job_id).state is state
    controller.stop()


def test_jobs_go_to_the_machine_that_comes_first_now(rack: Rack) -> None:
    controller = Controller()
    m, n = machine("m", net=1), machine("n", net=2)
    controller.machines = {"m": m, "n": n}

    controller.machines = {"n": n, "m": m}

    job_id = controller.create_job("10.0.0.1", owner="me")
    assert controller.get_job_machine_info(None, job_id).machine_name == "n"
    assert [row.name for row in controller.list_machines()] == ["n", "m"]
    controller.stop()


# --- boards that no job has ---


def test_boards_that_no_job_has_are_switched_off_in_one_request_a_frame(rack: Rack) -> None:
    book = saved(m=1, n=1)
    rack.at_once = False
    rack.frames.clear()
    again = Controller.restore(book)

    again.power_off_unowned_boards()

    assert [frame.power for frame in rack.frames] == [[([], [0, 1, 2])]] * 2
    rack.answer_all()
    again.stop()
