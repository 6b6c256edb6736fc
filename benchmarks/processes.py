"""The processes that are measured: simulated frames, our server, and the original.

Owns starting, watching and ending them, and what the kernel says of them.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.load import Wire
from benchmarks.sites import Site
from spalloc_server._bmp import wiring
from spalloc_server._simulator import control

OURS, ORIGINAL, BARE = "ours", "original", "bare"
#: What ours is measured against: the public release.
REQUIREMENT = "spalloc_server == 1!7.0.0"
_VENV = Path(__file__).resolve().parent.parent / ".venv-original"
_START_SECONDS = 60.0
#: What the console command ``spalloc-simulator`` does.
_RUN_SIMULATOR = "import sys; from spalloc_server._simulator.main import main; sys.exit(main())"


class Trouble(Exception):  # noqa: N818 - a result, told in the table
    """What was measured did not survive it, or did not get as far."""


class Contestant(NamedTuple):
    """A server that can be started; `command` is what comes before its arguments."""

    name: str
    command: tuple[str, ...]

    def arguments(self, config: Path, port: int, fpga_wait: float | None) -> list[str]:
        """Return the command that serves a configuration; the original always waits 5 s."""
        command = [*self.command, str(config), "--port", str(port), "--cold-start"]
        if self.name == OURS and fpga_wait is not None:
            command += ["--fpga-wait", str(fpga_wait)]
        return command


def ours() -> Contestant:
    """Return the server of this checkout."""
    return Contestant(OURS, (sys.executable, "-m", "spalloc_server"))


def bare() -> Contestant:
    """Return the loop that does nothing, which shows what there is to win."""
    return Contestant(BARE, (sys.executable, "-m", "benchmarks.bare"))


def original(venv: Path | None = None) -> Contestant:
    """Return the public server, installed from PyPI in an environment of its own if need be.

    Raises
    ------
    Trouble
        If it cannot be had.
    """
    folder = _VENV if venv is None else venv
    program = folder / "bin" / "spalloc-server"
    if not program.exists():
        steps = [
            [sys.executable, "-m", "venv", str(folder)],
            [str(folder / "bin" / "pip"), "-q", "install", REQUIREMENT.replace(" ", "")],
        ]
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Trouble(f"{REQUIREMENT} not installed: {done.stderr.strip()[-200:]}")
    return Contestant(ORIGINAL, (str(program),))


@contextmanager
def quiet_folder() -> Iterator[Path]:
    """Give a folder for a server in this process, whose log is silent meanwhile."""
    logging.disable(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="spalloc-profile-") as folder:
            yield Path(folder)
    finally:
        logging.disable(logging.NOTSET)
        wiring.reset()


class _Process:
    """A process with a folder and a log of its own; ends with its context."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=folder))
        self._log = self._folder / "log"
        self._process: subprocess.Popen[bytes] | None = None

    def _launch(self, command: Sequence[str]) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, _path(command)))}
        # As an installed program, which is not compiled anew at each start.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self._folder, env=environment, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Raise `Trouble` with its last words if it has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            lines = self._log.read_text(errors="replace").strip().splitlines() or ["no words"]
            raise Trouble(f"ended with status {self._process.returncode}: {lines[-1][:150]}")

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End it without waiting for hardware."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


class Frames(_Process):
    """The simulated frames of a site, in a process of their own.

    Parameters
    ----------
    folder : Path
        For its files.
    site : Site
    real_time : bool
        Whether switching boards takes as long as it really does.
    """

    def __init__(self, folder: Path, site: Site, *, real_time: bool = False) -> None:
        super().__init__(folder, "sim")
        self._socket = self._folder / "control"
        command = [
            sys.executable,
            "-c",
            _RUN_SIMULATOR,
            str(site.write(self._folder)),
            "--listen",
            str(self._socket),
        ]
        self._launch([*command, "--real-time"] if real_time else command)
        deadline = time.monotonic() + _START_SECONDS
        while b"ready" not in self._log.read_bytes():
            self.check()
            if time.monotonic() > deadline:
                raise Trouble("the simulator did not start")
            time.sleep(0.01)

    def tell(self, text: str) -> Any:
        """Give the simulator a command, and return its answer as builtins."""
        ok, words, data = control.ask(self._socket, text)
        if not ok:
            raise Trouble(f"simulator: {words}")
        return data

    def packets(self) -> Counter[str]:
        """Return how many packets of each command all frames have seen."""
        counts: Counter[str] = Counter()
        for frame in self.tell("seen 0")["frames"].values():
            counts.update(frame["packets"])
        return counts


class Serving(_Process):
    """A server that serves.

    Parameters
    ----------
    folder : Path
        For its files.
    contestant : Contestant
    site : Site
    fpga_wait : float or None
        What ours waits after power-on, seconds; None is what it does by itself.

    Attributes
    ----------
    name : str
    port : int
    start_seconds : float
        From its launch to its first answer.
    """

    def __init__(
        self,
        folder: Path,
        contestant: Contestant,
        site: Site,
        *,
        fpga_wait: float | None = None,
    ) -> None:
        super().__init__(folder, contestant.name)
        self.name = contestant.name
        self.port = _free_port()
        config = site.write(self._folder)
        began = time.monotonic()
        self._launch(contestant.arguments(config, self.port, fpga_wait))
        try:
            self._await_answer(began + _START_SECONDS)
        except BaseException:
            self.kill()
            raise
        self.start_seconds = time.monotonic() - began

    def _await_answer(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            self.check()
            try:
                with Wire(self.port) as wire:
                    wire.call("version")
                return
            except OSError:
                time.sleep(0.002)
        raise Trouble("did not serve within a minute")

    def rss_mib(self) -> float:
        """Return the memory that it holds, in MiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
        raise Trouble("gone")

    def cpu_seconds(self) -> float:
        """Return the processor time that it has had."""
        total = 0
        for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat"):
            total += int(path.read_text().split()[0])
        return total / 1e9


def _path(command: Sequence[str]) -> list[str]:
    """Return where a command's modules are: ours find this checkout, the original does not."""
    if command[0] != sys.executable:
        return []
    return [str(Path(__file__).resolve().parent.parent), os.environ.get("PYTHONPATH", "")]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
