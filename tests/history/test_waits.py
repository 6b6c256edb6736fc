"""The figures of a run."""

import pytest

from spalloc_server._history.submissions import Served, Submission
from spalloc_server._history.waits import Waits, figures, waits_of


def served(job_id: int, arrival: float, start: float | None, boards: int = 1) -> Served:
    submission = Submission(job_id, arrival, (boards,), {}, 10.0)
    return Served(submission, start, "m", boards, job_id == 3, None)


def test_of_a_hundred_waits_the_95th_is_told() -> None:
    assert waits_of(range(1, 101)) == Waits(100, 50.5, 95, 100)


def test_no_waits_are_zero() -> None:
    assert waits_of([]) == Waits(0, 0.0, 0.0, 0.0)


def test_big_and_small_jobs_are_told_apart() -> None:
    run = [served(1, 0.0, 4.0), served(2, 0.0, 8.0, boards=9), served(3, 20.0, None)]

    told = figures(run, 10, lambda job: job.args[0] > 5)

    assert (told.all.mean, told.small.mean, told.big.mean) == (6.0, 4.0, 8.0)
    assert told.refused == 1


def test_jobs_that_do_not_count_use_boards_all_the_same() -> None:
    run = [served(1, 0.0, 0.0, boards=5), served(2, 5.0, 5.0, boards=5), served(3, 15.0, 15.0)]

    told = figures(run, 10, lambda _: False, lambda job: job.job_id > 1)

    # From 5 to 15 s: five boards for 5 s and five for 10 s, of ten for 10 s.
    assert told.utilisation == pytest.approx(0.75)
    assert told.all.jobs == 2
    assert told.overtakes == 1


def test_a_single_job_has_no_utilisation() -> None:
    assert figures([served(1, 0.0, 0.0)], 10, lambda _: False).utilisation == 0.0


def test_jobs_that_come_at_once_have_no_utilisation() -> None:
    run = [served(1, 0.0, 0.0), served(2, 0.0, 5.0)]

    assert figures(run, 10, lambda _: False).utilisation == 0.0
    assert figures([], 10, lambda _: False).all.jobs == 0
