"""A stop that hardware holds up ends all the same, and the next start finishes what is left."""

from __future__ import annotations

import pytest

from spalloc_server.controller import JobState
from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility, wait_until

__all__ = ("facility",)


def ready_job(server: SpallocServer, *what: int) -> int:
    job_id = server.create_job(None, *what, owner="me", keepalive=None)
    wait_until(lambda: server.get_job_state(None, job_id)["state"] == JobState.ready)
    return job_id


def test_a_job_that_is_being_powered_on_is_powered_on_by_the_next_start(
    facility: Facility,
) -> None:
    facility.simulation.inject("f mute")
    server = facility.server(stop_timeout=0.0)
    job_id = server.create_job(None, 3, owner="me", keepalive=None)
    server.stop_and_join()
    assert facility.book()["jobs"][job_id]["state"] == JobState.power
    assert facility.on() == set()
    facility.simulation.inject("f clear")

    with facility.server() as again:
        wait_until(lambda: again.get_job_state(None, job_id)["state"] == JobState.ready)

        assert facility.on() == {0, 1, 2}
    assert facility.saved().header.clean  # type: ignore[union-attr]


def test_a_job_that_is_being_powered_off_is_powered_off_by_the_next_start(
    facility: Facility,
) -> None:
    server = facility.server(stop_timeout=0.0)
    job_id = ready_job(server, 3)
    facility.simulation.inject("f mute")
    server.power_off_job_boards(None, job_id)
    server.stop_and_join()
    assert facility.on() == {0, 1, 2}
    facility.simulation.inject("f clear")

    with facility.server() as again:
        wait_until(lambda: again.get_job_state(None, job_id)["state"] == JobState.ready)

        assert again.get_job_state(None, job_id)["power"] is False
        assert facility.on() == set()


def test_boards_of_ended_jobs_are_powered_off_by_the_next_start(facility: Facility) -> None:
    server = facility.server(stop_timeout=0.0)
    ready_job(server, 3)
    kept = ready_job(server, 3)
    facility.simulation.inject("f mute")
    server.destroy_job(None, 1)
    server.stop_and_join()
    assert next(iter(facility.book()["going"]["f"].values()))["job"] == 1
    assert facility.on() == {0, 1, 2, 3, 4, 5}
    facility.simulation.inject("f clear")

    with facility.server() as again:
        wait_until(lambda: facility.on() == {3, 4, 5})
        wait_until(lambda: not again.controller.__getstate__()["going"])

        assert again.get_job_state(None, kept)["state"] == JobState.ready
        ready_job(again, 3)  # so its boards have come back


def test_boards_of_removed_machines_are_powered_off_by_the_next_start(facility: Facility) -> None:
    facility.configure("f", "g")
    server = facility.server(stop_timeout=0.0)
    job_id = server.create_job(None, 2, 1, owner="me", keepalive=None, machine="g")
    wait_until(lambda: server.get_job_state(None, job_id)["state"] == JobState.ready)
    facility.simulation.inject("g mute")
    facility.configure("f")
    assert server.read_config_file()
    assert server.get_job_state(None, job_id)["reason"] == "Machine removed."
    server.stop_and_join()
    assert facility.book()["orphans"] == {"g": [0, 1, 2, 3, 4, 5]}
    assert len(facility.on("g")) == 6
    facility.simulation.inject("g clear")

    with facility.server() as again:
        wait_until(lambda: not facility.on("g"))
        wait_until(lambda: not again.controller.__getstate__()["orphans"])

    assert facility.book()["orphans"] == {}


def test_what_a_start_wanted_off_is_wanted_off_by_the_one_after_it(facility: Facility) -> None:
    server = facility.server()
    ready_job(server, 3)
    facility.crash(server)
    facility.simulation.command("f board 0-5 set-power on")
    facility.simulation.inject("f mute")
    # It learns of the boards that nobody has, and gets nowhere with it.
    facility.server(stop_timeout=0.0).stop_and_join()
    assert not facility.saved().header.clean  # type: ignore[union-attr]
    assert len(facility.on()) == 6
    facility.simulation.inject("f clear")

    with facility.server():
        wait_until(lambda: facility.on() == {0, 1, 2})

    assert facility.saved().header.clean  # type: ignore[union-attr]


def test_after_a_clean_stop_nothing_is_asked_of_hardware(facility: Facility) -> None:
    server = facility.server()
    ready_job(server, 3)
    server.stop_and_join()
    assert facility.saved().header.clean  # type: ignore[union-attr]
    facility.simulation.command("f forget")

    facility.server().stop_and_join()

    assert facility.on() == {0, 1, 2}
    assert facility.seen() == {}


@pytest.mark.parametrize("hurried", [False, True])
def test_a_stop_waits_for_hardware_that_answers(facility: Facility, hurried: bool) -> None:
    server = facility.server(stop_timeout=600.0)
    facility.simulation.inject("f slow 0.02")
    job_id = server.create_job(None, 3, owner="me", keepalive=None)
    if hurried:
        server.hurry_up()

    server.stop_and_join()

    state = facility.book()["jobs"][job_id]["state"]
    assert state == (JobState.power if hurried else JobState.ready)
    assert facility.saved().header.clean is not hurried  # type: ignore[union-attr]
