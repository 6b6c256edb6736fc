"""How jobs begin, show signs of life and end."""

from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs import job_life
from spalloc_server._jobs.job_life import Deadlines


def test_nothing_is_due_where_nothing_is_watched() -> None:
    times: dict[int, float] = {}
    deadlines = Deadlines(times.get)
    deadlines.add(1, None)

    assert deadlines.next() is None
    assert deadlines.due(1e9) == []


def test_those_that_have_passed_are_due_earliest_first() -> None:
    times = {1: 30.0, 2: 10.0, 3: 20.0, 4: 40.0}
    deadlines = Deadlines(times.get)
    for job_id, time in times.items():
        deadlines.add(job_id, time)

    assert deadlines.due(30.0) == [2, 3]
    assert deadlines.next() == 30.0
    assert deadlines.due(30.1) == [1]


def test_a_deadline_that_has_moved_is_seen_when_its_old_time_comes() -> None:
    times = {1: 10.0, 2: 20.0}
    deadlines = Deadlines(times.get)
    for job_id, time in times.items():
        deadlines.add(job_id, time)
    times[1] = 50.0
    del times[2]

    assert deadlines.due(30.0) == []
    assert deadlines.next() == 50.0
    assert deadlines.due(51.0) == [1]
    assert deadlines.next() is None


def test_jobs_that_are_gone_do_not_pile_up() -> None:
    times: dict[int, float] = {0: 5.0}
    deadlines = Deadlines(times.get)
    deadlines.add(0, 5.0)
    for job_id in range(1, 20 * job_life._SHORT):
        times[job_id] = 1e9
        deadlines.add(job_id, 1e9)
        del times[job_id]

    assert len(deadlines._heap) <= job_life._SHORT
    assert deadlines.due(6.0) == [0]


def test_many_deadlines_are_gone_through_only_when_they_have_doubled() -> None:
    kept = 2 * job_life._SHORT
    times = dict.fromkeys(range(kept), 5.0)
    asked = 0

    def deadline_of(job_id: int) -> float | None:
        nonlocal asked
        asked += 1
        return times.get(job_id)
    deadlines = Deadlines(deadline_of)
    for job_id in times:
        deadlines.add(job_id, 5.0)

    asked = 0
    for job_id in range(kept, 2 * kept):
        deadlines.add(job_id, 1e9)

    assert asked == 2 * kept
    assert len(deadlines._heap) == kept


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "move", "drop", "ask"]), st.integers(0, 9)), max_size=60
    )
)
def test_nobody_is_late_or_early(steps: list[tuple[str, int]]) -> None:
    times: dict[int, float] = {}
    deadlines = Deadlines(times.get)
    now, next_id = 0.0, 0
    for step, number in steps:
        now += number / 3
        if step == "add":
            times[next_id] = now + number
            deadlines.add(next_id, times[next_id])
            next_id += 1
        elif step == "move" and times:
            times[sorted(times)[number % len(times)]] = now + 10
        elif step == "drop" and times:
            del times[sorted(times)[number % len(times)]]
        else:
            late = {job_id for job_id, time in times.items() if time < now}
            assert set(deadlines.due(now)) == late
            for job_id in late:
                del times[job_id]
            upcoming = deadlines.next()
            if times:
                assert upcoming is not None
                assert upcoming <= min(times.values())
            else:
                assert upcoming is None
