"""The real server as a process, on simulated frames, with clients over TCP."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import spalloc_server
import spalloc_server.__main__
from tests.support.server_process import ServerProcess
from tests.support.tcp_client import TcpClient

DEMO = Path(__file__).parent.parent.parent / "examples" / "demo.cfg"
#: Ignores SIGINT, as a shell does for what it starts with `&`, then becomes the program.
DEAF_TO_SIGINT = (
    sys.executable,
    "-c",
    "import os, signal, sys;"
    "signal.signal(signal.SIGINT, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(DEMO, tmp_path / "demo.cfg")
    return tmp_path


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "spalloc_server", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def ready(client: TcpClient, job_id: int) -> dict[str, object]:
    """Wait until a job is ready or has ended; returns its state."""
    client.call("notify_job", job_id)
    while (state := client.call("get_job_state", job_id))["state"] in (1, 2):
        client.notification()
    assert isinstance(state, dict)
    return state


# --- options and exit statuses ---


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_told(folder: Path, option: str) -> None:
    done = run(folder, option)

    assert (done.returncode, done.stdout.split()[-1]) == (0, spalloc_server.__version__)
    assert sorted(path.name for path in folder.iterdir()) == ["demo.cfg"]


def test_the_console_commands_are_the_same_program() -> None:
    for name in ("spalloc_server", "spalloc-server"):
        program = Path(sys.executable).with_name(name)
        told = subprocess.check_output([program, "--version"], text=True)
        assert told.split()[-1] == spalloc_server.__version__


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--port", "x", "demo.cfg"],
        ["--port", "65536", "demo.cfg"],
        ["--fly", "demo.cfg"],
        ["demo.cfg", "other.cfg"],
        ["--fault", "frame mute", "demo.cfg"],
        ["--stop-timeout", "-1", "demo.cfg"],
        ["--durability", "perhaps", "demo.cfg"],
        ["--job-log-days", "0", "demo.cfg"],
    ],
)
def test_bad_arguments(folder: Path, options: list[str]) -> None:
    done = run(folder, *options)

    assert done.returncode == 2
    assert "usage: spalloc_server" in done.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("configuration = Configuration(machines=3)\n", "bad.cfg, line 1"),
        ("\n\n1 / 0\n", "bad.cfg, line 3"),
        ("x = (\n", "bad.cfg, line"),
        ("import sys\nsys.exit(0)\n", "bad.cfg, line 2"),
        ("", "bad.cfg"),
    ],
)
def test_a_configuration_that_cannot_be_used(folder: Path, text: str, words: str) -> None:
    (folder / "bad.cfg").write_text(text)

    done = run(folder, "--port", "0", "bad.cfg")

    assert done.returncode == 1
    assert words in done.stderr
    assert "Config file could not be loaded." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_configuration_that_is_not_there(folder: Path) -> None:
    done = run(folder, "--quiet", "--port", "0", "none.cfg")

    assert done.returncode == 1
    assert "none.cfg" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unexpected_failure(folder: Path) -> None:
    program = (
        "import sys; from spalloc_server import server\n"
        "def fail(**_): raise RuntimeError('surprise')\n"
        "server.SpallocServer = fail\n"
        "sys.exit(server.main(['x.cfg']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, check=False
    )

    assert done.returncode == 2
    assert "surprise" in done.stderr


# --- running, stopping, running again ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_jobs_go_on_after_a_stop_and_a_start(folder: Path, number: int) -> None:
    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        job_id = client.call("create_job", 3, owner="me", keepalive=None)
        assert ready(client, job_id)["state"] == 3
        info = client.call("get_job_machine_info", job_id)
        idle = client.call("create_job", machine="solo", owner="me", keepalive=None)
        client.call("power_off_job_boards", idle)
        assert ready(client, idle)["power"] is False
        queued = client.call("create_job", machine="solo", owner="me", keepalive=None)
        assert server.stop(number) == 0
        assert client.rest() == []
        assert "Traceback" not in server.output

    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        state = client.call("get_job_state", job_id)
        assert (state["state"], state["power"]) == (3, True)
        assert client.call("get_job_machine_info", job_id) == info
        state = client.call("get_job_state", idle)
        assert (state["state"], state["power"]) == (3, False)
        assert client.call("get_job_state", queued)["state"] == 1
        assert client.call("create_job", owner="me") == queued + 1
        client.call("power_off_job_boards", job_id)
        assert ready(client, job_id)["power"] is False
        assert server.stop() == 0


def test_sigint_stops_also_where_the_parent_ignored_it(folder: Path) -> None:
    with ServerProcess(folder, "demo.cfg", prefix=DEAF_TO_SIGINT) as server:
        assert server.stop(signal.SIGINT) == 0


def test_a_kill_loses_nothing_that_was_answered(folder: Path) -> None:
    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        job_id = client.call("create_job", 3, owner="me", keepalive=None)
        assert ready(client, job_id)["state"] == 3
        info = client.call("get_job_machine_info", job_id)
        assert server.stop(signal.SIGKILL) == -signal.SIGKILL

    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        assert client.call("get_job_state", job_id)["state"] == 3
        assert client.call("get_job_machine_info", job_id) == info
        assert server.stop() == 0


def test_a_second_signal_waits_no_longer_for_hardware(folder: Path) -> None:
    with (
        ServerProcess(
            folder, "--stop-timeout", "600", "--fault", "192.168.0.0 mute", "demo.cfg"
        ) as server,
        server.client() as client,
    ):
        client.call("create_job", owner="me", keepalive=None)
        server.kill(signal.SIGTERM)
        server.wait_for("a second signal")
        assert server.stop(signal.SIGINT) == 0
        assert "given up" in server.output

    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        assert ready(client, 1)["state"] == 3
        assert server.stop() == 0


def test_one_dead_frame_does_not_keep_the_server_from_starting(folder: Path) -> None:
    mute = ("--fault", "192.168.0.0 mute")
    with (
        ServerProcess(folder, "--stop-timeout", "0.1", *mute, "demo.cfg") as server,
        server.client() as client,
    ):
        healthy = client.call("create_job", owner="me", machine="solo")
        assert ready(client, healthy)["state"] == 3
        assert server.stop() == 0


def test_sighup_reads_the_configuration_and_never_ends_the_process(folder: Path) -> None:
    config = folder / "demo.cfg"
    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        client.call("notify_machine")
        config.write_text(config.read_text().replace("machines=[frame, solo]", "machines=[solo]"))
        server.kill(signal.SIGHUP)
        assert client.notification() == {"machines_changed": ["frame"]}
        assert [machine["name"] for machine in client.call("list_machines")] == ["solo"]

        config.write_text("raise SystemExit\n")
        server.kill(signal.SIGHUP)
        server.wait_for("demo.cfg, line 1")
        assert [machine["name"] for machine in client.call("list_machines")] == ["solo"]
        assert server.stop() == 0


def test_sighup_before_and_after_the_server_is_harmless(folder: Path) -> None:
    """From within, since a signal from outside comes when it likes."""
    program = f"""
import os, signal, sys
from spalloc_server import server

class Stub:
    def __init__(self, **_):
        os.kill(os.getpid(), signal.SIGHUP)
    def is_alive(self):
        return False
    def stop_and_join(self):
        os.kill(os.getpid(), signal.SIGHUP)

server.SpallocServer = Stub
sys.exit(server.main(["{folder}/x.cfg"]))
"""

    done = subprocess.run([sys.executable, "-c", program], cwd=folder, check=False)

    assert done.returncode == 0


def test_sighup_is_harmless_while_the_server_is_being_imported(folder: Path) -> None:
    """From within, again: an import that takes so long that the signal comes first."""
    program = """
import importlib.abc, os, signal, sys
import spalloc_server.__main__
assert "spalloc_server.server" not in sys.modules

class Early(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "spalloc_server.server":
            os.kill(os.getpid(), signal.SIGHUP)

sys.meta_path.insert(0, Early())
sys.argv = ["spalloc_server", "nowhere.cfg"]
status = spalloc_server.__main__.main()
os.kill(os.getpid(), signal.SIGHUP)
sys.exit(10 + status)
"""

    done = subprocess.run([sys.executable, "-c", program], cwd=folder, check=False)

    assert done.returncode == 11


@pytest.mark.parametrize(
    ("entry", "module"),
    [
        ("main", "spalloc_server.server"),
        ("state", "spalloc_server._programs.state_tool"),
        ("simulator", "spalloc_server._simulator.main"),
        ("history", "spalloc_server._history.main"),
    ],
)
def test_an_interrupt_ends_a_program_without_a_word_while_it_is_being_imported(
    folder: Path, entry: str, module: str
) -> None:
    program = f"""
import importlib.abc, os, signal, sys
import spalloc_server.__main__
assert "{module}" not in sys.modules

class Early(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "{module}":
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Early())
spalloc_server.__main__.{entry}()
"""

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, check=False, capture_output=True
    )

    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("entry", ["main", "state", "simulator", "history"])
def test_each_program_begins_with_its_entry(
    entry: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)]
    monkeypatch.setattr(sys, "argv", ["program", "--version"])

    try:
        with pytest.raises(SystemExit, match="0"):
            getattr(spalloc_server.__main__, entry)()
        assert signal.getsignal(signal.SIGINT) is before[0]
    finally:
        signal.signal(signal.SIGHUP, before[1])

    assert spalloc_server.__version__ in capsys.readouterr().out


def test_an_interrupt_that_is_ignored_stays_so(folder: Path) -> None:
    program = """
import os, signal
from spalloc_server.__main__ import importing

signal.signal(signal.SIGINT, signal.SIG_IGN)
with importing():
    os.kill(os.getpid(), signal.SIGINT)
assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
"""

    done = subprocess.run([sys.executable, "-c", program], cwd=folder, check=False)

    assert done.returncode == 0


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("spalloc_server", "main"),
        ("spalloc-server", "main"),
        ("spalloc-state", "state"),
        ("spalloc-simulator", "simulator"),
        ("spalloc-history", "history"),
    ],
)
def test_the_console_commands_begin_where_signals_are_harmless(name: str, entry: str) -> None:
    program = Path(sys.executable).with_name(name).read_text()

    assert f"from spalloc_server.__main__ import {entry}" in program


def test_only_one_server_on_a_state(folder: Path) -> None:
    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        second = run(folder, "--simulate", "--port", "0", "demo.cfg")

        assert second.returncode == 1
        assert str(server.process.pid) in second.stderr
        assert "Traceback" not in second.stderr
        assert client.call("version") == spalloc_server.__version__
        assert server.stop() == 0


def test_only_one_server_on_a_port(folder: Path) -> None:
    shutil.copy(DEMO, folder / "other.cfg")
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]

        second = run(folder, "--simulate", "--port", str(port), "other.cfg")

        assert second.returncode == 1
        assert str(port) in second.stderr
        assert str(os.getpid()) in second.stderr
        assert "Traceback" not in second.stderr


def test_quiet_hides_all_but_errors(folder: Path) -> None:
    port = free_port()
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(folder / "told"))
    told.settimeout(30)
    environment = {"NOTIFY_SOCKET": str(folder / "told")}
    with (
        told,
        ServerProcess(
            folder, "--quiet", "demo.cfg", port=port, ready=False, environment=environment
        ) as server,
    ):
        while b"READY=1" not in told.recv(1000):
            pass  # sockets are put into the service manager's keeping before
        with server.client() as client:
            client.ask("create_job")
            assert "exception" in client.reply()
        assert server.stop() == 0

    assert server.output == ""


def free_port() -> int:
    with socket.create_server(("", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def test_a_server_without_configuration_simulates_a_frame(folder: Path) -> None:
    with ServerProcess(folder) as server, server.client() as client:
        (machine,) = client.call("list_machines")
        assert machine["width"] * machine["height"] * 3 == 24
        assert ready(client, client.call("create_job", 24, owner="me"))["state"] == 3
        assert server.stop() == 0


def test_the_job_log_has_one_line_for_each_event(folder: Path) -> None:
    with (
        ServerProcess(folder, "--job-log", "jobs.log", "demo.cfg") as server,
        server.client() as client,
    ):
        job_id = client.call("create_job", owner="evil\n2026-01-01 job 99: ready", machine="solo")
        ready(client, job_id)
        client.call("power_off_job_boards", job_id)
        client.call("destroy_job", job_id, "over\x1b[2J")
        assert server.stop() == 0

    log = (folder / "jobs.log").read_text()
    words = [line.split(" ", 2)[2] for line in log.splitlines()]
    board = "board (0, 0, 0) of solo (cabinet 0, frame 0, board 0, BMP 192.168.6.0)"
    assert words == [
        "job 1: created (machine='solo') owner=evil\\n2026-01-01 job 99: ready keepalive=60.0 "
        "host=127.0.0.1",
        f"job 1: power on: {board}",
        "job 1: links off: board (0, 0, 0) east north_east north west south_west south"
        + board.removeprefix("board (0, 0, 0)"),
        "job 1: ready",
        f"job 1: power off: {board}",
        "job 1: destroyed: over\\x1b[2J (by client 127.0.0.1)",
        f"job 1: power off: {board}",
        "server shut down",
    ]
    assert not (folder / "spalloc_jobs.log").exists()


def test_a_simulation_uses_files_of_its_own(folder: Path) -> None:
    with ServerProcess(folder, "demo.cfg") as server:
        assert server.stop() == 0

    names = {path.name for path in folder.iterdir()}
    assert "spalloc_jobs.simulated.log" in names
    assert f".demo.cfg.simulated.state.{spalloc_server.__version__}" in names
    assert all(name == "demo.cfg" or "simulated" in name for name in names)


def test_no_warnings(folder: Path) -> None:
    environment = {"PYTHONWARNINGS": "default", "PYTHONDEVMODE": "1"}
    with (
        ServerProcess(folder, "demo.cfg", environment=environment) as server,
        server.client() as client,
    ):
        job_id = client.call("create_job", 3, owner="me")
        assert ready(client, job_id)["state"] == 3
        client.call("destroy_job", job_id)
        server.kill(signal.SIGHUP)
        server.wait_for("(?s)Configuration loaded.*Configuration loaded")
        assert server.stop() == 0

    assert "Warning" not in server.output
    assert "Traceback" not in server.output
