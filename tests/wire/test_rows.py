"""Rows for the wire, made once."""

import pytest

from spalloc_server._wire import rows as _rows
from spalloc_server._wire.rows import RowCache, job_row, machine_row, state_row
from spalloc_server.controller import JobState, JobStateTuple, JobTuple, MachineTuple
from spalloc_server.links import Links


def job(job_id: int, **changes: object) -> JobTuple:
    row = JobTuple(
        job_id, "me", 5.0, None, JobState.ready, True, (3,), {"tags": {"b", "a"}}, "m",
        {(0, 0, 1), (0, 0, 0)}, "",
    )  # fmt: skip
    return row._replace(**changes)  # type: ignore[arg-type]


def test_a_job_reads_as_the_protocol_has_it() -> None:
    assert job_row(job(1)).json == (
        b'{"job_id": 1, "owner": "me", "start_time": 5.0, "keepalive": null, "state": 3, '
        b'"power": true, "args": [3], "kwargs": {"tags": ["a", "b"]}, '
        b'"allocated_machine_name": "m", "boards": [[0, 0, 0], [0, 0, 1]], "keepalivehost": ""}'
    )


def test_a_row_keeps_what_was_asked_for_as_a_tuple() -> None:
    assert job_row(job(1))["args"] == (3,)


def test_a_queued_job_has_no_boards() -> None:
    assert job_row(job(1, boards=None))["boards"] is None


def test_a_machine_reads_as_the_protocol_has_it() -> None:
    row = MachineTuple("m", {"y", "x"}, 2, 1, {(1, 0, 0)}, {(0, 0, 0, Links.south)})

    assert machine_row(row).json == (
        b'{"name": "m", "tags": ["x", "y"], "width": 2, "height": 1, '
        b'"dead_boards": [[1, 0, 0]], "dead_links": [[0, 0, 0, 5]]}'
    )


def test_a_state_reads_as_the_protocol_has_it() -> None:
    state = JobStateTuple(JobState.destroyed, None, None, "over", None, None)

    assert state_row(state).json == (
        b'{"state": 4, "power": null, "keepalive": null, "reason": "over", '
        b'"start_time": null, "keepalivehost": null}'
    )


def test_a_row_is_made_anew_only_if_it_changed() -> None:
    cache = RowCache(job_row)
    first, second = cache.rows([job(1), job(2)])

    rows = cache.rows([job(2), job(1, owner="you"), job(3)])

    assert rows[0] is second
    assert rows[1] is not first
    assert [row["owner"] for row in rows] == ["me", "you", "me"]


def test_the_array_is_the_same_as_long_as_its_rows_are() -> None:
    cache, jobs = RowCache(job_row), [job(1), job(2)]
    first = cache.rows(jobs)

    assert cache.rows(jobs) is first
    assert cache.rows([job(1), job(2)]) is first
    for changed in ([job(2), job(1)], [job(1)], [job(1), job(2), job(3)], [job(1, power=False)]):
        now = cache.rows(changed)
        assert now is not first
        assert [row["job_id"] for row in now] == [each.job_id for each in changed]
        first = now


def test_rows_that_are_gone_are_forgotten() -> None:
    cache = RowCache(job_row)
    cache.rows([job(1), job(2)])

    cache.rows([job(2)])

    assert list(cache._kept) == [2]


def test_one_row_is_made_anew_for_any_other_tuple() -> None:
    cache = RowCache(state_row)
    state = JobStateTuple(JobState.queued, None, 60.0, None, 5.0, "127.0.0.1")
    like_it = state._replace(keepalive=60.0)
    first = cache.row(1, state)

    assert cache.row(1, state) is first
    assert cache.row(2, state) is not first
    assert cache.row(1, like_it) is not first
    assert cache.row(1, state._replace(power=True))["power"] is True


def test_rows_kept_one_by_one_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_rows, "_MOST_KEPT", 3)
    cache = RowCache(state_row)
    states = [JobStateTuple(JobState.unknown, None, None, None, n, None) for n in range(5)]

    rows = [cache.row(n, state) for n, state in enumerate(states)]

    assert [row["start_time"] for row in rows] == [0, 1, 2, 3, 4]
    assert cache.row(0, states[0]) is not rows[0]
    assert cache.row(4, states[4]) is rows[4]
