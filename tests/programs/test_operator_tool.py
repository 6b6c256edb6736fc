"""Commands of ``spalloc-state`` for operators, against a server in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spalloc_server._programs.state_tool import main
from spalloc_server.server import SpallocServer
from tests.support.fake_frame import Rack

_CONFIG = """
boards = [(x, 0, z) for x in range(2) for z in range(3)]
configuration = Configuration(seconds_before_free=0, ip="127.0.0.1", machines=[Machine(
    "m", width=2, height=1,
    board_locations={board: (0, 3, n) for n, board in enumerate(boards)},
    bmp_ips={(0, 3): "frame"}, spinnaker_ips={board: f"b{n}" for n, board in enumerate(boards)},
    dead_boards={(1, 0, 2)},
)])
policy = Policy([("10.1.0.0/16", "use"), ("127.0.0.0/8", "use")], isolation="jobs")
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpallocServer]:
    Rack(monkeypatch).at_once = True
    monkeypatch.setenv("SUDO_USER", "ada")
    (tmp_path / "m.cfg").write_text(_CONFIG)
    with SpallocServer(tmp_path / "m.cfg", port=0) as server:
        yield server


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(command: str, *words: str) -> tuple[int, str, str]:
        status = main([command, str(tmp_path / "m.cfg"), *words])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_frames_are_taken_out_with_their_jobs_told(server: SpallocServer, run: Run) -> None:
    job = server.create_job(None, 0, 0, 0, owner="me")

    status, out, _ = run("drain", "m:c0f3", "--reason", "new fan")

    assert status == 0
    assert out.splitlines() == [
        "5 boards of machine m taken out of service",
        f"still in use by job {job}, until that ends",
    ]
    assert run("back", "--all")[1] == "5 boards of machine m back in service\n"
    assert run("back", "--all")[2] == "spalloc-state: not out of service: nothing is\n"


def test_dead_boards_are_said_to_be_dead(server: SpallocServer, run: Run) -> None:
    assert run("out", "m:1,0,2", "--reason", "x")[1] == (
        "board (1, 0, 2) of machine m not changed: dead in the configuration\n"
    )


def test_boards_are_tested_at_once(server: SpallocServer, run: Run) -> None:
    run("out", "m:0,0,1", "--reason", "x")

    assert run("test", "m:0,0,1")[1] == (
        "board (0, 0, 1) of machine m is tested as soon as no job has it\n"
    )


def test_jobs_are_listed_shown_given_and_ended(server: SpallocServer, run: Run) -> None:
    job = server.create_job(None, owner="me\x1b")

    listed = run("jobs")[1].splitlines()
    assert listed[0].split()[:4] == ["job", "state", "owner", "principal"]
    assert listed[1].split()[:4] == [str(job), "ready", "me\\x1b", "local"]
    (row,) = json.loads(run("jobs", "--json")[1])["jobs"]
    assert row["id"] == job
    assert run("jobs", "--on-grace")[1] == "no jobs\n"
    assert "principal: local\n" in run("job", str(job))[1]
    assert run("job", str(job), "--give", "cert:ada")[1] == (
        f"job {job} is of cert:ada, was of local\n"
    )
    assert run("end", str(job), "--if-owner", "you")[::2] == (
        1,
        f"spalloc-state: job {job} is of 'me\\x1b', not of 'you': nothing was done\n",
    )
    status, out, _ = run("end", str(job), "--reason", "drill")
    assert status == 0
    assert "Ended by an operator, unix:" in out
    assert out.endswith("(ada): drill\n")


def test_a_message_is_put_up_and_taken_down(server: SpallocServer, run: Run) -> None:
    assert run("message", "Back at noon", "--no-new-jobs")[1] == (
        "message: Back at noon\nnew jobs are refused\n"
    )
    assert server.controller.notice.text == "Back at noon"
    assert run("message")[1] == "no message\nnew jobs are accepted\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("10.1.2.3",), "host:10.1.2.3: use (rule 1 of 2, 10.1.0.0/16)"),
        (("192.0.2.1",), "host:192.0.2.1: deny (none of the 2 rules matches)"),
        (("10.1.2.3", "--cert", "ada"), "cert:ada: use (rule 1 of 2, 10.1.0.0/16)"),
        (("--unix", "root"), "deny (none of the 2 rules matches)"),
        (("--user", "ada"), "user:ada: deny (none of the 2 rules matches)"),
    ],
)
def test_the_rule_that_counts_is_told(
    server: SpallocServer, run: Run, words: tuple[str, ...], told: str
) -> None:
    status, out, _ = run("access", *words)

    assert status == 0
    assert told in out.splitlines()[0]
    assert out.splitlines()[1].startswith("jobs are isolated")


def test_without_rules_everybody_is_admitted(
    tmp_path: Path, server: SpallocServer, run: Run
) -> None:
    (tmp_path / "m.cfg").write_text(_CONFIG.rpartition("policy")[0])
    assert server.read_config_file()

    assert run("access", "192.0.2.1")[1] == (
        "host:192.0.2.1: use (the configuration has no rules of access)\n"
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("out", "m:9,9,9"), "machine 'm' has no such board"),
        (("out", "m:0,0,1"), "out needs --reason TEXT, for the readers of the list"),
        (("drain", "m", "--reason", " "), "drain needs --reason TEXT"),
        (("out", "m:x", "--reason", "x"), "no machine 'm:x'; there are m"),
        (("out", "0,0,1", "--reason", "x"), "'0,0,1' names no"),
        (("back",), "back which boards? name them, or say --all"),
        (("back", "m", "--all"), "back which boards? name them, or say --all"),
        (("job", "99"), "there is no job 99 now"),
        (("access",), "whose access?"),
    ],
)
def test_mistakes_are_told_in_a_line(
    server: SpallocServer, run: Run, words: tuple[str, ...], text: str
) -> None:
    status, out, error = run(*words)

    assert (status, out) == (1, "")
    assert error.startswith("spalloc-state: ")
    assert text in error
    assert error.count("\n") == 1


def test_without_a_server_that_is_told(tmp_path: Path, run: Run) -> None:
    (tmp_path / "m.cfg").write_text(_CONFIG)

    status, _, error = run("jobs")

    assert status == 1
    assert "no server runs on" in error


def test_boards_of_a_silent_frame_are_told_to_come_back_by_themselves(
    server: SpallocServer, run: Run
) -> None:
    run("out", "m:0,0,0", "--reason", "x")
    where = server._recorded._records.maps["m"]
    with server._recorded.undisturbed:
        server._recorded._health.fall_silent("m", where.in_frame((0, 0, 0))[0])

    status, out, _ = run("back", "m:0,0,0", "m:0,0,1")

    assert status == 0
    assert "will come back when the frame answers again" in out


def test_a_job_is_given_to_a_local_user_by_name_or_number(server: SpallocServer, run: Run) -> None:
    job = server.create_job(None, owner="me")

    assert run("job", str(job), "--give", "unix:root") == (
        0,
        f"job {job} is of unix:0, was of local\n",
        "",
    )
    assert run("job", str(job), "--give", "unix:1017")[1] == (
        f"job {job} is of unix:1017, was of unix:0\n"
    )
    status, _, err = run("job", str(job), "--give", "unix:nobody-of-this-name")
    assert (status, err) == (
        1,
        "spalloc-state: this computer has no user 'nobody-of-this-name'\n",
    )
    assert "'unix:' is no principal" in run("job", str(job), "--give", "unix:")[2]
