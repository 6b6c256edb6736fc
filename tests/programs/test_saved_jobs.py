import json
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import server as server_module
from spalloc_server._programs import saved_jobs
from spalloc_server._programs.check import EndedJob
from spalloc_server._saved import recovery
from spalloc_server.configuration import Machine
from tests.support.simulated_server import Client, simulated_server


def machine(
    name: str, width: int = 1, height: int = 1, tags: tuple[str, ...] = ("default",), net: int = 1
) -> Machine:
    boards = [(x, y, z) for x in range(width) for y in range(height) for z in range(3)]
    return Machine.with_standard_ips(
        name,
        tags=set(tags),
        width=width,
        height=height,
        board_locations={board: (0, 0, number) for number, board in enumerate(boards)},
        base_ip=f"10.{net}.0.0",
    )


def write(config: Path, *machines: Any) -> None:
    config.write_text(f"configuration = Configuration(machines={list(machines)!r})\n")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "site.cfg"
    write(path, machine("a", 2, 2), machine("b", 1, 1, tags=("small",), net=2))
    return path


def listing(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_running_servers_jobs_are_compared_without_touching_anything(config: Path) -> None:
    with simulated_server(config) as server, Client(server.port) as client:
        on_a = client.call("create_job", 3, owner="ann")
        on_b = client.call("create_job", 3, owner="bob", machine="b")
        queued = client.call("create_job", 2, 2, owner="cleo")
        waiting_for_b = client.call("create_job", 3, owner="dan", machine="b")
        for job_id in (on_a, on_b):
            client.wait_until(job_id, 3)
        client.call("list_events", 0)  # Answered once all events so far are in their file.
        write(config, machine("a", 2, 1))
        before = listing(config.parent)

        told = saved_jobs.difference(str(config))

        assert listing(config.parent) == before
        assert told.jobs == 4
        assert told.ended == [
            EndedJob(on_a, "ann", "a", "its boards, frames or addresses change"),
            EndedJob(on_b, "bob", "b", "it is gone"),
            EndedJob(queued, "cleo", "", "no machine could ever run it"),
            EndedJob(waiting_for_b, "dan", "", "no machine could ever run it"),
        ]
        assert server.read_config_file()
        ended = {job.job_id for job in told.ended}
        left = {job["job_id"] for job in client.call("list_jobs")}
        assert not ended & left


def test_a_change_that_ends_nothing_says_so(config: Path) -> None:
    with simulated_server(config) as server:
        job_id = server.create_job(None, 3, owner="ann")
    write(config, machine("a", 2, 2, tags=("default", "new")))

    told = saved_jobs.difference(str(config))

    assert (told.jobs, told.ended) == (1, [])
    assert job_id == 1
    text = saved_jobs.report("site.cfg", told, as_json=False)
    assert text == "site.cfg: a reload would end 0 of 1 saved job"


def test_where_nothing_was_saved_nothing_ends(config: Path) -> None:
    told = saved_jobs.difference(str(config))

    assert (told.jobs, told.ended) == (0, [])


def test_where_nothing_was_saved_another_folder_is_asked_for(config: Path) -> None:
    (config.parent / "elsewhere").mkdir()
    with simulated_server(config) as server:
        server.create_job(None, 3, owner="ann")

    told = saved_jobs.difference(str(config), str(config.parent / "elsewhere"))

    (note,) = told.notes
    assert f"{config.parent / 'elsewhere'} has no state of {config.name}" in note
    assert "--state-dir" in note
    assert note in saved_jobs.report("site.cfg", told, as_json=False)
    assert json.loads(saved_jobs.report("site.cfg", told, as_json=True))["notes"] == [note]


def test_two_readings_that_do_not_belong_together_are_repeated(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated_server(config) as server:
        server.create_job(None, owner="ann")
    read = recovery.recover
    readings: list[Any] = []

    def first_one_is_torn(*args: Any) -> Any:
        found = read(*args)
        if not readings:
            found.unusable.append(config)
        readings.append(found)
        return found

    monkeypatch.setattr(saved_jobs, "recover", first_one_is_torn)

    assert saved_jobs.difference(str(config)).jobs == 1
    assert len(readings) == 2


def test_what_can_never_be_read_whole_is_told_as_it_was_found(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with simulated_server(config) as server:
        server.create_job(None, owner="ann")
    readings: list[Any] = []

    def all_are_torn(*args: Any) -> Any:
        readings.append(recovery.recover(*args))
        readings[-1].unusable.append(config)
        return readings[-1]

    monkeypatch.setattr(saved_jobs, "recover", all_are_torn)

    assert saved_jobs.difference(str(config)).jobs == 1
    assert len(readings) == saved_jobs._TRIES


def test_a_queued_job_that_can_still_run_does_not_end(config: Path) -> None:
    with simulated_server(config) as server:
        server.create_job(None, 3, owner="ann", machine="b")
        server.create_job(None, 3, owner="bob", machine="b")

        told = saved_jobs.difference(str(config))

    assert (told.jobs, told.ended) == (2, [])


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "spalloc_server", *arguments],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_program_tells_the_difference(config: Path) -> None:
    with simulated_server(config) as server:
        server.create_job(None, 3, owner="ann")
    write(config, machine("b"))

    text = run("--diff", config)
    as_json = run("--diff", "--json", config)

    assert text.returncode == as_json.returncode == 0
    assert text.stdout == (
        "ends: job 1 of ann (machine a): it is gone\n"
        f"{config}: a reload would end 1 of 1 saved job\n"
    )
    assert json.loads(as_json.stdout) == {
        "file": str(config),
        "jobs": 1,
        "ended": [{"job_id": 1, "owner": "ann", "machine": "a", "reason": "it is gone"}],
        "notes": [],
    }


def test_the_program_checks_a_configuration(config: Path) -> None:
    good = run("--check", config)
    config.write_text("configuration = 1\n")
    bad = run("--check", "--json", config)

    assert good.returncode == 0
    assert "a: 2 x 2 triads" in good.stdout
    assert bad.returncode == 1
    assert json.loads(bad.stdout)["errors"] == 1


def test_a_configuration_that_cannot_be_loaded_has_no_difference(config: Path) -> None:
    config.write_text("configuration = 1\n")

    told = run("--diff", config)
    as_json = run("--diff", "--json", config)

    assert told.returncode == as_json.returncode == 1
    assert told.stderr == as_json.stderr
    assert told.stderr.startswith("spalloc_server: ")
    assert "Traceback" not in told.stderr
    assert told.stdout == ""
    answer = json.loads(as_json.stdout)
    assert answer["file"] == str(config)
    assert answer["error"] in as_json.stderr


@pytest.mark.parametrize(
    "arguments",
    [("--check",), ("--diff",), ("--json", "some.cfg"), ("--check", "--diff", "some.cfg")],
)
def test_nonsense_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as refused:
        server_module.main([*arguments])

    assert refused.value.code == 2


def test_principals_that_the_new_rules_shut_out_are_named(config: Path) -> None:
    with simulated_server(config) as server:
        for host in ("10.1.9.3", "10.1.9.3", "10.1.2.3", None, "10.2.0.1"):
            server.controller.create_job(host, owner="me")
        for principal in ("cert:eve\n", "user:ada", f"unix:{os.getuid()}"):
            server.controller.create_job_for(principal, None, owner="me")
    rules = [
        ("10.1.9.0/24", "deny"), ("10.1.0.0/16", "use"), ("user:*", "read"),
        (f"unix:{pwd.getpwuid(os.getuid()).pw_name}", "operate"),
    ]  # fmt: skip
    config.write_text(config.read_text() + f"policy = Policy({rules})\n")

    told = saved_jobs.difference(str(config))

    assert told.notes == [
        "shut out: host:10.1.9.3 is denied (access rule 1): jobs 1, 2",
        "shut out: host:10.2.0.1 is denied (no rule admits it): job 5",
        "shut out: cert:eve\\n is denied by its name (no rule admits it): job 6",
        "shut out: user:ada could only read by its name (access rule 3): job 7",
    ]
    assert (told.jobs, told.ended) == (8, [])
