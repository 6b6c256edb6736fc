"""The client against the published server 1!7.0.0, which no published client accepts.

Its boards take five seconds to switch on, so that the tests share them.
"""

import json
from collections.abc import Iterator

import pytest
from spalloc_client import Job, JobDestroyedError, JobState, ProtocolClient, SpallocServerException

from tests.commands import Run, runner
from tests.real_server import make_job, original_server


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with original_server() as port:
        yield port


@pytest.fixture(scope="module")
def three_boards(port: int) -> Iterator[Job]:
    with make_job(port, 3) as job_:
        yield job_


@pytest.fixture
def run(
    port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setenv("SPALLOC_TIMEOUT", "60")  # the computer may be busy
    return runner("localhost", port, capfd)


def test_its_version_is_the_one_that_others_refuse(port: int) -> None:
    with ProtocolClient("localhost", port, 30) as client:
        assert client.version() == "1!7.0.0"


def test_a_job_has_boards(three_boards: Job) -> None:
    assert three_boards.state is JobState.ready
    assert three_boards.power is True
    assert three_boards.connections is not None
    assert set(three_boards.connections) == {(0, 0), (8, 4), (4, 8)}
    assert three_boards.hostname == three_boards.connections[0, 0]
    assert (three_boards.width, three_boards.height) == (16, 16)
    assert three_boards.where_is_machine(0, 0)[:2] == (0, 0)


def test_the_commands_show_it(three_boards: Job, run: Run) -> None:
    number = three_boards.id
    row = run("spalloc-ps")[1].splitlines()[1].split()
    assert row[:5] == [str(number), "ready", "on", "3", "frame"]
    picture = run("spalloc-machine frame")[1]
    assert picture.count(" A ") == 4  # three boards and the key
    assert run(f"spalloc-job {number}")[1].count(" A ") == 3
    assert len(run(f"spalloc-job {number} -e")[1].splitlines()) == 4
    ways = ("-b frame 0 0 1", "-p frame 0 0 1", "-c frame 8 4", f"-j {number} 8 4")
    answers = [json.loads(run(f"spalloc-where-is --json {way}")[1]) for way in ways]
    assert all(answer == answers[0] for answer in answers)
    assert answers[0]["job_id"] == number


def test_its_boards_can_be_switched(three_boards: Job, run: Run) -> None:
    assert run(f"spalloc-job {three_boards.id} --power-off")[0] == 0
    assert three_boards.power is False
    three_boards.reset()
    assert three_boards.wait_for_state_change(JobState.power) is JobState.ready
    assert three_boards.power is True


def test_a_job_is_taken_over_queued_and_destroyed(port: int) -> None:
    first = make_job(port, 7)
    second = make_job(port, 20)
    assert second.wait_for_state_change(JobState.power, 0) is JobState.queued
    first.close()

    with make_job(port, resume_job_id=first.id) as third:
        assert third.id == first.id
        third.destroy("fire drill")
    second.destroy()

    assert first.reason == "fire drill"
    with pytest.raises(JobDestroyedError, match="fire drill"):
        make_job(port, resume_job_id=first.id)


def test_refusals_are_told(port: int, run: Run) -> None:
    with ProtocolClient("localhost", port, 30) as client:
        with pytest.raises(SpallocServerException, match="owner"):
            client.create_job()
        assert client.version() == "1!7.0.0"
    status, _, err = run("spalloc 4 2 --owner me -q")
    assert status == 1
    assert "  desk   --tags: lacks default" in err.splitlines()
