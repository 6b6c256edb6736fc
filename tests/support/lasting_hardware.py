"""Simulated frames that outlive the servers which a test starts one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._bmp import wiring
from spalloc_server._programs.state_report import Report, examine
from spalloc_server._saved.disk import Disk
from spalloc_server._simulator import Simulation
from spalloc_server.server import SpallocServer

#: Seconds after which a test that waits has failed.
PATIENCE = 30.0

_CONFIG = """
def frame(name, host):
    boards = [(x, 0, z) for x in range(2) for z in range(3)]
    return Machine(
        name, width=2, height=1,
        board_locations={{board: (0, 0, n) for n, board in enumerate(boards)}},
        bmp_ips={{(0, 0): host}},
        spinnaker_ips={{board: f"{{name}}-{{n}}" for n, board in enumerate(boards)}},
    )

configuration = Configuration(
    machines=[frame(name, name) for name in {names!r}], ip="127.0.0.1", seconds_before_free=0,
)
{more}
"""


class Facility:
    """A configuration file of frames of six boards, its state, and the frames."""

    def __init__(self, folder: Path, simulation: Simulation) -> None:
        self.config = folder / "test.cfg"
        self.simulation = simulation
        self.servers: list[SpallocServer] = []
        self.configure("f")

    def configure(self, *names: str, more: str = "") -> None:
        """Write a configuration of these machines, named like their only frame."""
        self.config.write_text(_CONFIG.format(names=list(names), more=more))

    def server(self, **options: Any) -> SpallocServer:
        """Start a server on a port of its own."""
        server = SpallocServer(self.config, port=0, **options)
        self.servers.append(server)
        return server

    def crash(self, server: SpallocServer) -> None:
        """End a server as SIGKILL would, as far as that can be done from within."""
        store = server._store
        store.close = lambda *_args, **_kwargs: store.abandon()  # type: ignore[method-assign]
        # The file stays.
        store._lock.release = store._lock._let_go  # type: ignore[method-assign]
        server.stop_timeout = 0.0
        server.stop_and_join()

    def on(self, name: str = "f") -> set[int]:
        """Numbers of the boards that are on."""
        frame = self.simulation.frame(name)
        with self.simulation.still():
            return {board.number for board in frame.boards if board.on}

    def seen(self, name: str = "f") -> dict[str, Any]:
        """How many packets of each kind a frame got since it was told to forget."""
        packets = self.simulation.command(f"{name} seen 0").data["frames"][name]["packets"]
        assert isinstance(packets, dict)
        return packets

    def saved(self, folder: Path | None = None) -> Report:
        """What the newest state file and its journal hold, beside the configuration or there."""
        folder = folder or self.config.parent
        reports = [examine(path) for path in folder.glob(".test.cfg.state.*")]
        return max(reports, key=lambda r: -1 if r.header is None else r.header.generation)

    def book(self, folder: Path | None = None) -> dict[str, Any]:
        """The saved state."""
        state = self.saved(folder).state
        assert state is not None
        return state


@pytest.fixture
def facility(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Facility]:
    monkeypatch.setattr(Disk, "fsync", lambda self, fd: None)
    with Simulation() as simulation:
        wiring.resolve = simulation.resolve
        wiring.fpga_wait = 0.0
        made = Facility(tmp_path, simulation)
        try:
            yield made
        finally:
            # Those that a test that failed has left, which would keep the process alive.
            for server in made.servers:
                server.hurry_up()
                server.stop_and_join()
            wiring.reset()


def wait_until(happened: Callable[[], object], what: str = "it") -> None:
    """Wait for something that other threads do."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"{what} has not happened"
        time.sleep(0.002)
