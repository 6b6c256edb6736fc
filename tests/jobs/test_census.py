"""A controller counted."""

from collections.abc import Iterator

import pytest

from spalloc_server._jobs.census import Census, _old_words
from spalloc_server.controller import Controller, JobState
from tests.support.facility import Facility, machine
from tests.support.fake_frame import Rack


@pytest.fixture
def facility() -> Iterator[Facility]:
    """Four triads on two frames, and one of another machine."""
    facility = Facility([machine("m", 4, 1), machine("n", 1, 1, dead_boards={(0, 0, 2)})])
    yield facility
    facility.close()


def census(facility: Facility) -> Census:
    counted = facility.controller.overview.census()
    assert counted is not None
    return counted


def ready(facility: Facility, *what: int, **keywords: str) -> int:
    job_id = facility.create(*what, **keywords)
    facility.run_until(lambda: facility.state(job_id) is JobState.ready, 100.0)
    return job_id


def test_an_idle_controller(facility: Facility) -> None:
    counted = census(facility)

    assert counted.jobs == {"queued": 0, "power": 0, "ready": 0}
    assert (counted.jobs_created, counted.jobs_retired, counted.oldest_queued) == (0, 0, None)
    assert counted.machines["m"].boards["free"] == 12
    assert counted.machines["n"].boards == {
        "dead": 1, "used": 0, "cooling": 0, "quarantined": 0, "free": 2,
    }  # fmt: skip
    assert [(each.machine, each.frame) for each in counted.frames] == [
        ("m", (0, 0)), ("m", (0, 1)), ("n", (0, 0)),
    ]  # fmt: skip


def test_jobs_are_counted_by_state_and_machine(facility: Facility) -> None:
    for what in ((1, 1), (2, 0, 0)):
        ready(facility, *what, machine="m")
    over = ready(facility, 1, machine="n")
    facility.controller.destroy_job(None, over)
    begun = facility.time.wall()
    facility.create(4, 1)
    facility.run(1.0)
    facility.create(4, 1)
    facility.create(1, machine="n")

    counted = census(facility)

    assert counted.jobs == {"queued": 2, "power": 1, "ready": 2}
    assert (counted.jobs_created, counted.jobs_retired) == (6, 1)
    assert counted.oldest_queued == begun
    assert (counted.machines["m"].jobs, counted.machines["n"].jobs) == (2, 1)


def test_jobs_are_counted_since_the_start_wherever_their_ids_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Rack(monkeypatch).at_once = True
    controller = Controller(next_id=500)
    controller.machines = {"m": machine("m", 1)}
    controller.create_job(None, owner="me")
    counted = controller.overview.census()
    book = controller.__getstate__()
    controller.stop()
    again = Controller.restore(book)

    taken_over = again.overview.census()

    again.stop()
    assert counted is not None and counted.jobs_created == 1
    assert taken_over is not None and taken_over.jobs_created == 0


def test_boards_are_counted_in_old_and_new_words(facility: Facility) -> None:
    over = ready(facility, 1, 1, machine="m")
    ready(facility, 3, 0, 0, machine="m")
    facility.controller.destroy_job(None, over)
    for z in (1, 2):
        facility.controller.upkeep.hold_boards("m", [(3, 0, z)], "fan")

    counted = census(facility).machines["m"]

    assert counted.boards == {
        "dead": 0, "used": 1, "cooling": 3, "quarantined": 2, "free": 6,
    }  # fmt: skip
    assert counted.states == {
        "dead": 0, "used": 1, "resting": 3, "out": 2, "unknown": 0,
        "draining": 0, "reserved": 0, "free": 6,
    }  # fmt: skip


def test_dead_boards_outside_of_the_machine_are_not_counted() -> None:
    dead = {(0, 0, 2)}
    facility = Facility([machine("m", 1, 1, dead_boards=dead)])
    try:
        dead |= {(5, 0, 0), (0, -1, 0), (0, 0, 3)}

        assert census(facility).machines["m"].states["dead"] == 1
        assert census(facility).machines["m"].states["free"] == 2
    finally:
        facility.close()


def test_each_new_word_is_counted_under_an_old_one() -> None:
    counts = {
        "dead": 1, "used": 2, "resting": 3, "out": 5, "unknown": 7,
        "draining": 11, "reserved": 13, "free": 17,
    }  # fmt: skip

    assert _old_words(counts) == {
        "dead": 1, "used": 2, "cooling": 3, "quarantined": 12, "free": 41,
    }  # fmt: skip
