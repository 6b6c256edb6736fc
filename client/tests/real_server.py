"""Real servers as processes: ours, and the published one over simulated hardware."""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spalloc_client import Job

CLIENT = Path(__file__).parent.parent
BINARIES = CLIENT.parent / ".venv" / "bin"

ORIGINAL = "1!7.0.0"
ORIGINAL_VENV = CLIENT / ".venv-original"

#: A machine of 4 x 2 triads on one frame, and a board on a desk.
CONFIGURATION = """
locations = {{(x, y, z): (0, 0, (y * 4 + x) * 3 + z)
             for x in range(4) for y in range(2) for z in range(3)}}
configuration = Configuration(
    machines=[
        Machine.with_standard_ips(
            "frame", width=4, height=2, board_locations=locations, base_ip="{base}.0.0",
            dead_boards={{(3, 1, 2)}},
            dead_links={{(1, 0, 0, Links.north), (1, 0, 2, Links.south)}}),
        Machine.single_board(
            "desk", tags={{"desk"}}, bmp_ip="{base}.9.0", spinnaker_ip="{base}.9.1"),
    ],
    seconds_before_free=0,
)
"""


def binary(name: str, variable: str) -> str:
    """Find a program of the server's: by the environment, or in its venv beside ours."""
    found = os.environ.get(variable) or str(BINARIES / name)
    assert shutil.which(found), f"{found} is not there; set {variable}, or make install above"
    return found


class Process:
    """A program with output that is watched for signs."""

    def __init__(self, command: list[str], folder: Path) -> None:
        self._lines: list[str] = []
        self._news = threading.Condition()  # guards _lines
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def wait_for(self, pattern: str) -> "re.Match[str] | None":
        """Wait until a line matches; None if the program ended before."""

        def found() -> "re.Match[str] | bool | None":
            matches = (re.search(pattern, line) for line in self._lines)
            return next(filter(None, matches), None) or self._lines[-1:] == [""]

        with self._news:
            result = self._news.wait_for(found, 60)
        assert result, self._lines
        return None if isinstance(result, bool) else result

    def stop(self) -> None:
        """End it, and wait for the end."""
        self._process.terminate()
        self._process.wait()
        self._reader.join()

    def output(self) -> str:
        """Return its output so far."""
        return "".join(self._lines)

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stream:
            for line in stream:
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        with self._news:
            self._lines.append("")
            self._news.notify_all()


class OurServer:
    """Our server, on simulated frames; can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = 0
        (folder / "test.cfg").write_text(CONFIGURATION.format(base="192.168"))
        self.start()

    @property
    def socket(self) -> str:
        """The path of its Unix socket."""
        return str(self.folder / "socket")

    def start(self, *options: str) -> None:
        """Start it, on the same port as before if there was one."""
        program = binary("spalloc_server", "SPALLOC_SERVER_BIN")
        ways = ["--port", str(self.port), "--unix-socket", self.socket]
        command = [program, "--simulate", *ways, *options, "test.cfg"]
        self._process = Process(command, self.folder)
        match = self._process.wait_for(r"listens on port (\d+)")
        assert match, self._process.output()
        self.port = int(match[1])

    def stop(self) -> None:
        """Stop it; it saves its state."""
        self._process.stop()

    def quarantine(self, *words: str) -> None:
        """Take boards out of service, or put them back, as operators do."""
        program = binary("spalloc-state", "SPALLOC_STATE_BIN")
        subprocess.run(
            [program, "quarantine", "--simulated", "test.cfg", *words],
            cwd=self.folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )


def make_job(port: int, *what: int, **kwargs: object) -> Job:
    """Make a job at a real server, which may take its time to answer."""
    given: dict[str, object] = {"owner": "me@example.org", "timeout": 60.0, **kwargs}
    return Job(*what, hostname="localhost", port=port, config_filenames=[], **given)  # type: ignore[arg-type]


@contextmanager
def our_server() -> Iterator[OurServer]:
    """Run our server in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        server = OurServer(Path(folder))
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def original_server() -> Iterator[int]:
    """Run the published server; gives its port."""
    program = _install_original()
    with tempfile.TemporaryDirectory() as folder, _frames(Path(folder)):
        port = _free_port()
        command = [str(program), "--cold-start", "--port", str(port), "test.cfg"]
        server = Process(command, Path(folder))
        try:
            assert server.wait_for("Server running"), server.output()
            yield port
        finally:
            server.stop()


@contextmanager
def _frames(folder: Path) -> Iterator[None]:
    """Run simulated frames; their addresses are ours alone, the port being fixed."""
    program = binary("spalloc-simulator", "SPALLOC_SIMULATOR_BIN")
    chosen = random.Random(os.getpid())
    while True:
        base = f"127.{chosen.randrange(100, 250)}"
        (folder / "test.cfg").write_text(CONFIGURATION.format(base=base))
        simulator = Process([program, "test.cfg"], folder)
        if simulator.wait_for("^ready"):
            break
        simulator.stop()  # somebody has these addresses
    try:
        yield
    finally:
        simulator.stop()


def _free_port() -> int:
    import socket

    with socket.create_server(("", 0)) as listener:
        return int(listener.getsockname()[1])


def _install_original() -> Path:
    """Put the published server into an environment of its own, once."""
    program = ORIGINAL_VENV / "bin" / "spalloc_server"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(ORIGINAL_VENV)], check=True)
        pip = [str(ORIGINAL_VENV / "bin" / "pip"), "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, f"spalloc_server=={ORIGINAL}"], check=True)
    return program
