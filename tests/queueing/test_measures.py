"""How a machine is shared out, in numbers."""

from __future__ import annotations

import pytest

from spalloc_server._queueing.measures import Measures
from spalloc_server.job_queue import JobQueue
from tests.support.fake_clock import FakeClock


def queue_of(scheduling: str) -> JobQueue:
    """A queue with a machine of 4 x 2 triads."""
    queue = JobQueue(lambda *_: None, lambda *_: None, lambda *_: None)
    queue.scheduling = scheduling
    queue.add_machine("m", 4, 2, dead_boards={(1, 1, 0)})
    return queue


def create(queue: JobQueue, job_id: int, *what: int) -> None:
    queue.create_job(*what, job_id=job_id)


def test_an_idle_machine_has_no_region_and_one_free_block() -> None:
    assert queue_of("overtaking").measures() == {"m": Measures(0, None, False, 0, 8, 8)}


@pytest.mark.parametrize("scheduling", ["fcfs"])
def test_a_tree_does_not_tell_what_is_free(scheduling: str) -> None:
    assert queue_of(scheduling).measures() == {"m": Measures(0, None, False, 0, None, None)}


def test_a_region_is_measured_while_others_overtake() -> None:
    with FakeClock().installed() as clock:
        queue = queue_of("overtaking")
        create(queue, 1, 2, 1)
        create(queue, 2, 3, 2)
        clock.advance(10.0)
        create(queue, 3, 1, 1)

        measured = queue.measures()["m"]
        queue.patience = 5.0
        closed = queue.measures()["m"]

    assert measured.first_overtaken == 1
    assert measured.region_age == 10.0
    assert not measured.region_closed
    assert closed.region_closed
    assert measured.free_triads == 5
    assert measured.region_idle_boards == 11, "four triads, one of their boards is dead"
    assert measured.largest_block == 4


def test_the_region_of_a_given_board_is_that_board() -> None:
    queue = queue_of("overtaking")
    create(queue, 1, 0, 0, 0)
    create(queue, 2, 0, 0, 0)

    assert queue.measures()["m"].region_idle_boards == 0
