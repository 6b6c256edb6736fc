"""The commands against a server that tells board states and reasons for waiting."""

import json
import re
from typing import Any

import pytest
from spalloc_client import Job
from spalloc_client._endpoint import Endpoint
from spalloc_client._session import Session
from spalloc_client.scripts._hold import Guard
from spalloc_client.scripts._progress import Progress

from tests.commands import Run, runner
from tests.fake_server import MACHINE, NEW_COMMANDS, FakeServer
from tests.screen import Terminal

PLACE = {
    "machine": "demo",
    "logical": [2, 0, 0],
    "physical": [2, 4, 7],
    "chip": [24, 0],
    "board_chip": [0, 0],
    "job_id": None,
    "job_chip": None,
}

WHY = "12 boards are free, but no place for 2 x 1 triads"


@pytest.fixture
def server(newer: FakeServer) -> FakeServer:
    """A server with two jobs that have boards, one that waits, and boards in all states."""
    newer.add_job(owner="ann")
    newer.add_job(owner="bob", args=[4], boards=[[1, 0, z] for z in range(3)], keepalive=None)
    newer.add_job(
        owner="ann",
        state=1,
        power=None,
        args=[2, 1],
        kwargs={"tags": ["fast"]},
        allocated_machine_name=None,
        boards=None,
        keepalivehost="",
    )
    for z in range(3):
        newer.board_states["demo", (2, 0, z)] = ("out", "since 13:10 UTC (power on refused)")
        newer.board_states["demo", (3, 0, z)] = ("resting", "until 14:03 UTC")
    newer.board_states["demo", (0, 0, 0)] = ("free", "unknown: its frame does not answer")
    newer.board_states["demo", (0, 1, 0)] = ("unknown", "frame c0 f1 does not answer")
    newer.board_states["demo", (0, 2, 0)] = ("draining", None)
    newer.board_states["demo", (0, 2, 1)] = ("reserved", "for ann from 15:00 UTC")
    newer.board_states["demo", (0, 2, 2)] = ("molten", "too hot")
    newer.outlooks[3] = {
        "machines": [{"name": "demo", "why": WHY, "until": None}],
        "expected": [600, 4200],
    }
    return newer


@pytest.fixture
def run(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> Run:
    return runner("127.0.0.1", server.port, capsys)


# --- spalloc-ps ---


def test_ps_tells_how_long_jobs_wait_and_why(run: Run) -> None:
    lines = run("spalloc-ps")[1].splitlines()

    assert lines[0].split("Owner (Host)")[1].split() == ["Waiting", "Why"]
    assert lines[1].endswith("60 s  ann (127.0.0.1)")
    assert lines[3].endswith(f"60 s  ann               13 min  {WHY}; first in line")


def test_ps_tells_no_time_that_it_does_not_know(server: FakeServer, run: Run) -> None:
    server.change(3, start_time=None)

    row = run("spalloc-ps")[1].splitlines()[3]
    assert re.search(r"60 s  ann +12 boards are free", row)


def test_ps_keeps_the_reason_where_there_is_little_room(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "70")

    assert run("spalloc-ps")[1].splitlines() == [
        "ID State  Boards Machi… Owner… Waiting Why",
        " 1 ready       1 demo   ann (…",
        " 2 ready       3 demo   bob (…",
        " 3 queued      6        ann     13 min 12 boards are free, but no pla…",
    ]


def test_ps_gives_programs_the_whole_outlook(run: Run) -> None:
    jobs = json.loads(run("spalloc-ps --json")[1])

    assert [job["outlook"] and job["outlook"]["position"] for job in jobs] == [None, None, 1]
    assert jobs[2]["outlook"]["machines"] == [{"name": "demo", "why": WHY, "until": None}]


# --- spalloc-machine ---

TABLE = """\
Name    Num boards  In-use  Jobs  Tags           Other boards
demo            34       4     2  default, fast  20 free, 4 out, 1 unknown, 3 resting, \
1 draining, 1 reserved
little           1       0     0  desk           1 free
"""

DEMO = """\
Machine: demo
   Size: 4 x 3 triads
 Boards: 34 (4 in use, 20 free, 4 out, 1 unknown, 3 resting, 1 draining, 1 reserved), 2 dead, \
3 dead links
   Jobs: 2
   Tags: default, fast

 ___     ___     ___     ___
/ ! \\___/ . \\___/ . \\___/ . \\
\\___/ + \\___/ . \\___/ . \\___/
/ - \\___/ . \\___/ . \\___/ . \\___
\\___/ . \\___/   \\___/ . \\___/ . \\___
    \\___/ . \\___/ . \\___/ . \\___/ . \\
    / ? \\___/ . \\___/ . \\___# . \\___/
    \\___/ . \\___/ B \\___/ ! \\___/ ~ \\___
        \\###/ . \\___/ B \\___/ ! \\___/ ~ \\
        / A \\___/ B \\___/ ! #___/ ~ \\___/
        \\___/   \\___/   \\___/   \\___/

.  free   ~  resting   !  out   ?  unknown   -  draining   +  reserved   #  dead link   A  job 1\
   B  job 2

job 1: (0,0,0): unknown: its frame does not answer
unknown: (0,1,0): frame c0 f1 does not answer
reserved: (0,2,1): for ann from 15:00 UTC
out: (0,2,2): too hot
out: (2,0,0) (2,0,1) (2,0,2): since 13:10 UTC (power on refused)
and 1 more reason; --detailed tells all
"""


def test_machines_tell_the_boards_in_each_state(run: Run) -> None:
    assert run("spalloc-machine") == (0, TABLE, "")


def test_a_machine_has_a_sign_for_each_state(run: Run) -> None:
    assert run("spalloc-machine demo") == (0, DEMO, "")


def test_in_detail_all_reasons_are_told(run: Run) -> None:
    lines = run("spalloc-machine demo -d")[1].splitlines()

    assert "resting: (3,0,0) (3,0,1) (3,0,2): until 14:03 UTC" in lines
    assert lines[-2:] == ["A      1  ready       1  ann", "B      2  ready       3  bob"]


def test_a_machine_gives_programs_its_boards(server: FakeServer, run: Run) -> None:
    demo = json.loads(run("spalloc-machine demo --json")[1])

    assert demo["board_counts"] == {
        "used": 4, "free": 20, "out": 4, "unknown": 1, "resting": 3, "draining": 1,
        "reserved": 1, "dead": 2,
    }  # fmt: skip
    assert demo["boards"] == server.do_list_boards("demo")["boards"]  # type: ignore[index]


def test_a_machine_that_goes_meanwhile_is_shown_without_boards(
    server: FakeServer, run: Run
) -> None:
    server.behave["list_boards"] = lambda _: None

    assert "0 (0 in use, 0 free)" in run("spalloc-machine demo")[1]
    assert "board_counts" not in json.loads(run("spalloc-machine demo --json")[1])
    assert "boards" not in run("spalloc-job 1")[2]
    assert run("spalloc-machine")[1].splitlines()[1].endswith("0 free")


def test_a_live_machine_follows_boards_that_go_out_of_service(server: FakeServer) -> None:
    address = ["-H", "127.0.0.1", "-P", str(server.port)]
    with Terminal(["spalloc-machine", *address, "little", "-w"]) as terminal:
        terminal.wait_for(lambda lines: any("(0 in use, 1 free)" in line for line in lines))
        server.board_states["little", (0, 0, 0)] = ("out", "power on refused")

        server.tell({"events_until": 8})

        terminal.wait_for(lambda lines: any("(0 in use, 0 free, 1 out)" in x for x in lines))


# --- spalloc-job ---


def test_a_waiting_job_tells_place_reason_and_expectation(run: Run) -> None:
    assert run("spalloc-job 3")[1].splitlines()[-3:] == [
        "     Queue: first in line",
        f"       Why: {WHY}",
        "  Expected: similar requests waited 10 min to 70 min lately; not promised",
    ]
    assert json.loads(run("spalloc-job 3 --json")[1])["outlook"]["expected"] == [600, 4200]


def test_a_job_tells_of_trouble_with_its_boards(run: Run) -> None:
    assert run("spalloc-job 1")[1].splitlines()[-1] == (
        "job 1: (0,0,0): unknown: its frame does not answer"
    )
    assert json.loads(run("spalloc-job 1 --json")[1])["outlook"] is None


def test_a_job_that_is_moved_tells_what_failed(server: FakeServer, run: Run) -> None:
    why = "board (0,0,0) failed (power on refused); try 2 of 3"
    server.outlooks[1] = {"machines": [{"name": "demo", "why": why, "until": None}]}
    server.change(1, state=1, power=None, boards=None, allocated_machine_name=None)

    assert f"       Why: {why}\n" in run("spalloc-job 1")[1]


# --- spalloc-where-is ---


def test_where_is_tells_the_state_of_the_board(server: FakeServer, run: Run) -> None:
    server.behave["where_is"] = lambda **_: PLACE

    status, out, err = run("spalloc-where-is -b demo 2 0 0")
    told = json.loads(run("spalloc-where-is --json -b demo 2 0 0")[1])

    assert (status, err) == (0, "")
    assert out.endswith("\n             Board state: out: since 13:10 UTC (power on refused)\n")
    assert told == {**PLACE, "state": "out", "text": "since 13:10 UTC (power on refused)"}


def test_where_is_finds_a_board_by_address(server: FakeServer, run: Run) -> None:
    server.behave["where_is"] = lambda **_: PLACE

    assert run("spalloc-where-is -a demo 10.0.0.1")[0] == 0
    assert server.calls("where_is") == [([], {"machine": "demo", "address": "10.0.0.1"})]

    server.behave["where_is"] = lambda **_: None
    assert run("spalloc-where-is --address demo 10.0.0.2")[2] == (
        "spalloc-where-is: machine demo has nothing at address 10.0.0.2\n"
    )


def test_an_older_server_is_not_asked_for_addresses(server: FakeServer, run: Run) -> None:
    server.version, server.commands = "1.0.0", server.commands - NEW_COMMANDS

    assert run("spalloc-where-is -a demo 10.0.0.1") == (
        1, "", "spalloc-where-is: this server finds no boards by address; 1.1.0 is needed\n"
    )  # fmt: skip


# --- spalloc ---


def spalloc(run: Run, *words: str) -> tuple[int, str, str]:
    return run("spalloc", "--owner", "me", "--keepalive", "-1", *words)


def test_while_it_waits_spalloc_tells_the_servers_reason(server: FakeServer, run: Run) -> None:
    server.instant = False
    server.message = "Maintenance at 18:00"
    server.outlooks[4] = {"expected": [60, 120]}

    status, _, err = spalloc(run, "--max-wait", "0", "2", "1")

    assert status == 75
    assert err.splitlines() == [
        "Message of the operators: Maintenance at 18:00",
        "Job 4: queued - number 2 in line, 1 job ahead: 3; no place for 2 x 1 triads; similar "
        "requests waited 60 s to 2 min lately; not promised",
        "spalloc: job 4 is still queued after 0 s: number 2 in line, 1 job ahead: 3; no place "
        "for 2 x 1 triads; similar requests waited 60 s to 2 min lately; not promised",
    ]


class Story:
    """Lets a new job live through some states, one at each look at it."""

    def __init__(self, server: FakeServer, *states: dict[str, Any]) -> None:
        self._server = server
        self._states = list(states)
        server.instant = False
        server.behave["list_jobs"] = self._list_jobs

    def _list_jobs(self) -> list[dict[str, Any]]:
        jobs = [dict(job) for job in self._server.jobs.values()]
        job_id = max(self._server.jobs)
        self._server.change(job_id, **self._states.pop(0))
        return jobs


def powering(*boards: list[int]) -> dict[str, Any]:
    return {"state": 2, "boards": list(boards), "allocated_machine_name": "demo"}


QUEUED = {"state": 1, "boards": None, "allocated_machine_name": None}


@pytest.mark.parametrize("version", ["1.0.0", "1.1.0"])
def test_spalloc_tells_which_try_it_is_and_what_failed(
    server: FakeServer, run: Run, version: str
) -> None:
    server.version = version
    if version == "1.0.0":
        server.commands -= NEW_COMMANDS
    why = "board (0,1,1) failed (power on refused)"
    server.outlooks[4] = {"machines": [{"name": "demo", "why": why, "until": None}],
                          "position": None}  # fmt: skip
    Story(server, powering([0, 1, 1]), QUEUED, powering([0, 1, 2]), {"state": 3})

    status, out, err = spalloc(run, "-c", "true")

    assert (status, out) == (0, "")
    queued = {
        "1.0.0": "1 job ahead on demo; its boards failed in try 1",
        "1.1.0": why,
    }[version]
    before = {"1.0.0": "", "1.1.0": f" (before: {why})"}[version]
    assert err.splitlines()[1:] == [
        "Job 4: power - powering 1 board of demo",
        f"Job 4: queued - {queued}",
        f"Job 4: power - powering 1 board of demo, try 2{before}",
    ]


def test_boards_that_change_at_once_are_another_try(server: FakeServer, run: Run) -> None:
    Story(server, powering([0, 1, 1]), powering([0, 1, 2]), {"state": 3})

    assert spalloc(run, "-c", "true")[2].splitlines()[-1] == (
        "Job 4: power - powering 1 board of demo, try 2"
    )


class Said(Progress):
    """Keeps the lines that it is given."""

    def __init__(self) -> None:
        super().__init__(quiet=False)
        self.lines: list[str] = []

    def say(self, text: str, even_if_quiet: bool = False) -> None:
        self.lines.append(text)


def test_trouble_with_boards_that_are_held_is_told_once(server: FakeServer) -> None:
    talk = Session(Endpoint("127.0.0.1", server.port), 10.0, 0.01)
    said = Said()
    with (
        Job(
            hostname="127.0.0.1", port=server.port, resume_job_id=1, config_filenames=[]
        ) as job,
        Guard(job, talk, said) as guard,
    ):
        for _ in range(2):
            assert guard.look() == 60.0
        server.board_states.clear()
        guard.look()
        server.board_states["demo", (0, 0, 0)] = ("free", "out: since 15:00 UTC (reported)")
        guard.look()
    talk.close()

    assert said.lines == [
        "job 1: (0,0,0): unknown: its frame does not answer",
        "job 1: (0,0,0): out: since 15:00 UTC (reported)",
    ]


def test_all_boards_of_the_fake_are_drawn(server: FakeServer) -> None:
    answer = server.do_list_boards("demo")

    assert answer is not None
    assert len(answer["boards"]) == 3 * MACHINE["width"] * MACHINE["height"]
