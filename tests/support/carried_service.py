"""A server as a service on simulated frames that are processes of their own."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.processes import Frames
from benchmarks.sites import Site


def free_port() -> int:
    """Return a TCP port that nobody uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class CarriedService:
    """A server that a stand-in for systemd starts, stops and kills.

    Parameters
    ----------
    folder : Path
        Holds the state, the log and the manager's socket.
    more : str
        Lines of the configuration file.
    """

    def __init__(self, folder: Path, more: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.site = Site.of(2, 2, 0)
        self.frames = Frames(folder, self.site)
        self._config = self.site.write(folder)
        with self._config.open("a") as file:
            file.write(more)
        self.use(sys.executable, "-m", "spalloc_server")
        self._manager = subprocess.Popen(
            [sys.executable, "-m", "tests.support.service_manager", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def use(self, *program: str) -> None:
        """Choose the program of the next start."""
        options = ["--port", str(self.port), "--fpga-wait", "0"]
        options += ["--job-log", str(self.folder / "jobs")]
        command = [*program, str(self._config), *options]
        (self.folder / "command").write_text(json.dumps(command))

    def __enter__(self) -> CarriedService:
        self.order("start")
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.order("kill")
        finally:
            assert self._manager.stdin is not None
            assert self._manager.stdout is not None
            self._manager.stdin.close()
            self._manager.wait(20)
            self._manager.stdout.close()
            self.frames.kill()

    def order(self, name: str) -> Any:
        """Have the manager do something, and return its answer."""
        assert self._manager.stdin is not None
        assert self._manager.stdout is not None
        self._manager.stdin.write(f"{name}\n")
        self._manager.stdin.flush()
        answer = json.loads(self._manager.stdout.readline())
        assert "error" not in answer, f"{answer['error']}: {self.log()[-3000:]}"
        return answer

    def restart(self, how: str = "stop") -> None:
        """End the server, by ``stop`` or ``kill``, and start it again."""
        self.order(how)
        self.order("start")

    def log(self) -> str:
        """Return what the server has written."""
        return (self.folder / "log").read_text()

    def switched(self) -> dict[str, dict[str, int]]:
        """Return how often each board was switched on and off."""
        (frame,) = self.frames.tell("seen")["frames"].values()
        boards: dict[str, dict[str, int]] = frame["boards"]
        return boards
