"""The client against our server, as a process of its own, on simulated hardware.

Each test gives its boards back.
"""

import json
import re
from collections.abc import Iterator

import pytest
from spalloc_client import JobDestroyedError, JobState, ProtocolClient

from tests.commands import Run, runner
from tests.real_server import OurServer, make_job, our_server


@pytest.fixture(scope="module")
def ours() -> Iterator[OurServer]:
    with our_server() as server:
        yield server


@pytest.fixture
def port(ours: OurServer) -> int:
    return ours.port


@pytest.fixture
def run(port: int, capfd: pytest.CaptureFixture[str]) -> Run:
    return runner("localhost", port, capfd)


def test_a_job_from_asking_to_destroying(port: int) -> None:
    with make_job(port, 3, max_dead_boards=0) as job_:
        assert job_.state is JobState.ready
        assert job_.power is True
        assert job_.machine_name == "frame"
        assert job_.boards is not None
        assert len(job_.boards) == 3
        assert job_.connections is not None
        assert set(job_.connections) == {(0, 0), (8, 4), (4, 8)}
        assert job_.hostname == job_.connections[0, 0]
        assert (job_.width, job_.height) == (16, 16)
        cabinet, frame, board = job_.where_is_machine(8, 4)
        assert (cabinet, frame) == (0, 0)
        assert 0 <= board < 24
        with pytest.raises(ValueError, match="no chip"):
            job_.where_is_machine(500, 0)

        job_.set_power(False)
        job_.wait_until_ready()
        assert job_.power is False
        job_.reset()
        job_.wait_until_ready()
        assert job_.power is True

    assert job_.state is JobState.destroyed


def test_a_job_can_be_taken_over(port: int) -> None:
    first = make_job(port)
    first.wait_until_ready()
    first.close()

    with make_job(port, resume_job_id=first.id, owner=None) as second:
        assert second.id == first.id
        assert second.keepalive == 60.0

    with pytest.raises(JobDestroyedError):
        make_job(port, resume_job_id=first.id)
    with pytest.raises(JobDestroyedError):
        make_job(port, resume_job_id=1_000_000)


def test_a_job_waits_for_its_turn(port: int) -> None:
    with make_job(port, machine="desk") as first:
        second = make_job(port, machine="desk")
        assert second.state is JobState.queued
        assert second.wait_for_state_change(JobState.queued, 0) is JobState.queued

        first.destroy()

        second.wait_until_ready()
        second.destroy("done")
        assert second.reason == "done"


def test_a_job_destroyed_by_somebody_else_says_why(port: int) -> None:
    with make_job(port) as job_, ProtocolClient("localhost", port, 30) as client:
        client.notify_job(job_.id)
        client.destroy_job(job_.id, "fire drill")

        assert job_.wait_for_state_change(JobState.ready) is JobState.destroyed
        assert job_.reason == "fire drill"
        assert client.wait_for_notification(30) == {"jobs_changed": [job_.id]}


def test_a_job_that_suits_no_machine_is_destroyed_at_once(port: int) -> None:
    no_machine = pytest.raises(JobDestroyedError, match="No suitable machines available")
    with no_machine, make_job(port, 25):
        raise AssertionError("not reached")


def test_spalloc_runs_a_command_with_boards(port: int, run: Run) -> None:
    status, out, _ = run("spalloc 2 --owner me -q -c echo {} {w} {h} {id}")

    assert status == 0
    assert re.fullmatch(r"[\d.]+ 16 16 \d+\n", out)
    assert run("spalloc-ps -o me")[1].count("\n") == 1


def test_spalloc_tells_which_limit_excludes_which_machine(port: int, run: Run) -> None:
    status, out, err = run("spalloc 4 2 --owner me -q")

    assert (status, out) == (1, "")
    assert err.splitlines()[:3] == [
        "No machine suits:",
        "  frame  --max-dead-boards 0: at least 1 of 24 boards are dead or cut off",
        "  desk   --tags: lacks default",
    ]


def test_the_map_counts_as_the_server_does(port: int, run: Run) -> None:
    with make_job(port, 6) as first, make_job(port) as second:
        out = run("spalloc-machine frame")[1]
        picture = "\n".join(out.splitlines()[6:-2])

        assert first.boards is not None
        letters = {
            int(match[2]): match[1] for match in re.finditer(r"(\w+)  job (\d+)", out)
        }
        assert picture.count(f" {letters[first.id]} ") == len(first.boards)
        assert picture.count(f" {letters[second.id]} ") == 1
        assert picture.count(" . ") == 23 - len(first.boards) - 1
        assert picture.count("#") == 3
        data = json.loads(run("spalloc-machine frame --json")[1])
        assert (data["num_boards"], data["in_use"]) == (23, len(first.boards) + 1)
        assert str(first.id) in run("spalloc-ps")[1]


def test_job_shows_and_switches(port: int, run: Run) -> None:
    with make_job(port, 3) as job_:
        out = run(f"spalloc-job {job_.id}")[1]
        assert "State: ready" in out
        assert out.count(" A ") == 3
        assert run(f"spalloc-job {job_.id} --power-off")[0] == 0
        assert job_.power is False
        assert run(f"spalloc-job {job_.id} -p")[0] == 0
        assert job_.power is True
        hosts = run(f"spalloc-job {job_.id} -e")[1].splitlines()
        assert hosts[0] == "x,y,hostname"
        assert len(hosts) == 4
        assert run(f"spalloc-job {job_.id} -D")[0] == 0
        assert job_.state is JobState.destroyed


def test_all_ways_to_say_where_a_board_is_agree(port: int, run: Run) -> None:
    with make_job(port, 1, 0, 2) as job_:
        answers = [
            json.loads(run(f"spalloc-where-is --json {way}")[1])
            for way in (
                "-b frame 1 0 2",
                "-l frame 1 0 2",
                "-p frame 0 0 5",
                "-c frame 16 8",
                f"-j {job_.id} 0 0",
            )
        ]

        assert all(answer == answers[0] for answer in answers)
        assert answers[0]["logical"] == [1, 0, 2]
        assert answers[0]["physical"] == [0, 0, 5]
        assert answers[0]["job_id"] == job_.id
        assert "Cabinet 0, Frame 0, Board 5" in run("spalloc-where-is -b frame 1 0 2")[1]


def test_jobs_outlive_a_restart_of_our_server(ours: OurServer) -> None:
    with make_job(ours.port, 3) as job_:
        before = job_.boards, job_.connections
        ours.stop()
        ours.start()

        job_.wait_until_ready()
        assert (job_.boards, job_.connections) == before
        job_.reset()
        job_.wait_until_ready()
    assert job_.state is JobState.destroyed
