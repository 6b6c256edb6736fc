"""The command spalloc: its requests, its output, the commands it runs, and its ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from spalloc_client.scripts import alloc
from spalloc_client.scripts._hold import fill_in

from tests.fake_server import HANG, VANISH, FakeServer
from tests.unmeasured import unmeasured

Run = Callable[..., tuple[int, str, str]]

GOT = """\
     Job: 1
Hostname: board-0
   Width: 8 chips
  Height: 8 chips
  Boards: 1
 Machine: demo
"""


@pytest.fixture
def run(
    server: FakeServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """Run spalloc with an empty standard input; gives status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        with Path(os.devnull).open() as nothing:
            monkeypatch.setattr("sys.stdin", nothing)
            address = ["-H", "127.0.0.1", "-P", str(server.port), "--owner", "me"]
            status = alloc.main([*address, "--keepalive", "-1", *words])
        return status, *capfd.readouterr()

    return run


# --- requests ---

DEFAULTS: dict[str, Any] = {
    "owner": "me",
    "keepalive": None,
    "machine": None,
    "tags": None,
    "min_ratio": 0.333,
    "max_dead_boards": 0,
    "max_dead_links": None,
    "require_torus": False,
}


@pytest.mark.parametrize(
    ("words", "what", "asked"),
    [
        ("", [], {}),
        ("1", [1], {}),
        ("4 5", [4, 5], {}),
        ("0 1 2", [0, 1, 2], {}),
        ("-m demo", [], {"machine": "demo"}),
        ("--machine demo", [], {"machine": "demo"}),
        ("-m", [], {}),
        ("-t", [], {"tags": []}),
        ("3 -t a b", [3], {"tags": ["a", "b"]}),
        ("--tags a", [], {"tags": ["a"]}),
        ("--min-ratio 0.5", [], {"min_ratio": 0.5}),
        ("--max-dead-boards 3", [], {"max_dead_boards": 3}),
        ("--max-dead-boards -1", [], {"max_dead_boards": None}),
        ("--max-dead-links 3", [], {"max_dead_links": 3}),
        ("--max-dead-links -1", [], {"max_dead_links": None}),
        ("-w 2 2", [2, 2], {"require_torus": True}),
        ("--require-torus 2 2", [2, 2], {"require_torus": True}),
        ("-W", [], {}),
        ("--no-require-torus", [], {}),
        ("--owner you", [], {"owner": "you"}),
        ("--keepalive 50", [], {"keepalive": 50.0}),
        ("--reconnect-delay 0.5", [], {}),
    ],
)
def test_it_asks_for_what_it_was_told(
    server: FakeServer, run: Run, words: str, what: list[int], asked: dict[str, Any]
) -> None:
    assert run("-q", *words.split()) == (0, "", "")

    assert server.calls("create_job") == [(what, {**DEFAULTS, **asked})]
    assert server.reasons == {1: None}


@pytest.mark.parametrize(
    "words",
    ["2 1 -t fast -q", "2 -t fast -q 1", "-t fast -q 2 1", "-q 2 1 -t fast", "-q -t fast -- 2 1"],
)
def test_numbers_stand_anywhere_among_options(server: FakeServer, run: Run, words: str) -> None:
    assert run(*words.split()) == (0, "", "")

    assert server.calls("create_job") == [([2, 1], {**DEFAULTS, "tags": ["fast"]})]


def test_what_is_not_told_comes_from_files_and_can_be_overruled(
    server: FakeServer, run: Run
) -> None:
    Path(".spalloc").write_text(
        "[spalloc]\nmachine = demo\nrequire_torus = True\nmax_dead_boards = None\n"
    )

    run("2", "2")
    run("2", "2", "-W", "-m", "--max-dead-boards", "2")
    run("2", "2", "-t", "fast")

    asked = [kwargs for _, kwargs in server.calls("create_job")]
    assert [kwargs["machine"] for kwargs in asked] == ["demo", None, None]
    assert [kwargs["require_torus"] for kwargs in asked] == [True, False, True]
    assert [kwargs["max_dead_boards"] for kwargs in asked] == [None, 2, None]
    assert [kwargs["tags"] for kwargs in asked] == [None, None, ["fast"]]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("1 2 3 4", "at most three numbers choose boards, not 4"),
        ("0", "the number of boards must be a whole number from 1, not 0"),
        ("-1", "from 1, not -1"),
        ("2 0", "width and height in triads must be whole numbers from 1, not 0"),
        ("0 0 -1", "the coordinates of a board must be whole numbers from 0, not -1"),
        ("--min-ratio 5", "argument --min-ratio: '5' is not a number from 0 to 1"),
        ("--min-ratio nan", "argument --min-ratio: 'nan' is not a number from 0 to 1"),
        ("--min-ratio -0.1", "argument --min-ratio: '-0.1' is not a number from 0 to 1"),
        ("x", "'x' is not a whole number"),
        ("-c", "--command: which?"),
        ("1 -q x", "'x' is not a whole number"),
        ("1 -- -c true", "'-c' is not a whole number"),
        ("1 --frob 2", "unknown option --frob ("),
        ("--ownr you 3", "unknown option --ownr; did you mean --owner? ("),
        ("3 --comand ls", "unknown option --comand; did you mean --command? ("),
        ("--kepalive=3", "unknown option --kepalive; did you mean --keepalive? ("),
        ("3 --max-dead-bords 1", "did you mean --max-dead-boards"),
        ("-x 1", "unknown option -x ("),
        ("--m x", "ambiguous option: --m could match"),
        ("-m demo -t fast", "only one of --machine and --tags"),
        ("-w -W", "not allowed with"),
        ("--keepalive 0", "not above 0"),
        ("--keepalive -2", "not a number from 0"),
        ("--keepalive x", "'x' is not a number"),
        ("--max-dead-boards -2", "not a number from 0, or -1"),
        ("--min-ratio nan", "not a number from 0"),
    ],
)
def test_wrong_arguments_are_said_in_a_line(
    server: FakeServer, run: Run, words: str, error: str
) -> None:
    status, out, err = run(*words.split())

    assert (status, out) == (2, "")
    assert error in err
    assert err.count("\n") == 1
    assert server.connections == 0


def test_an_owner_is_needed(server: FakeServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert alloc.main(["-H", "127.0.0.1", "-P", str(server.port)]) == 1

    assert "no owner" in capsys.readouterr().err


# --- output ---


def test_it_prints_what_it_got(run: Run) -> None:
    status, out, _ = run()

    assert (status, out) == (0, GOT)


def test_it_says_what_is_sent_if_asked(run: Run) -> None:
    assert '"command": "create_job"' in run("--debug")[2]


@pytest.fixture
def unsuitable(server: FakeServer) -> FakeServer:
    """A server that finds no machine suitable."""

    def refuse(*args: int, **kwargs: Any) -> int:
        job_id = server.do_create_job(*args, **kwargs)
        server.destroy(job_id, "Cancelled: No suitable machines available.")
        return job_id

    server.behave["create_job"] = refuse
    return server


@pytest.mark.usefixtures("unsuitable")
def test_an_unknown_machine_is_said_in_a_line(run: Run) -> None:
    assert run("-m", "x") == (
        1,
        "",
        "spalloc: no machine is called x; there are: demo, little\n",
    )


@pytest.mark.usefixtures("unsuitable")
def test_it_says_why_no_machine_suits(run: Run) -> None:
    status, out, err = run("100", "-q")

    assert (status, out) == (1, "")
    assert err.splitlines() == [
        "No machine suits:",
        "  demo    is too small for 100 boards: it is of 4 x 3 triads, 36 boards",
        "  little  --tags: lacks default",
        "spalloc: job 1 was destroyed: Cancelled: No suitable machines available.",
    ]


def test_it_says_why_the_job_it_should_take_over_is_gone(server: FakeServer, run: Run) -> None:
    job_id = server.add_job()
    server.destroy(job_id, "fire")

    assert run("-r", str(job_id)) == (1, "", "spalloc: job 1 was destroyed: fire\n")
    assert run("--resume", "9")[2] == (
        "spalloc: the server does not know job 9 (any more)\n"
    )


@pytest.mark.parametrize("option", ["-r", "--resume"])
def test_it_takes_a_job_over(server: FakeServer, run: Run, option: str) -> None:
    job_id = server.add_job(keepalive=None)

    assert run(option, str(job_id)) == (0, GOT, "")

    assert server.calls("create_job") == []
    assert server.reasons == {job_id: None}


@pytest.mark.parametrize("option", ["-D", "--no-destroy"])
def test_it_leaves_the_job_if_told(server: FakeServer, run: Run, option: str) -> None:
    assert run(option) == (
        0,
        GOT,
        "Job 1 is left to itself; take it over: spalloc -r 1\n",
    )
    assert list(server.jobs) == [1]


# --- commands ---

VALUES = {
    "": "host",
    "hostname": "host",
    "w": "8",
    "width": "8",
    "h": "9",
    "height": "9",
    "ethernet_ips": "/tmp/it's",
    "id": "3",
}


def test_placeholders_are_filled_in_and_other_braces_left_alone() -> None:
    words = ["x", "{}", "{hostname}", "{w}x{h}", "{width}{height}", "{id}", "{ethernet_ips}"]
    assert fill_in([*words, "{foo}", "${HOME}", "{ }"], VALUES) == [
        *["x", "host", "host", "8x9", "89", "3", "/tmp/it's"],
        *["{foo}", "${HOME}", "{ }"],
    ]


def test_one_word_is_a_line_for_the_shell_and_values_are_quoted() -> None:
    assert fill_in(["cat {ethernet_ips} | awk '{print}'"], VALUES) == [
        "/bin/sh",
        "-c",
        "cat '/tmp/it'\"'\"'s' | awk '{print}'",
    ]


def test_a_command_runs_with_the_boards_and_its_status_counts(
    server: FakeServer, run: Run
) -> None:
    line = 'echo {} {hostname} {w} {width} {h} {height} {id}; cat {ethernet_ips}; exit 7'
    expected = "board-0 board-0 8 8 8 8 1\nx,y,hostname\n0,0,board-0\n"

    assert run("-q", "-c", line) == (7, expected, "")
    assert server.reasons == {1: None}


def test_a_command_may_be_given_in_words_with_options_of_its_own(run: Run) -> None:
    status, out, _ = run("1", "-q", "--command", "printf", "%s|", "-w", "a b", "{w}", "$HOME")

    assert (status, out) == (0, "-w|a b|8|$HOME|")


@pytest.mark.parametrize("option", ["-c", "--command", "--com", "-qc", "-Wqc"])
def test_all_after_the_option_belongs_to_the_command(
    server: FakeServer, run: Run, option: str
) -> None:
    words = ["%s|", "--", "-q", "3", "-c", "--", "--owner", "-h"]

    status, out, _ = run("-q", "2", "--owner", "me", "1", option, "printf", *words)

    assert (status, out) == (0, "--|-q|3|-c|--|--owner|-h|")
    assert server.calls("create_job") == [([2, 1], {**DEFAULTS, "owner": "me"})]


def test_a_line_for_the_shell_may_be_attached_to_the_option(run: Run) -> None:
    assert run("--command=echo {id}", "-q")[:2] == (0, "1\n")
    assert run("-cecho {id}", "-q")[:2] == (0, "2\n")


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["/no/such", "x"], 127),
        (["/etc/passwd", "x"], 126),
        (["kill -9 $$"], 137),
        (["false"], 1),
    ],
)
def test_commands_that_fail_tell_it_as_in_a_shell(
    server: FakeServer, run: Run, command: list[str], status: int
) -> None:
    assert run("-q", "-c", *command)[0] == status
    assert server.reasons == {1: None}


def test_the_file_of_hostnames_is_removed(run: Run) -> None:
    name = run("-q", "-c", "echo", "{ethernet_ips}", "")[1].strip()

    assert name
    assert not Path(name).exists()


# --- giving up ---


def test_it_gives_up_if_the_queue_takes_too_long(server: FakeServer, run: Run) -> None:
    server.instant = False

    assert run("-q", "--max-wait", "0.01") == (
        75,
        "",
        "spalloc: job 1 is still queued after 0.01 s: next on demo\n",
    )
    assert server.reasons == {1: None}


def test_now_or_never(server: FakeServer, run: Run) -> None:
    assert run("--max-wait", "0")[0] == 0
    server.instant = False
    assert run("--max-wait", "0", "-D")[0] == 75

    assert list(server.jobs) == [2]


def test_only_the_queue_counts_as_waiting(server: FakeServer, run: Run) -> None:
    def create(*args: int, **kwargs: Any) -> int:
        job_id = server.do_create_job(*args, **kwargs)
        server.jobs[job_id]["state"] = 2
        return job_id

    def list_jobs() -> list[Any]:
        jobs = [dict(job) for job in server.jobs.values()]
        if len(server.calls("list_jobs")) >= 2:
            server.change(1, state=3)
        else:
            server.tell({"jobs_changed": [1]})
        return jobs

    server.behave.update(create_job=create, list_jobs=list_jobs)

    assert run("--max-wait", "0") == (
        0, GOT, "Job 1: power - powering 1 board of demo\n"
    )  # fmt: skip


def test_it_gives_up_on_a_queue_whose_server_is_away(server: FakeServer, run: Run) -> None:
    server.instant = False

    def vanish() -> object:
        server.stop()
        return VANISH

    server.behave["list_jobs"] = vanish

    status, _, err = run("--max-wait", "0.2", "--reconnect-delay", "0.01", "--timeout", "0.01")

    assert status == 75
    assert "job 1 is still queued after 0.2 s: cannot reach 127.0.0.1" in err


# --- signals, and other ends ---


@contextmanager
def started(
    server: FakeServer, *words: str, struck: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """Start spalloc as a program of its own, with an open standard input.

    `struck` says that a signal will strike it; else the end of that input is to end it.
    """
    code = "import sys; from spalloc_client.scripts.alloc import main; sys.exit(main())"
    address = ["-H", "127.0.0.1", "-P", str(server.port), "--owner", "me"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *address, "--keepalive", "20", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=unmeasured() if struck else None,
    )
    with process:
        try:
            yield process
            if not struck:
                process.communicate(timeout=60)  # killed, it could not report coverage
        finally:
            process.kill()


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    assert process.stderr is not None
    errors = process.stderr.read()
    return process.wait(30), errors


SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_while_the_server_is_slow_to_create(
    server: FakeServer, number: signal.Signals, status: int
) -> None:
    with started(server, struck=True) as process:

        def create(*args: int, **kwargs: Any) -> int:
            process.send_signal(number)
            return server.do_create_job(*args, **kwargs)

        server.behave["create_job"] = create

        assert end(process) == (status, "")
    assert server.jobs == {}
    assert list(server.reasons) == [1]


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_while_the_server_does_not_answer(
    server: FakeServer, number: signal.Signals, status: int
) -> None:
    server.behave["version"] = lambda: HANG
    with started(server, struck=True) as process:
        server.wait_heard("version")
        process.send_signal(number)

        assert end(process) == (status, "")


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_in_the_queue(
    server: FakeServer, number: signal.Signals, status: int
) -> None:
    server.instant = False
    with started(server, struck=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Job 1: queued - next on demo\n"
        process.send_signal(number)

        assert end(process) == (status, "")
    assert server.reasons == {1: None}
    server.wait_clients(0)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 0), *SIGNALS[1:]])
def test_a_signal_while_boards_are_held(
    server: FakeServer, number: signal.Signals, status: int
) -> None:
    with started(server, struck=True) as process:
        assert process.stdout is not None
        assert "Machine: demo" in [process.stdout.readline().strip() for _ in range(6)]
        process.send_signal(number)

        assert end(process) == (status, "")
    assert server.reasons == {1: None}
    server.wait_clients(0)


@pytest.mark.parametrize(("number", "status"), SIGNALS)
def test_a_signal_while_a_command_runs_ends_it_too(
    server: FakeServer, number: signal.Signals, status: int
) -> None:
    with started(server, "-c", "echo", "hello; ", "world") as process:
        assert process.wait(30) == 0
    with started(server, "-c", "echo on; exec sleep 1000", struck=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        process.send_signal(number)

        # SIGHUP is passed on as SIGTERM.
        assert end(process)[0] == (143 if number == signal.SIGHUP else status)
    assert server.jobs == {}


def test_enter_gives_the_boards_back(server: FakeServer) -> None:
    with started(server, "-q") as process:
        server.wait_heard("notify_job")
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()

        assert end(process) == (0, "")
    assert server.reasons == {1: None}


def test_progress_is_told_in_lines_where_there_is_no_terminal(server: FakeServer) -> None:
    server.instant = False
    ahead = server.do_create_job(2, owner="other")
    with started(server, "3") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Job 2: queued - 1 job ahead on demo\n"
        server.destroy(ahead, None)
        assert process.stderr.readline() == "Job 2: queued - next on demo\n"
        boards = {"allocated_machine_name": "demo", "boards": [[0, 0, 0], [0, 0, 1]]}
        server.change(2, state=2, power=True, **boards)
        assert process.stderr.readline() == "Job 2: power - powering 2 boards of demo\n"
        server.change(2, state=3)
        assert process.stdout is not None
        assert process.stdout.readline() == "     Job: 2\n"


def test_who_holds_boards_hears_when_they_are_lost(server: FakeServer) -> None:
    with started(server) as process:
        server.wait_heard("notify_job", 1)
        assert process.stdout is not None
        assert "Machine: demo" in [process.stdout.readline().strip() for _ in range(6)]

        server.destroy(1, "Job timed out.")

        assert end(process) == (1, "spalloc: job 1 was destroyed: Job timed out.\n")


def test_who_holds_boards_hears_when_they_change(server: FakeServer) -> None:
    with started(server) as process:
        assert process.stdout is not None
        assert "Machine: demo" in [process.stdout.readline().strip() for _ in range(6)]
        assert process.stderr is not None

        server.change(1, state=1, power=None, boards=None)
        assert process.stderr.readline() == "Job 1 lost its boards and is queued again\n"
        server.change(1, state=2, power=True, boards=[[0, 0, 0]])
        assert process.stderr.readline() == "Job 1: its boards are being switched\n"
        server.change(1, state=3)
        assert process.stderr.readline() == "Job 1 is ready again\n"


def test_holding_outlives_a_restart_of_the_server(server: FakeServer) -> None:
    with started(server, "--reconnect-delay", "0.02", struck=True) as process:
        assert process.stdout is not None
        assert "Machine: demo" in [process.stdout.readline().strip() for _ in range(6)]
        server.wait_heard("notify_job")
        assert process.stderr is not None

        server.stop()
        assert "trying again" in process.stderr.readline()
        server.start()
        assert process.stderr.readline() == "the server is back\n"

        process.send_signal(signal.SIGTERM)
        assert end(process) == (143, "")
    assert server.reasons == {1: None}


@pytest.mark.parametrize("words", [(), ("-c", "echo", "{w}")])
def test_boards_that_are_lost_at_once_are_not_used(
    server: FakeServer, run: Run, words: tuple[str, ...]
) -> None:
    def lose(job_id: int) -> dict[str, Any]:
        server.destroy(job_id, "fire")
        return dict.fromkeys(("width", "height", "connections", "machine_name", "boards"))

    server.behave["get_job_machine_info"] = lose

    assert run(*words) == (1, "", "spalloc: job 1 was destroyed: fire\n")


def test_the_boards_are_asked_for_once(server: FakeServer, run: Run) -> None:
    run("-c", "echo", "{w} {h} {hostname} {ethernet_ips}")

    assert len(server.calls("get_job_machine_info")) == 1


def test_a_command_goes_on_when_the_boards_are_lost(server: FakeServer) -> None:
    with started(server, "-c", "read x; exit 5") as process:
        server.wait_heard("notify_job")
        server.wait_heard("get_job_state", 4)  # one of them the keepalive process's

        server.destroy(1, "fire")

        assert process.stderr is not None
        assert process.stderr.readline() == (
            "job 1 was destroyed: fire; the command goes on without boards\n"
        )
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert end(process) == (5, "")


def test_a_reason_that_would_steer_the_terminal_is_shown_escaped(server: FakeServer) -> None:
    with started(server, "-c", "read x") as process:
        server.wait_heard("notify_job")
        server.wait_heard("get_job_state", 4)

        server.destroy(1, "\x1b[31mfire\n")

        assert process.stderr is not None
        assert process.stderr.readline() == (
            "job 1 was destroyed: \\x1b[31mfire\\n; the command goes on without boards\n"
        )
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        assert end(process) == (0, "")


def test_a_server_that_is_gone_at_the_end_is_said_in_a_line(server: FakeServer) -> None:
    options = ("-q", "--timeout", "3", "--reconnect-delay", "0.02")
    with started(server, *options, struck=True) as process:
        server.wait_heard("notify_job")
        server.stop()
        process.send_signal(signal.SIGTERM)

        status, errors = end(process)

        assert status == 143
        assert "spalloc: job 1 could not be destroyed" in errors
        assert "the server will destroy it within 20 s" in errors
        assert "Traceback" not in errors


def test_a_job_that_is_taken_over_and_ends_in_the_queue_is_said(server: FakeServer) -> None:
    server.instant = False
    job_id = server.add_job(state=1, power=None, boards=None, keepalive=None)
    with started(server, "-q", "-r", str(job_id)) as process:
        server.wait_heard("list_jobs")
        server.destroy(job_id, "fire")

        assert end(process) == (1, f"spalloc: job {job_id} was destroyed: fire\n")


def test_a_job_that_is_in_no_list_is_waited_for_all_the_same(server: FakeServer) -> None:
    server.instant = False
    server.behave["list_jobs"] = list
    with started(server) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "Job 1: queued - ...\n"
        server.change(1, state=3, power=True, boards=[[0, 0, 0]], allocated_machine_name="demo")
        assert process.stdout is not None
        assert "Machine: demo" in [process.stdout.readline().strip() for _ in range(6)]


def test_waiting_outlives_a_restart_of_the_server(server: FakeServer) -> None:
    server.instant = False
    with started(server, "--reconnect-delay", "0.02", "--timeout", "3") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("Job 1: queued - ")
        server.stop()
        assert "trying again" in process.stderr.readline()
        server.start()
        server.change(1, state=3, power=True, boards=[[0, 0, 0]], allocated_machine_name="demo")
        assert process.stdout is not None
        assert "Machine: demo" in [process.stdout.readline().strip() for _ in range(6)]


def test_a_job_without_keepalive_that_cannot_be_destroyed_is_said_to_stay(
    server: FakeServer,
) -> None:
    options = ("-q", "--keepalive", "-1", "--timeout", "3", "--reconnect-delay", "0.02")
    with started(server, *options, struck=True) as process:
        server.wait_heard("notify_job")
        server.stop()
        process.send_signal(signal.SIGTERM)

        status, errors = end(process)

        assert status == 143
        assert errors.endswith("; it has no keepalive period, so it stays\n")


def test_files_that_contradict_themselves_are_said_in_a_line(server: FakeServer, run: Run) -> None:
    Path(".spalloc").write_text("[spalloc]\nmachine = demo\ntags = fast\n")

    assert run("2") == (2, "", "spalloc: only one of machine and tags may be given\n")


def test_ctrl_c_while_boards_are_held_is_a_good_end(
    server: FakeServer, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hold(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(alloc, "hold", hold)

    assert run("-q") == (0, "", "")
    assert server.reasons == {1: None}
