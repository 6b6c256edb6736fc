"""The client against our server, as a process of its own, on simulated hardware.

Each test gives its boards back.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from spalloc_client import (
    Job,
    JobDestroyedError,
    JobState,
    ProtocolClient,
    SpallocServerException,
)

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
def run(
    port: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setenv("SPALLOC_TIMEOUT", "60")  # the computer may be busy
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


# --- commands of server 1.1.0 ---


def test_every_command_of_the_server_is_a_method(port: int) -> None:
    with ProtocolClient("localhost", port, 60) as client:
        commands = client.get_facility()["commands"]

    assert [name for name in commands if not hasattr(ProtocolClient, name)] == []


def test_boards_out_of_service_have_a_sign_and_a_reason(ours: OurServer, run: Run) -> None:
    ours.quarantine("add", "frame:1,1,0", "--reason", "noisy fan")

    out = run("spalloc-machine frame")[1]
    data = json.loads(run("spalloc-machine frame --json")[1])
    where = run("spalloc-where-is -b frame 1 1 0")[1]
    ours.quarantine("release", "frame:1,1,0")

    assert "23 (0 in use, 22 free, 1 out)" in out
    assert " ! " in out
    assert re.search(r"^out: \(1,1,0\): .*noisy fan", out, re.MULTILINE)
    assert data["board_counts"] == {"used": 0, "free": 22, "out": 1, "dead": 1}
    assert re.search(r"Board state: out: .*noisy fan", where)
    assert "22 free, 1 out" not in run("spalloc-machine")[1]


def test_waiting_jobs_tell_why(port: int, run: Run) -> None:
    with make_job(port, machine="desk"):
        second, third = make_job(port, machine="desk"), make_job(port, machine="desk")

        table = run("spalloc-ps")[1].splitlines()
        shown = run(f"spalloc-job {third.id}")[1]
        told = json.loads(run("spalloc-ps --json")[1])
        status, _, err = run("spalloc --owner me -m desk --max-wait 0")
        second.destroy()
        third.destroy()

    assert table[0].split()[-2:] == ["Waiting", "Why"]
    assert re.search(r" \d+ s  \w.*; first in line$", table[2])
    assert f"Queue: number 2 in line, 1 job ahead: {second.id}\n" in shown
    assert "  Why: " in shown
    assert [job["outlook"] and job["outlook"]["position"] for job in told] == [None, 1, 2]
    assert status == 75
    assert f"number 3 in line, 2 jobs ahead: {second.id}, {third.id}; " in err


def test_a_board_is_found_by_its_address(port: int, run: Run) -> None:
    with make_job(port, 1, 0, 2) as job_:
        place = json.loads(run(f"spalloc-where-is --json -a frame {job_.hostname}")[1])

        assert place["logical"] == [1, 0, 2]
        assert place["state"] == "used"
    assert "nothing at address 10.9.8.7" in run("spalloc-where-is -a frame 10.9.8.7")[2]


def test_trouble_is_reported_and_jobs_change_hands(ours: OurServer, port: int, run: Run) -> None:
    with make_job(port, 3) as job_:
        assert job_.boards is not None
        board = ",".join(map(str, job_.boards[0]))
        assert "noted" in run(f"spalloc-job {job_.id} --report {board} hot")[2]
        assert "noted" in run(f"spalloc-job {job_.id} --report {job_.hostname} hot")[2]

        code = run(f"spalloc-job {job_.id} --takeover-code")[1].strip()
        wrong = pytest.raises(SpallocServerException, match="this is not the code")
        with wrong, make_job(port, resume_job_id=job_.id, takeover_code="0" * 32):
            raise AssertionError("not reached")
        other = Job(
            hostname=ours.socket, resume_job_id=job_.id, takeover_code=code, config_filenames=[]
        )
        other.close()
        with wrong, make_job(port, resume_job_id=job_.id, takeover_code=code):
            raise AssertionError("not reached")  # it worked once


def test_numbers_that_make_a_whole_machine_are_told(port: int, run: Run) -> None:
    refused = run("spalloc --owner me --max-dead-boards -1 -w 21")
    with make_job(port, 22, max_dead_boards=None, require_torus=True) as job_:
        assert job_.boards is not None
        assert len(job_.boards) == 23

    assert (
        "frame  --require-torus: only its whole 4 x 2 triads wrap around; "
        "22 to 24 boards make it, not 21"
    ) in refused[2]


def test_a_dead_cable_counts_once(port: int, run: Run) -> None:
    """The machine names both ends of its only dead cable."""
    request = "spalloc --owner me --max-dead-boards -1 4 2 --max-dead-links"

    assert run(f"{request} 1 -q -c true")[0] == 0
    refused = run(f"{request} 0 -q -c true")
    assert "frame  --max-dead-links 0: at least 1 link is dead" in refused[2]


def test_a_server_that_lost_its_state_keeps_strangers_jobs(tmp_path: Path) -> None:
    mine = OurServer(tmp_path)
    with make_job(mine.port, machine="desk") as job_:
        mine.stop()
        for file in tmp_path.glob(".test.cfg*"):
            file.unlink()
        mine.start()
        stranger = make_job(mine.port, owner="bob", keepalive=None)
        assert stranger.id == job_.id

        with pytest.raises(JobDestroyedError, match=r"is gone: the server lost its state, .* bob"):
            job_.destroy()

        assert stranger.state is not JobState.destroyed
        stranger.destroy()
        mine.stop()
