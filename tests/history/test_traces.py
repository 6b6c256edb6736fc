"""Made-up days of jobs."""

import json
from collections import Counter

import pytest

from spalloc_server._history.simulation import Simulation, server_queue
from spalloc_server._history.submissions import boards_asked
from spalloc_server._history.traces import KINDS, make_trace, to_lines


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_is_made_of_its_seed_alone(kind: str) -> None:
    assert make_trace(kind, 1, jobs=60) == make_trace(kind, 1, jobs=60)
    assert make_trace(kind, 1, jobs=60) != make_trace(kind, 2, jobs=60)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trace_has_the_load_that_was_asked_for(kind: str) -> None:
    trace = make_trace(kind, 3, load=0.5)
    work = sum(boards_asked(job.args) * job.life for job in trace.jobs)

    load = work / (trace.machine.live_boards * trace.jobs[-1].arrival)

    assert load == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_jobs_come_in_order_and_nearly_all_suit_the_machine(kind: str) -> None:
    trace = make_trace(kind, 4, jobs=200)

    simulation = Simulation([trace.machine], server_queue())
    simulation.run(trace.jobs)

    arrivals = [job.arrival for job in trace.jobs]
    assert arrivals == sorted(arrivals)
    assert [job.job_id for job in trace.jobs] == list(range(1, 201))
    assert sum(served.start is not None for served in simulation.served) > 180


def test_a_class_asks_for_single_boards_mostly() -> None:
    trace = make_trace("class", 1)
    sizes = [boards_asked(job.args) for job in trace.jobs]

    assert 0.66 < sizes.count(1) / len(sizes) < 0.74
    assert 0.004 < sum(size >= 100 for size in sizes) / len(sizes) < 0.02


def test_bursty_jobs_come_by_day_in_clumps() -> None:
    trace = make_trace("bursty", 1)
    day = trace.jobs[-1].arrival / 4  # nearly: the last job comes before the last midnight

    by_day = sum(job.arrival % day >= day / 2 for job in trace.jobs) / len(trace.jobs)

    assert by_day > 0.85
    together = Counter(job.arrival for job in trace.jobs)
    assert len(together) < len(trace.jobs) / 4


def test_a_trace_with_dead_boards_tolerates_none() -> None:
    trace = make_trace("dead", 1)

    assert len(trace.machine.dead_boards) == 36
    assert all(job.kwargs == {"max_dead_boards": 0} for job in trace.jobs if job.args)


def test_the_whole_torus_is_asked_for_rarely_but_always() -> None:
    for seed in range(1, 4):
        requests = [(job.args, job.kwargs) for job in make_trace("torus", seed).jobs]

        assert requests.count(((20, 20), {"require_torus": True})) == 2
        assert sum(args[0] == 20 for args, _ in requests if len(args) == 2) == 10


def test_a_trace_is_written_as_json_lines() -> None:
    trace = make_trace("three", 5, jobs=3)

    first, *jobs = [json.loads(line) for line in to_lines(trace)]

    assert first == {
        "trace": "three",
        "load": 0.6,
        "seed": 5,
        "machine": "three",
        "width": 4,
        "height": 6,
        "dead_boards": [],
    }
    assert [job["job"] for job in jobs] == [1, 2, 3]
    assert all(job.keys() == {"job", "arrival", "owner", "args", "kwargs", "life"} for job in jobs)


@pytest.mark.parametrize(
    ("kind", "options", "words"),
    [
        ("weekend", {}, "'weekend'"),
        ("class", {"load": 0.0}, "load is 0.0"),
        ("class", {"load": float("nan")}, "load is nan"),
        ("class", {"jobs": 0}, "number of jobs is 0"),
    ],
)
def test_a_trace_that_cannot_be_made_is_refused(
    kind: str, options: dict[str, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make_trace(kind, 1, **options)  # type: ignore[arg-type]
