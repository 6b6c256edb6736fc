"""Jobs run through the server's own queue in simulated time."""

import pytest

from benchmarks.free_overtaking import FreeOvertaking
from spalloc_server import _clock
from spalloc_server._history.simulation import HandClock, SchedulingError, Simulation, server_queue
from spalloc_server._history.submissions import Served, Shape, Submission

ONE_TRIAD = Shape("m", 1, 1)
WHOLE = (1, 1)


def job(job_id: int, arrival: float, life: float = 100.0, *args: int) -> Submission:
    return Submission(job_id, arrival, args or WHOLE, {}, life)


def run(*jobs: Submission, machines: tuple[Shape, ...] = (ONE_TRIAD,)) -> list[Served]:
    simulation = Simulation(machines, server_queue(), power_off=5.0, rest=30.0)
    simulation.run(jobs)
    return simulation.served


def test_a_job_starts_at_once_on_an_idle_machine() -> None:
    (served,) = run(job(1, 7.0))

    assert (served.start, served.wait, served.machine, served.boards) == (7.0, 0.0, "m", 3)


def test_boards_go_off_and_rest_before_the_next_job_has_them() -> None:
    first, second = run(job(1, 0.0, 100.0), job(2, 10.0))

    assert first.start == 0.0
    assert second.start == 100.0 + 5.0 + 30.0
    assert second.wait == 125.0


def test_times_that_are_no_sums_of_powers_of_two_end_all_the_same() -> None:
    jobs = [job(number, number * 0.1, 0.3) for number in range(1, 50)]
    simulation = Simulation([ONE_TRIAD], server_queue(), power_off=0.1, rest=0.7)

    simulation.run(jobs)

    assert [served.submission.job_id for served in simulation.served] == list(range(1, 50))


def test_a_request_that_no_machine_suits_is_refused() -> None:
    (served,) = run(job(1, 0.0, 10.0, 2, 2))

    assert (served.start, served.reason) == (None, "No suitable machines available.")


def test_a_request_is_withdrawn_when_its_user_gives_up() -> None:
    impatient = job(2, 0.0)._replace(gives_up=50.0)

    _, given_up = run(job(1, 0.0), impatient)

    assert (given_up.start, given_up.reason) == (None, "given up")


def test_a_request_that_got_its_boards_is_not_withdrawn() -> None:
    patient = job(2, 0.0, 1000.0)._replace(gives_up=500.0)

    at_once, later = run(job(1, 0.0)._replace(gives_up=50.0), patient)

    assert (at_once.start, later.start) == (0.0, 135.0)


def test_an_overtaken_request_is_noticed() -> None:
    single, other = Submission(1, 0.0, (), {}, 100.0), Submission(3, 2.0, (), {}, 9.0)
    simulation = Simulation([ONE_TRIAD], FreeOvertaking)

    simulation.run([single, job(2, 1.0), other])

    overtook = {served.submission.job_id: served.overtook for served in simulation.served}
    assert overtook == {1: False, 2: False, 3: True}


def test_a_request_for_another_machine_is_not_overtaken() -> None:
    other = Shape("n", 1, 1, frozenset({"other"}))
    tagged = Submission(3, 2.0, (), {"tags": ["other"]}, 10.0)

    served = run(job(1, 0.0), job(2, 1.0), tagged, machines=(ONE_TRIAD, other))

    assert [each.submission.job_id for each in served] == [1, 3, 2]
    assert not any(each.overtook for each in served)


def test_a_callback_may_submit_the_next_job() -> None:
    simulation: Simulation

    def again(served: Served) -> None:
        if served.submission.job_id < 4:
            simulation.submit(job(served.submission.job_id + 1, simulation.clock.now))

    simulation = Simulation([ONE_TRIAD], server_queue(), on_started=again)
    simulation.run([job(1, 0.0)])

    assert [served.start for served in simulation.served] == [0.0, 135.0, 270.0, 405.0]


def test_a_run_can_be_stopped_and_gone_on_with() -> None:
    simulation = Simulation([ONE_TRIAD], server_queue())

    simulation.run([job(1, 0.0), job(2, 0.0)], until=50.0)
    waited = simulation.waiting
    simulation.run()

    assert waited == 1
    assert [served.start for served in simulation.served] == [0.0, 135.0]


def test_the_clock_is_put_back() -> None:
    before = _clock.monotonic

    with HandClock(3.0).installed():
        inside = _clock.monotonic()

    assert inside == 3.0
    assert _clock.monotonic is before


def test_calls_are_timed_by_name() -> None:
    simulation = Simulation([ONE_TRIAD], server_queue())

    simulation.run([job(1, 0.0)])

    cost = simulation.costs["create_job"]
    assert cost.calls == 1
    assert 0.0 < cost.longest == cost.total == cost.mean


def test_an_unknown_scheduling_is_refused_with_its_name() -> None:
    with pytest.raises(SchedulingError, match="'backwards'"):
        Simulation([ONE_TRIAD], server_queue("backwards"))


def test_a_request_of_bad_form_is_refused() -> None:
    wrong = Submission(1, 0.0, (), {"require_torus": True}, 10.0)

    (served,) = run(wrong)

    assert served.start is None
    assert "require_torus" in (served.reason or "")


def test_a_patience_that_is_none_is_refused() -> None:
    with pytest.raises(SchedulingError, match="-1"):
        Simulation([ONE_TRIAD], server_queue("overtaking", -1.0))
