"""The real server as a process on simulated frames."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType

from tests.support.tcp_client import TcpClient

_LISTENING = re.compile(r"listening on port (\d+)")


class ServerProcess:
    """Starts the program and waits until it listens.

    Parameters
    ----------
    folder : Path
        Where it runs; holds the configuration.
    *options : str
        Beside ``--simulate --port 0``.
    ready : bool
        Whether to wait until it listens.
    prefix : sequence of str
        A program that starts it.

    Attributes
    ----------
    lines : list of str
        What it has written to the terminal so far.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        port: int = 0,
        ready: bool = True,
        prefix: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
    ) -> None:
        command = [sys.executable, "-m", "spalloc_server", "--simulate", "--port", str(port)]
        self.process = subprocess.Popen(
            [*prefix, *command, *options],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
        )
        self.lines: list[str] = []
        self.port = port
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if ready:
            try:
                found = self.wait_for(_LISTENING.pattern if port == 0 else "simulated machine is")
            except BaseException:
                self.__exit__(None, None, None)
                raise
            self.port = port or int(found.group(1))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self.process.stdout.close()
            self._changed.notify_all()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until a pattern is in the output."""
        assert self.process.stdout is not None
        with self._changed:
            while (found := re.search(pattern, self.output)) is None:
                assert not self.process.stdout.closed, f"no {pattern!r} in:\n{self.output}"
                assert self._changed.wait(30), f"no {pattern!r} yet in:\n{self.output}"
            return found

    def client(self) -> TcpClient:
        return TcpClient(self.port)

    def kill(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> int:
        """Wait for the end; returns the exit status."""
        status = self.process.wait(30)
        self._reader.join()
        return status

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask for a stop; returns the exit status."""
        self.kill(number)
        return self.end()

    def __enter__(self) -> ServerProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.end()
