"""A real server on simulated frames in this process, and a client on a real socket."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from spalloc_server._bmp import wiring
from spalloc_server._simulator import Simulation
from spalloc_server.server import SpallocServer

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
#: Seconds after which a test that waits has failed.
PATIENCE = 30.0


@contextmanager
def simulated_server(config: Path, *faults: str, **options: Any) -> Iterator[SpallocServer]:
    """Run a server, its hardware simulated, until the end of the block."""
    with Simulation() as simulation:
        for fault in faults:
            simulation.inject(fault)
        wiring.resolve = simulation.resolve
        wiring.fpga_wait = 0.0
        try:
            with SpallocServer(config, port=0, **options) as server:
                yield server
        finally:
            wiring.reset()


def copy_of_example(name: str, folder: Path) -> Path:
    """Copy an example, with what it reads, to where state may be saved; returns its place."""
    source = EXAMPLES / name
    for path in (source, source.with_suffix(".csv")):
        if path.exists():
            shutil.copy(path, folder)
    return folder / name


class Client:
    """Talks to a server line by line; notifications are kept apart."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self._socket.makefile("rw", encoding="utf-8", newline="\n")
        self.notifications: list[dict[str, Any]] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def send_line(self, line: str) -> None:
        """Send a line as it stands."""
        self._file.write(f"{line}\n")
        self._file.flush()

    def next_line(self) -> str:
        """Return the next line, whatever it is; empty at the end."""
        return self._file.readline()

    def answer(self) -> dict[str, Any]:
        """Return the next line that is no notification."""
        while True:
            line = self.next_line()
            assert line, "the server has closed the connection"
            message: dict[str, Any] = json.loads(line)
            if "return" in message or "exception" in message:
                return message
            self.notifications.append(message)

    def call(self, command: str, *args: Any, **kwargs: Any) -> Any:
        """Have a command carried out, and return its value."""
        self.send_line(json.dumps({"command": command, "args": args, "kwargs": kwargs}))
        answer = self.answer()
        assert "return" in answer, answer
        return answer["return"]

    def next_notification(self) -> dict[str, Any]:
        """Wait for a notification."""
        while not self.notifications:
            line = self.next_line()
            assert line, "the server has closed the connection"
            self.notifications.append(json.loads(line))
        return self.notifications.pop(0)

    def wait_until(self, job_id: int, state: int) -> None:
        """Wait until a job is in a state."""
        self.call("notify_job", job_id)
        while self.call("get_job_state", job_id)["state"] != state:
            self.next_notification()
        self.call("no_notify_job", job_id)
