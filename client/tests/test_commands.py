"""The commands that look and act at once: ps, machine, job, where-is."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
from spalloc_client import __version__

from tests.commands import MAINS, Run, runner
from tests.fake_server import GARBAGE, HANG, VANISH, FakeServer

PLACE = {
    "machine": "demo",
    "logical": [1, 2, 0],
    "physical": [2, 4, 7],
    "chip": [12, 25],
    "board_chip": [0, 1],
    "job_id": 10,
    "job_chip": [0, 1],
}


@pytest.fixture
def run(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command against the server; gives status, output and errors."""
    return runner("127.0.0.1", server.port, capsys)


@pytest.fixture
def busy(server: FakeServer) -> FakeServer:
    """A server with three jobs: two with boards, one queued."""
    server.add_job(owner="ann")
    server.add_job(owner="bob", args=[4], boards=[[1, 0, z] for z in range(3)], keepalive=None)
    server.add_job(
        owner="ann",
        state=1,
        power=None,
        args=[2, 1],
        kwargs={"tags": ["fast"], "max_dead_boards": 0},
        allocated_machine_name=None,
        boards=None,
        keepalivehost="",
    )
    return server


# --- all commands ---


@pytest.mark.parametrize("name", MAINS)
def test_help_and_version_need_nothing(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "-h", "--version", "-V"):
        with pytest.raises(SystemExit) as caught:
            MAINS[name]([option])
        assert caught.value.code == 0
        out = capsys.readouterr().out
        assert name in out
        if "V" in option or "version" in option:
            assert out == f"{name} {__version__}\n"
        else:
            for flag in ("--hostname", "-H", "--port", "-P", "--timeout", "--version", "-V"):
                assert flag in out


LOOKING = ["spalloc-ps", "spalloc-machine", "spalloc-job 1", "spalloc-where-is -b demo 0 0 0"]
ALL = ["spalloc --owner me", *LOOKING]


_INTERRUPTED_WHILE_LOADING = """
import os, signal, sys
from spalloc_client import scripts

class Finder:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("rich"):
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
getattr(scripts, sys.argv[1].replace("-", "_"))()
"""


@pytest.mark.parametrize("name", MAINS)
def test_an_interrupt_while_a_command_is_loaded_ends_it_without_a_word(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED_WHILE_LOADING, name],
        capture_output=True,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"", b"")


@pytest.mark.parametrize("name", MAINS)
def test_the_installed_commands_are_these(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--version"])
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit, match="0"):
            entry_points(group="console_scripts")[name].load()()
    finally:
        signal.signal(signal.SIGINT, before)

    assert capsys.readouterr().out == f"{name} {__version__}\n"


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("spalloc-ps --jsno", "--json"),
        ("spalloc-machine demo --detialed", "--detailed"),
        ("spalloc-job --poweron 3", "--power-on or --power-off"),
        ("spalloc-where-is --phisical demo 0 0 0", "--physical"),
        ("spalloc-ps --host-name x", "--hostname"),
    ],
)
def test_an_unknown_option_is_said_with_the_one_meant(run: Run, line: str, meant: str) -> None:
    option = next(word for word in line.split() if word.startswith("--"))

    one_line(run, line, f"unknown option {option}; did you mean {meant}? (", status=2)


def one_line(run: Run, line: str, words: str, status: int = 1) -> None:
    name = line.split(maxsplit=1)[0]
    got, out, err = run(line)
    assert (got, out) == (status, "")
    assert err.startswith(f"{name}: ")
    assert words in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("line", ALL)
def test_no_server_is_said_in_a_line(server: FakeServer, run: Run, line: str) -> None:
    server.stop()
    one_line(run, line, "Connection refused")


@pytest.mark.parametrize("line", ALL)
def test_a_server_that_hangs_is_said_in_a_line(
    server: FakeServer, run: Run, in_vain: set[str], line: str
) -> None:
    in_vain.add("version")
    server.behave["version"] = lambda: HANG
    one_line(run, f"{line} --timeout 0.05", "did not answer version within 0.05 s")


@pytest.mark.parametrize("line", LOOKING)
@pytest.mark.parametrize("misdeed", [GARBAGE, {"a": 1}, [7]])
def test_a_server_that_raves_is_said_in_a_line(
    server: FakeServer, run: Run, line: str, misdeed: object
) -> None:
    for name in ("list_jobs", "list_machines", "where_is"):
        server.behave[name] = lambda **_: misdeed
    one_line(run, line, "the server")


@pytest.mark.parametrize(
    "nonsense", [{"boards": [[0, 0, float("inf")]]}, {"start_time": 1e300}, {"start_time": 1e999}]
)
@pytest.mark.parametrize("line", ["spalloc-ps", "spalloc-machine", "spalloc-job 1"])
def test_numbers_without_end_are_said_in_a_line(
    busy: FakeServer, run: Run, line: str, nonsense: dict[str, object]
) -> None:
    busy.change(1, **nonsense)

    one_line(run, line, "the server's answer makes no sense")


def test_machines_that_make_no_sense_are_said_in_a_line(server: FakeServer, run: Run) -> None:
    server.behave["list_machines"] = lambda: None

    one_line(run, "spalloc-where-is -b x 0 0 0", "the server's answer makes no sense: None")


@pytest.mark.parametrize("line", LOOKING)
def test_a_server_that_vanishes_in_the_middle_is_asked_again(
    busy: FakeServer, run: Run, line: str
) -> None:
    for name in ("list_jobs", "list_machines"):
        answers = iter([VANISH, busy.answer(name, [], {})])
        busy.behave[name] = lambda answers=answers: next(answers, [])
    places = iter([VANISH, PLACE])
    busy.behave["where_is"] = lambda **_: next(places)

    assert run(line)[0] == 0


@pytest.mark.parametrize("line", ALL)
def test_a_server_of_another_version_is_said_in_a_line(
    server: FakeServer, run: Run, line: str
) -> None:
    server.version = "8.0.0"
    one_line(run, line, "the server's version is 8.0.0")


@pytest.mark.parametrize("name", MAINS)
def test_no_hostname_is_said_in_a_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = {"spalloc-where-is": ["-b", "m", "0", "0", "0"]}.get(name, [])

    assert MAINS[name](words) == 1

    err = capsys.readouterr().err
    assert "no hostname" in err
    assert ".spalloc" in err


@pytest.mark.parametrize("name", ["alloc", "ps", "machine", "job", "where_is"])
def test_each_is_a_module_that_can_be_run(name: str) -> None:
    program = [sys.executable, "-m", f"spalloc_client.scripts.{name}", "--version"]

    assert subprocess.check_output(program, text=True).split()[-1] == __version__


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize("words", [["--frob"], ["-P", "0"], ["-P", "x"], ["--timeout", "-1"]])
def test_bad_arguments_are_said_in_a_line(
    name: str, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert MAINS[name](words) == 2

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"{name}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("spalloc-ps", [["--json"], ["-m", "demo"], ["--owner", "ann"]]),
        ("spalloc-machine", [["demo"], ["--json"], ["--timeout", "9"]]),
        ("spalloc-job", [["1"], ["--json"], ["-o", "x"]]),
        ("spalloc-where-is", [["--json"], ["-b", "demo", "1", "2", "0"], ["--timeout", "9"]]),
    ],
)
def test_options_stand_anywhere(
    busy: FakeServer,
    name: str,
    groups: list[list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    busy.behave["where_is"] = lambda **_: PLACE
    server = [["-H", "127.0.0.1"], ["-P", str(busy.port)]]
    said = set()

    for line in itertools.permutations(groups):
        for words in ([*server, *line], [*line, *server], [server[0], *line, server[1]]):
            assert MAINS[name](list(itertools.chain(*words))) == 0
            said.add(capsys.readouterr())

    assert len(said) == 1
    assert json.loads(said.pop().out)


def test_after_two_dashes_nothing_is_an_option(run: Run) -> None:
    one_line(run, "spalloc-job --json -- -w", "'-w' is not a whole number", 2)
    one_line(run, "spalloc-machine --json -- -w", "no machine is called -w")


def test_a_bad_configuration_is_said_in_a_line(run: Run) -> None:
    Path(".spalloc").write_text("[spalloc]\nport = x\n")
    one_line(run, "spalloc-ps", ".spalloc: port must be a whole number from 1 to 65535, not 'x'")


def test_hostname_and_port_come_from_files(
    server: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(".spalloc").write_text(f"[spalloc]\nhostname = 127.0.0.1\nport = {server.port}\n")

    assert MAINS["spalloc-ps"]([]) == 0
    assert capsys.readouterr().out == "No jobs.\n"


PS_PROGRAM = [sys.executable, "-m", "spalloc_client.scripts.ps", "-H", "127.0.0.1", "-P"]


def test_a_reader_that_has_seen_enough_is_no_error(busy: FakeServer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*PS_PROGRAM, str(busy.port)],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)

    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


def test_a_full_disk_is_said_in_a_line(busy: FakeServer) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PS_PROGRAM, str(busy.port)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr == "spalloc-ps: [Errno 28] No space left on device\n"


# --- spalloc-ps ---

PS = """\
ID  State   Power  Boards  Machine  Created at               Keepalive  Owner (Host)
 1  ready   on          1  demo     2023-11-14 22:13:20 UTC       60 s  ann (127.0.0.1)
 2  ready   on          3  demo     2023-11-14 22:13:20 UTC      never  bob (127.0.0.1)
 3  queued              6           2023-11-14 22:13:20 UTC       60 s  ann
"""


def test_ps_says_that_there_are_no_jobs(server: FakeServer, run: Run) -> None:
    assert run("spalloc-ps") == (0, "No jobs.\n", "")
    assert run("spalloc-ps -o ann") == (0, "No jobs of ann.\n", "")
    assert run("spalloc-ps -m demo -o ann") == (0, "No jobs of ann on demo.\n", "")
    assert run("spalloc-ps --json") == (0, "[]\n", "")


def test_machine_says_that_there_are_none(server: FakeServer, run: Run) -> None:
    server.machines = []

    assert run("spalloc-machine") == (0, "No machines.\n", "")


def test_times_are_of_the_local_zone_and_name_it(
    busy: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy.change(2, start_time=1_688_000_000.0)
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()

    lines = run("spalloc-ps")[1].splitlines()
    shown = run("spalloc-job 2")[1]

    assert "  2023-11-14 23:13:20 CET  " in lines[1]
    assert "  2023-06-29 02:53:20 CEST  " in lines[2]
    assert "Created at: 2023-06-29 02:53:20 CEST\n" in shown
    assert " CET spalloc_client" in run("spalloc", "--owner", "me", "--debug", "-c", "true")[2]


def test_ps_lists_jobs(busy: FakeServer, run: Run) -> None:
    assert run("spalloc-ps") == (0, PS, "")


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("-m demo", ["1", "2"]),
        ("--machine little", []),
        ("-o ann", ["1", "3"]),
        ("--owner bob", ["2"]),
        ("-o ann -m demo", ["1"]),
        ("-o nobody", []),
    ],
)
def test_ps_lists_some_jobs(busy: FakeServer, run: Run, words: str, ids: list[str]) -> None:
    status, out, _ = run(f"spalloc-ps {words}")

    assert status == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ids


def test_ps_does_not_know_every_machine(busy: FakeServer, run: Run) -> None:
    one_line(run, "spalloc-ps -m x", "no machine is called x; there are: demo, little")


def test_ps_prints_json(busy: FakeServer, run: Run) -> None:
    status, out, _ = run("spalloc-ps --json -o ann")

    assert status == 0
    jobs = json.loads(out)
    assert [(j["job_id"], j["state"], j["state_name"]) for j in jobs] == [
        (1, 3, "ready"),
        (3, 1, "queued"),
    ]
    assert jobs[0]["boards"] == [[0, 0, 0]]


@pytest.mark.parametrize("line", ["spalloc-ps", "spalloc-machine"])
def test_json_and_watch_do_not_go_together(run: Run, line: str) -> None:
    one_line(run, f"{line} --json -w", "--json and --watch", 2)


# --- spalloc-machine ---

MACHINES = """\
Name    Num boards  In-use  Jobs  Tags
demo            34       4     2  default, fast
little           1       0     0  desk
"""

DEMO = r"""Machine: demo
   Size: 4 x 3 triads
 Boards: 34 (4 in use, 30 free), 2 dead, 3 dead links
   Jobs: 2
   Tags: default, fast

 ___     ___     ___     ___
/ . \___/ . \___/ . \___/ . \
\___/ . \___/ . \___/ . \___/
/ . \___/ . \___/ . \___/ . \___
\___/ . \___/   \___/ . \___/ . \___
    \___/ . \___/ . \___/ . \___/ . \
    / . \___/ . \___/ . \___# . \___/
    \___/ . \___/ B \___/ . \___/ . \___
        \###/ . \___/ B \___/ . \___/ . \
        / A \___/ B \___/ . #___/ . \___/
        \___/   \___/   \___/   \___/

"""


def test_machine_lists_machines(busy: FakeServer, run: Run) -> None:
    assert run("spalloc-machine") == (0, MACHINES, "")


def test_machine_draws_one(busy: FakeServer, run: Run) -> None:
    key = ".  free   #  dead link   A  job 1   B  job 2\n"
    assert run("spalloc-machine demo") == (0, DEMO + key, "")


def test_the_key_is_broken_between_its_entries(
    busy: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")

    key = run("spalloc-machine demo")[1].splitlines()[-2:]

    assert key == [".  free    #  dead link   A  job 1", "B  job 2"]


def test_machine_draws_one_without_dead_links(busy: FakeServer, run: Run) -> None:
    status, out, _ = run("spalloc-machine little")

    assert status == 0
    assert "0 dead links" in out
    assert out.splitlines()[-1] == ".  free"  # no key for dead links


@pytest.mark.parametrize("option", ["-d", "--detailed"])
def test_machine_tells_more_of_its_jobs(busy: FakeServer, run: Run, option: str) -> None:
    below = (
        ".  free   #  dead link\n"
        "\n"
        "Key  Job  State  Boards  Owner\n"
        "A      1  ready       1  ann\n"
        "B      2  ready       3  bob\n"
    )
    assert run(f"spalloc-machine demo {option}") == (0, DEMO + below, "")


def test_machine_does_not_know_every_machine(busy: FakeServer, run: Run) -> None:
    one_line(run, "spalloc-machine x", "no machine is called x; there are: demo, little")
    one_line(run, "spalloc-machine x --json", "no machine is called x")


def test_machine_prints_json(busy: FakeServer, run: Run) -> None:
    machines = json.loads(run("spalloc-machine --json")[1])
    assert [(m["name"], m["num_boards"], m["in_use"], len(m["jobs"])) for m in machines] == [
        ("demo", 34, 4, 2),
        ("little", 1, 0, 0),
    ]
    demo = json.loads(run("spalloc-machine demo --json")[1])
    assert demo == machines[0]
    assert demo["jobs"][1]["job_id"] == 2
    assert demo["width"] == 4


# --- spalloc-job ---

JOB_2 = r"""           Job: 2
         Owner: bob
         State: ready
    Created at: 2023-11-14 22:13:20 UTC
     Keepalive: never, from 127.0.0.1
       Request: 4 boards
         Power: on
       Machine: demo
        Boards: 3: (1,0,0), (1,0,1), (1,0,2)
 Size in chips: 8 x 8
      Hostname:
Ethernet chips: (12,0)=board-0, (13,1)=board-1, (14,2)=board-2

         ___
 ___    / . \___
/ . \___\___/ . \
\___/ . \___/ . \___
"""


def test_job_tells_all_that_is_known(busy: FakeServer, run: Run) -> None:
    for words in ("2", "2 -i", "2 --info", "-o bob", "--owner bob -i"):
        status, out, err = run(f"spalloc-job {words}")
        assert (status, err) == (0, "")
        assert out.splitlines()[:12] == JOB_2.splitlines()[:12]
        assert out.count(" A ") == 3


def test_job_tells_the_prospects_of_a_queued_one(busy: FakeServer, run: Run) -> None:
    out = run("spalloc-job 3")[1].splitlines()

    assert "   Request: 2 x 1 triads; max_dead_boards=0; tags=fast" in out
    assert "     Queue: next on demo" in out


def test_job_tells_why_one_was_destroyed(busy: FakeServer, run: Run) -> None:
    busy.destroy(1, "Job timed out.")

    assert run("spalloc-job 1") == (
        0,
        "   Job: 1\n State: destroyed\nReason: Job timed out.\n",
        "",
    )


@pytest.mark.parametrize(
    "words", ["", "-i", "-w", "-p", "--power-off", "-e", "-D", "--json", "--destroy why"]
)
def test_job_does_not_know_every_job(busy: FakeServer, run: Run, words: str) -> None:
    one_line(run, f"spalloc-job 99 {words}", "the server does not know job 99")


def test_job_without_id_needs_an_owner_with_one_job(busy: FakeServer, run: Run) -> None:
    one_line(run, "spalloc-job", "which job?")
    one_line(run, "spalloc-job -o ann", "ann has several jobs, say which: 1, 3")
    one_line(run, "spalloc-job -o eve", "eve has no job")


def test_the_owner_of_the_configuration_counts(busy: FakeServer, run: Run) -> None:
    Path(".spalloc").write_text("[spalloc]\nowner = bob\n")

    assert "Job: 2" in run("spalloc-job")[1]


@pytest.mark.parametrize("option", ["-p", "-r", "--power-on", "--reset"])
def test_job_switches_boards_on(busy: FakeServer, run: Run, option: str) -> None:
    def switch(job_id: int) -> None:
        busy.change(job_id, state=2, power=True)
        busy.change(job_id, state=3)

    busy.behave["power_on_job_boards"] = switch

    status, out, err = run(f"spalloc-job 1 {option}")

    assert (status, out) == (0, "")
    assert err.splitlines()[-1] == "job 1: its boards are on"
    assert busy.reasons == {}


def test_job_switches_boards_off(busy: FakeServer, run: Run) -> None:
    assert run("spalloc-job 2 --power-off")[2].splitlines()[-1] == "job 2: its boards are off"
    assert busy.jobs[2]["power"] is False


def test_job_tells_when_boards_are_lost_while_they_are_switched(
    busy: FakeServer, run: Run
) -> None:
    busy.behave["power_on_job_boards"] = lambda i: busy.destroy(i, "Machine removed.")

    status, _, err = run("spalloc-job 1 -r")

    assert status == 1
    assert err.splitlines()[-1] == "spalloc-job: job 1 was destroyed: Machine removed."


def test_job_cannot_switch_boards_that_are_not_there(busy: FakeServer, run: Run) -> None:
    one_line(run, "spalloc-job 3 -p", "job 3 is queued, it has no boards to switch")
    one_line(run, "spalloc-job 3 -e", "job 3 is queued and has no boards")


def test_job_lists_hostnames(busy: FakeServer, run: Run) -> None:
    for option in ("-e", "--ethernet-ips"):
        assert run(f"spalloc-job 1 {option}") == (0, "x,y,hostname\n0,0,board-0\n", "")


@pytest.mark.parametrize(("words", "reason"), [("-D", None), ("--destroy late", "late")])
def test_job_destroys(busy: FakeServer, run: Run, words: str, reason: str | None) -> None:
    assert run(f"spalloc-job 1 {words}") == (0, "", "job 1 destroyed\n")
    assert busy.reasons == {1: reason}
    again = f"job 1 was destroyed before: {reason or 'no reason given'}\n"
    assert run(f"spalloc-job 1 {words}") == (0, "", again)


def test_a_number_after_destroy_is_not_taken_for_a_reason(busy: FakeServer, run: Run) -> None:
    one_line(run, "spalloc-job -o bob -D 1", "to destroy job 1, say: spalloc-job 1 --destroy", 2)
    assert busy.reasons == {}


def test_job_prints_json(busy: FakeServer, run: Run) -> None:
    data = json.loads(run("spalloc-job 1 --json")[1])
    assert data["job_id"] == 1
    assert data["state_name"] == "ready"
    assert data["connections"] == [[[0, 0], "board-0"]]
    before = data
    busy.destroy(1, "why")
    data = json.loads(run("spalloc-job 1 --json")[1])
    assert (data["job_id"], data["state_name"], data["reason"]) == (1, "destroyed", "why")
    assert data.keys() == before.keys()
    assert data["boards"] is data["connections"] is data["allocated_machine_name"] is None
    one_line(run, "spalloc-job 1 --json -e", "--json goes with --info only", 2)
    one_line(run, "spalloc-job 1 --json -w", "--json and --watch", 2)
    one_line(run, "spalloc-job 1 -e -p", "not allowed with", 2)
    one_line(run, "spalloc-job x", "'x' is not a whole number", 2)


# --- spalloc-where-is ---

WHERE = """\
                 Machine: demo
       Physical Location: Cabinet 2, Frame 4, Board 7
        Board Coordinate: (1, 2, 0)
Machine Chip Coordinates: (12, 25)
Coordinates within board: (0, 1)
         Job using board: 10
  Coordinates within job: (0, 1)
"""


@pytest.mark.parametrize(
    ("words", "query"),
    [
        ("-b demo 1 2 0", {"machine": "demo", "x": 1, "y": 2, "z": 0}),
        ("--board demo 1 2 0", {"machine": "demo", "x": 1, "y": 2, "z": 0}),
        ("-l demo -1 2 0", {"machine": "demo", "x": -1, "y": 2, "z": 0}),
        ("--logical demo 1 2 0", {"machine": "demo", "x": 1, "y": 2, "z": 0}),
        ("-p demo 2 4 7", {"machine": "demo", "cabinet": 2, "frame": 4, "board": 7}),
        ("--physical demo 2 4 7", {"machine": "demo", "cabinet": 2, "frame": 4, "board": 7}),
        ("-c demo 12 25", {"machine": "demo", "chip_x": 12, "chip_y": 25}),
        ("--chip demo 12 25", {"machine": "demo", "chip_x": 12, "chip_y": 25}),
        ("-j 10 0 1", {"job_id": 10, "chip_x": 0, "chip_y": 1}),
        ("--job-chip 10 0 1", {"job_id": 10, "chip_x": 0, "chip_y": 1}),
    ],
)
def test_where_is_tells_all_ways_to_say_it(
    server: FakeServer, run: Run, words: str, query: dict[str, Any]
) -> None:
    server.behave["where_is"] = lambda **_: PLACE

    assert run(f"spalloc-where-is {words}")[:2] == (0, WHERE)
    assert json.loads(run(f"spalloc-where-is --json {words}")[1]) == PLACE
    assert server.calls("where_is") == [([], query)] * 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-c demo 60 25", "chip (60, 25) lies outside machine demo, and wraps around to (12, 25)"),
        ("-b demo -3 2 0", "board (-3, 2, 0) lies outside machine demo, and wraps around to "
                           "(1, 2, 0)"),
        ("-j 10 0 17", "chip (0, 17) lies outside job 10, and wraps around to (0, 1)"),
    ],
)  # fmt: skip
def test_where_is_says_that_coordinates_wrapped_around(
    server: FakeServer, run: Run, words: str, said: str
) -> None:
    server.behave["where_is"] = lambda **_: PLACE

    assert run(f"spalloc-where-is {words}") == (0, WHERE, said + "\n")
    assert run(f"spalloc-where-is --json {words}")[2] == said + "\n"


def test_where_is_keeps_its_labels_whole_where_there_is_no_room(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    server.behave["where_is"] = lambda **_: PLACE

    out = run("spalloc-where-is -b demo 1 2 0")[1]

    assert "\nMachine Chip Coordinates: (12, 25)\n" in out
    assert "\nCoordinates within board: (0, 1)\n" in out


def test_where_is_tells_of_a_free_board(server: FakeServer, run: Run) -> None:
    server.behave["where_is"] = lambda **_: {**PLACE, "job_id": None, "job_chip": None}

    out = run("spalloc-where-is -b demo 1 2 0")[1].splitlines()

    assert out[-2:] == ["         Job using board: None", "  Coordinates within job: None"]


def test_where_is_tells_what_is_unknown(server: FakeServer, run: Run) -> None:
    one_line(run, "spalloc-where-is -b x 0 0 0", "no machine is called x; there are: demo, little")
    one_line(run, "spalloc-where-is -p demo 9 8 7", "nothing at cabinet 9, frame 8, board 7")
    one_line(run, "spalloc-where-is -j 9 0 0", "job 9 is unknown, has no boards, or none with")
    one_line(run, "spalloc-where-is -c demo 0 x", "Y: 'x' is not a whole number", 2)
    one_line(run, "spalloc-where-is -c demo 0", "expected 3 arguments", 2)
    one_line(run, "spalloc-where-is", "one of the arguments", 2)
    one_line(run, "spalloc-where-is -j 1 0 0 -c m 0 0", "not allowed with", 2)
