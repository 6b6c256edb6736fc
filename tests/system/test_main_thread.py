"""Who may end the program: faults before it is ready, and none in the main thread later."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server_process import ServerProcess

DEMO = Path(__file__).parent.parent.parent / "examples" / "demo.cfg"
PATIENCE = 30.0

#: A configuration whose machine no ASCII terminal can show.
UMLAUT = """
configuration = Configuration(
    machines=[Machine.single_board("m\u00fc", bmp_ip="b", spinnaker_ip="s")]
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(DEMO, tmp_path / "demo.cfg")
    (tmp_path / "umlaut.cfg").write_text(UMLAUT)
    return tmp_path


class Program:
    """The program with outputs of the test's choice, told from outside when it serves."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        stdout: int | None = subprocess.DEVNULL,
        stderr: int | None = subprocess.DEVNULL,
        before: str = "",
        environment: dict[str, str] | None = None,
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        code = f"{before}\nimport sys\nfrom spalloc_server.__main__ import main\nsys.exit(main())"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "--simulate", "--port", str(self.port), *options],
            cwd=folder,
            stdout=stdout,
            stderr=stderr,
            env={**os.environ, **(environment or {})},
        )

    def ask(self, line: bytes = b'{"command": "version"}\n') -> bytes:
        """Send one command and return its answer; waits until the program serves."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as client:
                    client.sendall(line)
                    return client.recv(1000)
            except ConnectionError:
                assert self.process.poll() is None, "it has ended"
                assert time.monotonic() < deadline, "it does not serve"
                time.sleep(0.02)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def closed_pipe() -> int:
    """Return the writing end of a pipe that nobody reads any more."""
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


def full_pipe() -> int:
    """Return the writing end of a pipe that is full and that nobody reads."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with pytest.raises(BlockingIOError):
        while True:
            os.write(writing, b"x" * 4096)
    os.set_blocking(writing, True)
    _kept_open.append(reading)
    return writing


_kept_open: list[int] = []


@pytest.mark.parametrize("made", [closed_pipe, full_disk, full_pipe])
@pytest.mark.parametrize("which", ["stdout", "stderr"])
def test_no_output_keeps_the_server_from_serving_and_stopping(
    folder: Path, made: Callable[[], int], which: str
) -> None:
    descriptor = made()
    output: dict[str, int | None] = {which: descriptor}
    program = Program(folder, "demo.cfg", **output)  # type: ignore[arg-type]
    try:
        assert b"return" in program.ask()
        refused = b'{"command": "create_job", "args": [2.5], "kwargs": {"owner": "me"}}\n'
        for _ in range(50):
            assert b"exception" in program.ask(refused)
        assert program.stop() == 0
    finally:
        program.process.kill()
        program.process.wait()
        os.close(descriptor)
        while _kept_open:
            os.close(_kept_open.pop())


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "POSIX"])
def test_machines_have_any_name_on_any_terminal(folder: Path, locale: str) -> None:
    environment = {"LC_ALL": locale, "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    reading, writing = os.pipe()
    program = Program(folder, "umlaut.cfg", stdout=writing, environment=environment)
    os.close(writing)

    assert b"return" in program.ask()
    assert program.stop() == 0

    with os.fdopen(reading, "rb") as output:
        said = output.read()
    assert b"1 board" in said
    assert "mü".encode() in said or b"m\\xfc" in said


@pytest.mark.parametrize(
    "missing",
    [
        "import sys; sys.modules['spinnman.connections.udp_packet_connections'] = None",
        # Gone since the program began.
        "import sys; sys.modules['spinnman'] = None",
    ],
)
def test_without_spinnman_the_start_ends_with_words(folder: Path, missing: str) -> None:
    program = Program(folder, "demo.cfg", stderr=subprocess.PIPE, before=missing)

    _, said = program.process.communicate(timeout=PATIENCE)

    assert program.process.returncode == 2
    assert b"spalloc_server: not started: SpiNNMan cannot be imported" in said
    assert b"Traceback" not in said


def test_a_fault_of_the_main_thread_ends_nothing(folder: Path, tmp_path: Path) -> None:
    """The service manager's socket fails in a way that nobody thought of."""
    before = (
        "from spalloc_server._programs import announcer\n"
        "def fail(self): raise RuntimeError('unthought of')\n"
        "announcer.Announcer.look = fail\n"
    )
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(PATIENCE)
    program = Program(
        folder,
        "demo.cfg",
        stderr=subprocess.PIPE,
        before=before,
        environment={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"},
    )
    while b"READY=1" not in manager.recv(1000):
        pass  # it may store descriptors before

    assert program.process.stderr is not None
    said = b""
    while b"the main thread met a fault; the server goes on" not in said:
        said += program.process.stderr.readline()
    assert b"return" in program.ask()
    status = program.stop()

    said += program.process.stderr.read()
    program.process.stderr.close()
    manager.close()
    assert status == 0
    assert said.count(b"the main thread met a fault") == 1
    assert b"unthought of" in said


def test_descriptors_are_kept_in_reserve_for_hardware(folder: Path) -> None:
    few = 128

    def lower() -> str:
        return f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({few}, {few}))"

    program = Program(folder, "demo.cfg", before=lower())
    clients: list[socket.socket] = []
    try:
        program.ask()
        for _ in range(few):
            client = socket.create_connection(("127.0.0.1", program.port), PATIENCE)
            clients.append(client)
        first = clients[0]
        first.sendall(b'{"command": "create_job", "kwargs": {"owner": "me"}}\n')
        assert b'"return": 1' in first.recv(1000)
        first.sendall(b'{"command": "notify_job", "args": [1]}\n')
        heard = first.makefile("rb")
        while True:
            first.sendall(b'{"command": "get_job_state", "args": [1]}\n')
            line = heard.readline()
            while b"state" not in line:
                line = heard.readline()
            if b'"state": 3' in line:
                break
            assert b'"state": 2' in line, line
        heard.close()
        for client in clients[10:]:
            client.close()
        assert b"return" in program.ask()
        assert program.stop() == 0
    finally:
        for client in clients:
            client.close()
        program.process.kill()
        program.process.wait()


def test_the_limit_of_descriptors_is_raised(folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard <= 200:
        pytest.skip("there is nothing to raise")
    before = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, {hard}))"
    program = Program(folder, "demo.cfg", before=before)
    program.ask()

    limit, _ = resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE)

    assert program.stop() == 0
    assert limit > 200 or soft <= 200


def test_signals_stop_a_server_whose_first_second_has_not_passed(folder: Path) -> None:
    with ServerProcess(folder, "demo.cfg") as server:
        assert server.stop() == 0
