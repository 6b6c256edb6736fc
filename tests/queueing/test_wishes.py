"""Equal requests are known by a number, for a while."""

import pytest

from spalloc_server._queueing import holdings
from spalloc_server.job_queue import JobQueue


def test_requests_beyond_the_most_are_told_apart_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holdings, "_MOST_WISHES", 2)
    given: list[int] = []
    queue = JobQueue(lambda job_id, *_: given.append(job_id), lambda *_: None, lambda *_: None)
    queue.scheduling = "overtaking"
    queue.add_machine("m", 4, 4)
    for job_id, number in enumerate((1, 4, 7, 1, 10, 1)):
        queue.create_job(number, job_id=job_id)

    assert given == [0, 1, 2, 3, 4, 5]
    assert queue.allocated_for(99) is None
