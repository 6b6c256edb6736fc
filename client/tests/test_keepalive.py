"""The process that keeps jobs alive, against main programs of all kinds.

The main program is always a process of its own, so that it can be stopped, killed and
hogged; its effect is seen at the server.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from spalloc_client import Job, _keepalive, _keepalive_process
from spalloc_client._endpoint import Endpoint
from spalloc_client._keepalive import Keepalive

from tests.fake_server import HANG, FakeServer

PROGRAM = """
import os, signal, sys, time
from spalloc_client import Job
job = Job(hostname="127.0.0.1", port={port}, owner="me", keepalive=0.1,
          reconnect_delay=0.01, config_filenames=[])
print(job._guard.pid, flush=True)
"""


@contextmanager
def program(server: FakeServer, rest: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run a main program that has a job; gives it and its keepalive process's number."""
    source = PROGRAM.format(port=server.port) + textwrap.dedent(rest)
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def signs_of_life(server: FakeServer, more: int = 5) -> None:
    """Wait for some more signs of life."""
    server.wait_heard("job_keepalive", len(server.calls("job_keepalive")) + more)


def test_it_goes_on_while_the_main_program_hogs_the_interpreter(server: FakeServer) -> None:
    # A regular expression that takes ages, in C, without ever letting go of the lock.
    with program(server, "import re; print(1, flush=True); re.match('(a+)+b', 'a' * 60)"):
        signs_of_life(server)


def test_it_goes_on_while_the_main_program_is_stopped(server: FakeServer) -> None:
    with program(server, "time.sleep(1000)") as (process, _):
        # Ctrl-Z sends SIGTSTP to the group, which only a shell's children heed; the same:
        os.killpg(process.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)

        signs_of_life(server)

        os.killpg(process.pid, signal.SIGCONT)
        signs_of_life(server)


def test_ctrl_c_and_hang_up_do_not_reach_it(server: FakeServer) -> None:
    ignore = "[signal.signal(s, signal.SIG_IGN) for s in (signal.SIGINT, signal.SIGHUP)]"
    with program(server, f"{ignore}; print(1, flush=True); time.sleep(1000)") as (process, _):
        assert process.stdout is not None
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)
        os.killpg(process.pid, signal.SIGHUP)

        signs_of_life(server)


def test_it_goes_on_when_a_forked_child_has_come_and_gone(server: FakeServer) -> None:
    rest = """
    import warnings
    warnings.simplefilter("ignore")
    child = os.fork()
    if child == 0:
        with job:
            sys.exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    time.sleep(1000)
    """
    with program(server, rest) as (process, _):
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"

        signs_of_life(server)
        assert server.reasons == {}


def test_it_ends_when_the_main_program_is_killed_though_a_child_lives_on(
    server: FakeServer,
) -> None:
    rest = """
    import warnings
    warnings.simplefilter("ignore")
    if os.fork() == 0:
        time.sleep(1000)
    print(1, flush=True)
    time.sleep(1000)
    """
    with program(server, rest) as (process, pid):
        assert process.stdout is not None
        process.stdout.readline()
        signs_of_life(server)
        keepalive = os.pidfd_open(pid)

        process.kill()

        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        _wait_for_end(keepalive)


@pytest.mark.parametrize("way", ["job.close()", "job.destroy()", "sys.exit()", "os._exit(1)"])
def test_it_ends_with_the_job_and_with_the_program(server: FakeServer, way: str) -> None:
    with program(server, f"input(); {way}; input()") as (process, pid):
        signs_of_life(server)
        keepalive = os.pidfd_open(pid)
        assert process.stdin is not None

        process.stdin.write("\n")
        process.stdin.flush()

        _wait_for_end(keepalive)


def _wait_for_end(pidfd: int) -> None:
    import select

    assert select.select([pidfd], [], [], 30)[0], "the keepalive process goes on"
    os.close(pidfd)


def test_it_outlives_the_servers_restart(server: FakeServer) -> None:
    with program(server, "time.sleep(1000)"):
        signs_of_life(server)
        server.stop()
        server.start()

        signs_of_life(server)


def test_it_goes_on_while_the_server_answers_nothing(server: FakeServer) -> None:
    server.behave["job_keepalive"] = lambda _: HANG
    with program(server, "time.sleep(1000)"):
        signs_of_life(server, 10)

    assert server.connections <= 2  # the job's and the keepalive's


def test_it_is_started_again_if_somebody_kills_it(server: FakeServer) -> None:
    with Job(
        hostname="127.0.0.1", port=server.port, owner="me", keepalive=0.1, config_filenames=[]
    ) as job:
        signs_of_life(server)
        assert job._guard is not None
        pid = job._guard.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        assert job.state == 3

        assert job._guard.pid != pid
        signs_of_life(server)


def test_a_job_without_keepalive_needs_no_process(server: FakeServer) -> None:
    with Job(
        hostname="127.0.0.1", port=server.port, owner="me", keepalive=None, config_filenames=[]
    ) as job:
        assert job._guard is None


def test_it_needs_nothing_but_the_standard_library() -> None:
    from spalloc_client import _keepalive

    code = f"import runpy, sys; sys.argv[1:] = []; runpy.run_path({str(_keepalive._PROGRAM)!r})"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


def test_a_process_that_does_not_hear_is_killed(server: FakeServer) -> None:
    keepalive = Keepalive(Endpoint("127.0.0.1", server.port), 1, 60.0, 1.0)
    assert keepalive.pid is not None
    os.kill(keepalive.pid, signal.SIGSTOP)

    keepalive.stop()

    assert isinstance(keepalive._keeper, _keepalive._Process)
    assert keepalive._keeper._process.returncode == -signal.SIGKILL


def test_a_forked_child_leaves_its_parent_s_process_alone(server: FakeServer) -> None:
    keepalive = Keepalive(Endpoint("127.0.0.1", server.port), 1, 60.0, 1.0)
    owner, keepalive._owner = keepalive._owner, 0

    keepalive.stop()
    keepalive.ensure()

    assert keepalive._keeper.alive()
    keepalive._owner = owner
    keepalive.stop()


# --- interpreters ---


@pytest.fixture
def unproven(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """No interpreter has been seen to work yet; returns those that were."""
    proven: set[str] = set()
    monkeypatch.setattr(_keepalive, "_proven", proven)
    return proven


@pytest.mark.parametrize("executable", [None, "", "/usr/bin/env", "/no/such/python3"])
def test_another_interpreter_is_found_where_ours_is_not_told(
    server: FakeServer,
    unproven: set[str],
    monkeypatch: pytest.MonkeyPatch,
    executable: str | None,
) -> None:
    monkeypatch.setattr(sys, "executable", executable)
    monkeypatch.setattr(sys, "_base_executable", executable)

    keepalive = Keepalive(Endpoint("127.0.0.1", server.port), 1, 0.1, 1.0)

    signs_of_life(server)
    assert keepalive.pid is not None
    assert unproven == {f"{sys.prefix}/bin/python3.{sys.version_info.minor}"}
    keepalive.stop()


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A program that embeds Python: no interpreter is anywhere; returns where one may be put."""
    place = tmp_path / "python3"
    for name in ("executable", "_base_executable"):
        monkeypatch.setattr(sys, name, str(place))
    for name in ("prefix", "base_prefix"):
        monkeypatch.setattr(sys, name, str(tmp_path))
    return place


@pytest.mark.usefixtures("unproven")
@pytest.mark.parametrize("program", [None, "#!/bin/sh\nexit 127\n", "#!/no/such\n"])
def test_without_any_interpreter_a_thread_keeps_the_job_alive_and_says_so(
    server: FakeServer,
    embedded: Path,
    caplog: pytest.LogCaptureFixture,
    program: str | None,
) -> None:
    if program is not None:
        embedded.write_text(program)
        embedded.chmod(0o755)

    with Job(
        hostname="127.0.0.1", port=server.port, owner="me", keepalive=0.1, config_filenames=[]
    ) as job:
        signs_of_life(server)
        assert job._guard is not None
        assert job._guard.pid is None
        server.drop_clients()
        signs_of_life(server)
        assert job.state == 3

    assert f"(sys.executable is '{embedded}')" in caplog.text
    server.wait_clients(0)


@pytest.mark.usefixtures("unproven")
def test_a_program_that_never_shows_to_be_an_interpreter_is_killed(
    server: FakeServer, embedded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(_keepalive, "_PATIENCE_AT_START", 0.2)
    mark = tmp_path / "pid"
    embedded.write_text(f"#!/bin/sh\necho $$ > {mark}\nexec sleep 1000\n")
    embedded.chmod(0o755)

    keepalive = Keepalive(Endpoint("127.0.0.1", server.port), 1, 0.1, 1.0)

    assert keepalive.pid is None
    keepalive.stop()
    if mark.exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int(mark.read_text()), 0)


def test_a_program_of_another_name_is_not_started(
    embedded: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    frozen = tmp_path / "simulator"
    frozen.write_text("#!/bin/sh\n")
    frozen.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(frozen))

    assert list(_keepalive._interpreters()) == []


# --- the program itself, which cannot be measured where it runs ---


def test_it_ends_at_once_if_its_parent_has_ended_already(server: FakeServer) -> None:
    task = {
        "hostname": "127.0.0.1",
        "port": server.port,
        "job_id": 1,
        "parent": os.getppid(),
        "interval": 60.0,
        "reconnect_delay": 1.0,
    }
    program = [sys.executable, "-I", "-S", str(_keepalive._PROGRAM), json.dumps(task)]

    with subprocess.Popen(program, stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 0

    assert server.connections == 0


def test_a_server_that_does_not_take_signs_of_life_is_given_up() -> None:
    class Full(socket.socket):
        def send(self, data: object, flags: int = 0, /) -> int:
            return 3

    with Full() as server, pytest.raises(OSError, match="has not read for ages"):
        _keepalive_process._send(server, "job_keepalive", 1)


def test_a_pause_ends_when_it_is_told_to_stop() -> None:
    ours, theirs = socket.socketpair()
    watched = select.poll()
    watched.register(ours, select.POLLIN)
    with ours, theirs:
        _keepalive_process._pause(watched, 0.0)
        theirs.send(b"q")

        with pytest.raises(SystemExit):
            _keepalive_process._pause(watched, 60.0)
