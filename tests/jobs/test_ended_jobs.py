"""Jobs that have ended."""

import tracemalloc

from spalloc_server._jobs.ended_jobs import MAX_BYTES, EndedJob, EndedJobs, Ending, plain_row

JOB = {
    "owner": "me",
    "host": "10.0.0.1",
    "start_time": 1.0,
    "allocated_at": 2.0,
    "ready_at": 3.0,
}
ENDING = {"at": 4.0, "by": "client", "host": "10.0.0.9"}


def row(owner: str = "me") -> list[object]:
    return plain_row({**JOB, "owner": owner}, ("m", (0, 0, 1, 1), 3), ENDING)


def ended(*ids: int, most: int = 10) -> EndedJobs:
    jobs = EndedJobs(most)
    for job_id in ids:
        jobs.add(job_id, f"reason {job_id}", row())
    return jobs


def test_a_row_tells_the_life_of_a_job() -> None:
    assert ended(7).rows(10) == [
        EndedJob(
            7, "me", "10.0.0.1", 1.0, 2.0, 3.0, 4.0, "m", [0, 0, 1, 1], 3, "reason 7", "client",
            "10.0.0.9",
        )
    ]  # fmt: skip


def test_a_job_that_never_had_boards_has_no_place() -> None:
    jobs = EndedJobs(10)
    jobs.add(7, None, plain_row({**JOB, "allocated_at": None}, None, ENDING))

    (told,) = jobs.rows(1)
    assert (told.machine, told.place, told.boards, told.allocated) == (None, None, None, None)


def test_a_job_of_an_older_state_has_its_reason_only() -> None:
    jobs = EndedJobs(10)
    jobs.add(7, "over", None)

    assert jobs.rows(1) == [EndedJob(7, reason="over")]


def test_rows_come_newest_first_and_in_pages() -> None:
    jobs = ended(1, 2, 5, 3, 4)

    assert [job.job_id for job in jobs.rows(2)] == [4, 3]
    assert [job.job_id for job in jobs.rows(2, before=3)] == [5, 2]
    assert [job.job_id for job in jobs.rows(9, before=5)] == [2, 1]
    assert jobs.rows(0) == jobs.rows(9, before=1) == jobs.rows(9, before=99) == []


def test_the_oldest_are_forgotten() -> None:
    jobs = ended(1, 2, 3, most=2)
    assert list(jobs.reasons) == list(jobs.plain_rows()) == [2, 3]

    jobs.most = 1
    assert list(jobs.reasons) == list(jobs.plain_rows()) == [3]


def test_all_rows_together_take_a_mebibyte_at_most() -> None:
    tracemalloc.start()
    jobs = EndedJobs(1200)
    reason = "r"
    before, _ = tracemalloc.get_traced_memory()

    for job_id in range(5000):
        jobs.add(job_id, reason, row(owner="\U0001f600" * 1024))
    full, _ = tracemalloc.get_traced_memory()
    many = len(jobs.plain_rows())
    for job_id in range(5000, 10_000):
        jobs.add(job_id, reason, row())
    usual, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    # The reasons and their ids are remembered besides.
    assert full - before < MAX_BYTES + 200 * 1200
    assert usual - before < MAX_BYTES + 200 * 1200
    assert 200 < many < 300
    assert len(jobs.plain_rows()) == len(jobs.reasons) == 1200


def test_names_of_any_kind_survive_as_plain_builtins() -> None:
    jobs = EndedJobs(10)
    jobs.add(7, "over", row(owner="\ud800 \u00e9"))
    again = EndedJobs(10)

    again.impose(jobs.reasons.items(), jobs.plain_rows())

    assert again.rows(1) == jobs.rows(1)
    assert again.rows(1)[0].owner == "\ud800 \u00e9"


def test_an_ending_names_the_party() -> None:
    assert str(Ending("client", "10.0.0.9")) == "client 10.0.0.9"
    assert str(Ending("keepalive")) == "keepalive"
