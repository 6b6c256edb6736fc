"""Jobs of a server that lost its state, and gave their numbers to others."""

import os
import select
from collections.abc import Callable
from typing import Any

import pytest
from spalloc_client import Job, JobDestroyedError, JobState
from spalloc_client._answers import read_jobs
from spalloc_client._endpoint import Endpoint
from spalloc_client._identity import Identity, JobReplacedError
from spalloc_client._keepalive_process import _Birth, _FirstLine
from spalloc_client._program import CommandError
from spalloc_client._session import Session
from spalloc_client.scripts._hold import Guard
from spalloc_client.scripts._progress import Progress

from tests.fake_server import FakeServer

LATER = 1_700_000_100.0


def make(server: FakeServer, **kwargs: Any) -> Job:
    given = {"owner": "me", "keepalive": None, "reconnect_delay": 0.01, "timeout": 10.0, **kwargs}
    return Job(
        hostname="127.0.0.1", port=server.port, **{"config_filenames": [], **given}
    )


def replace_jobs(server: FakeServer, **changes: Any) -> None:
    """Have the server start anew, with a job of somebody else under the number 1."""
    server.stop()
    server.jobs.clear()
    server.add_job(**{"owner": "bob", "start_time": LATER, **changes})
    server.start()


GONE = "job 1 is gone: the server lost its state, and has given the number 1 to a job of "


@pytest.mark.parametrize(
    ("changes", "owner"),
    [({}, "bob"), ({"owner": "me"}, "me"), ({"start_time": None}, "bob")],
)
def test_a_job_of_somebody_else_is_not_ended(
    server: FakeServer, changes: dict[str, Any], owner: str
) -> None:
    job = make(server)
    job.wait_until_ready()
    replace_jobs(server, **changes)

    with pytest.raises(JobDestroyedError, match=GONE + owner):
        job.destroy()

    assert list(server.jobs) == [1]
    assert server.calls("destroy_job") == []
    server.wait_clients(0)


def test_leaving_the_block_does_not_end_it_either(
    server: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    with make(server):
        replace_jobs(server)

    assert list(server.jobs) == [1]
    assert caplog.messages == [GONE + "bob"]


ASKING: list[Callable[[Job], object]] = [
    lambda job: (job.state, job.reason),
    lambda job: (job.wait_for_state_change(JobState.ready), job.reason),
]


@pytest.mark.parametrize("ask", ASKING)
def test_the_job_is_unknown_then_and_says_why(
    server: FakeServer, ask: Callable[[Job], object]
) -> None:
    with make(server) as job:
        replace_jobs(server)

        assert ask(job) == (JobState.unknown, GONE + "bob")
        assert (job.power, job.hostname, job.boards) == (None, None, None)
        with pytest.raises(JobDestroyedError, match=GONE):
            job.wait_until_ready()
        with pytest.raises(JobDestroyedError, match=GONE):
            job.set_power(False)

    for name in ("power_off_job_boards", "get_job_machine_info", "destroy_job"):
        assert server.calls(name) == []


def test_the_command_says_so_too(server: FakeServer) -> None:
    talk = Session(Endpoint("127.0.0.1", server.port), 10.0, 0.01)
    with make(server) as job, Guard(job, talk, Progress(quiet=True)) as guard:
        replace_jobs(server)

        with pytest.raises(CommandError, match=GONE + "bob"):
            guard.look()
    talk.close()


def test_a_job_that_is_taken_over_is_recognised_by_its_time(server: FakeServer) -> None:
    job_id = server.add_job(owner="ann", keepalive=None)
    job = make(server, resume_job_id=job_id)
    replace_jobs(server, owner="ann")

    assert job.state is JobState.unknown
    job.close()


def test_a_server_that_kept_its_state_goes_on(server: FakeServer) -> None:
    with make(server) as job:
        server.stop()
        server.jobs[1]["start_time"] += 0.4  # told in other digits
        server.start()

        assert job.state is JobState.ready

    assert server.reasons == {1: None}


def test_a_job_that_is_lost_at_once_is_recognised_by_its_owner(server: FakeServer) -> None:
    job = make(server)
    replace_jobs(server)

    assert job.state is JobState.unknown
    job.close()


def test_a_number_that_nobody_has_is_left_to_the_server() -> None:
    identity = Identity("me")
    identity.learn(5.0)

    identity.check(7, [])


def test_servers_that_tell_no_times_are_believed(server: FakeServer) -> None:
    server.add_job(owner="me", start_time=None)
    rows = read_jobs(server.do_list_jobs())
    identity = Identity("me")

    identity.check(1, rows)
    identity.learn(5.0)
    identity.check(1, rows)
    with pytest.raises(JobReplacedError, match=r"a job of me\\x1b$"):
        Identity("you").check(1, [rows[0]._replace(owner="me\x1b")])


def test_signs_of_life_stop(server: FakeServer) -> None:
    with make(server, keepalive=0.1) as job:
        server.wait_heard("job_keepalive", 2)
        assert job._guard is not None
        assert job._guard.pid is not None
        ended = os.pidfd_open(job._guard.pid)

        replace_jobs(server)

        assert select.select([ended], [], [], 30)[0]
        os.close(ended)


def test_signs_of_life_go_on_for_a_job_that_is_still_there(server: FakeServer) -> None:
    with make(server, keepalive=0.1):
        server.wait_heard("job_keepalive", 2)
        server.drop_clients()
        server.wait_heard("job_keepalive", len(server.calls("job_keepalive")) + 5)


# --- the parts of the keepalive program ---


def test_the_first_line_is_taken_whole_and_once() -> None:
    reply = _FirstLine()

    fed = [reply.feed(part) for part in (b"ab", b"", b"c\nd", b"e\n")]
    assert fed == [None, None, "abc", None]


@pytest.mark.parametrize(
    "line", ["", "7", "{}", '{"exception": "no"}', '{"return": {"start_time": null}}', "\ufffd"]
)
def test_answers_without_a_time_say_nothing(line: str) -> None:
    born = _Birth()
    born.check('{"return": {"start_time": 5.0}}')

    born.check(line)
    born.check('{"return": {"start_time": 5.9}}')
    with pytest.raises(SystemExit):
        born.check('{"return": {"start_time": 6.0}}')
