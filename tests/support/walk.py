"""Walks through the source: the modules that a command passes through, and the calls that climb.

``python -m tests.support.walk`` prints both for this checkout.

A *room* is a package with the public modules that are its doors.  A *call climbs* if a function of
one room calls a function of a room above it (see ``docs/layers.csv``): through a callback that it
was given, or a method that was overridden.
"""

from __future__ import annotations

import csv
import inspect
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from spalloc_server.controller import JobState
from spalloc_server.server import SpallocServer
from tests.support.simulated_server import PATIENCE, Client, simulated_server

PACKAGE = "spalloc_server"
DOCS = Path(__file__).parents[2] / "docs"

#: Public modules that are doors of a package, or with it make up one room.
DOORS = {
    "pack_tree": "_allocation",
    "allocator": "_allocation",
    "job_queue": "_queueing",
    "async_bmp_controller": "_bmp",
    "controller": "_jobs",
    "polling_server_core": "_wire",
    "configuration_reloader": "_wire",
    "server": "_wire",
}

#: Modules that `create_job` may pass through; the aim is 30.
MOST_MODULES = 29

#: Names of the threads in which a command is carried out: the loop, and those of the frames.
COMMAND_THREADS = ("Server Thread", "bmp-")
#: Those, and the thread that starts and stops the server.
ALL_THREADS = (*COMMAND_THREADS, "MainThread")

_CONFIG = """
places = {{(x, 0, z): (0, 0, 3 * x + z) for x in range(4) for z in range(3)}}
configuration = Configuration(seconds_before_free=0.05, ip="127.0.0.1", machines=[
    Machine.with_standard_ips("m", board_locations=places, base_ip="127.0.7.0"{more}),
])
"""


class Climb(NamedTuple):
    """A call from a lower room to a higher one: ``module.function`` at both ends."""

    caller: str
    called: str

    @property
    def rooms(self) -> tuple[str, str]:
        """The lower room and the higher one."""
        return room_of(self.caller), room_of(self.called)


class Walk:
    """Notes the functions that are entered while it records.

    Parameters
    ----------
    threads : tuple of str
        Beginnings of the names of the threads that are watched.

    Attributes
    ----------
    modules : set of str
        Modules whose functions were entered.
    climbs : set of Climb
    """

    def __init__(self, threads: tuple[str, ...]) -> None:
        self.modules: set[str] = set()
        self.climbs: set[Climb] = set()
        self._threads = threads
        self._recording = False
        self._ranks = _ranks()

    @contextmanager
    def watching(self) -> Iterator[Walk]:
        """Watch this thread, and all that start, until the end of the block."""
        before, before_here = threading.getprofile(), sys.getprofile()
        threading.setprofile(self._entered)
        sys.setprofile(self._entered)
        try:
            yield self
        finally:
            threading.setprofile(before)
            sys.setprofile(before_here)

    @contextmanager
    def recording(self) -> Iterator[Walk]:
        """Record until the end of the block."""
        self._recording = True
        try:
            yield self
        finally:
            self._recording = False

    def _entered(self, frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or not self._recording:
            return
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith(f"{PACKAGE}."):
            return
        if not threading.current_thread().name.startswith(self._threads):
            return
        self.modules.add(module)
        caller = _caller(frame)
        # A generator is called where it is made, not where it goes on.
        if caller is None or frame.f_code.co_flags & inspect.CO_GENERATOR:
            return
        lower, higher = room_of(caller.f_globals["__name__"]), room_of(module)
        if self._ranks[higher] > self._ranks[lower]:
            self.climbs.add(Climb(_name(caller), _name(frame)))


def _caller(frame: FrameType) -> FrameType | None:
    """Return the nearest function of ours that led to a call; None from outside."""
    caller = frame.f_back
    while caller is not None:
        module = str(caller.f_globals.get("__name__", ""))
        if module.startswith(f"{PACKAGE}."):
            return caller
        if module.startswith("tests."):
            return None
        caller = caller.f_back
    return None


def _name(frame: FrameType) -> str:
    module = frame.f_globals["__name__"].removeprefix(f"{PACKAGE}.")
    return f"{module}.{frame.f_code.co_name}"


def room_of(name: str) -> str:
    """Return the room that a module or function, by dotted name, is in."""
    place = name.removeprefix(f"{PACKAGE}.").partition(".")[0]
    return DOORS.get(place, place)


def _ranks() -> dict[str, int]:
    """Number the rooms from the bottom of the program to its top."""
    with (DOCS / "layers.csv").open(newline="") as file:
        places = [row[0] for row in list(csv.reader(file))[1:]]
    return {room_of(place): rank for rank, place in enumerate(places)}


def named_climbs() -> set[tuple[str, str]]:
    """Return the pairs of rooms that the internals page names."""
    with (DOCS / "climbs.csv").open(newline="") as file:
        return {(row[0], row[1]) for row in list(csv.reader(file))[1:]}


# --- walks ---


def walk_of_create_job(folder: Path) -> Walk:
    """Create a job of a block over TCP, and walk with it until it is ready."""
    walk = Walk(COMMAND_THREADS)
    config = _configuration(folder)
    with (
        walk.watching(),
        simulated_server(config) as server,
        Client(server.port) as client,
    ):
        # The first one passes through modules that prepare what later ones find.
        client.call("destroy_job", _ready(server, client))
        _until(lambda: not server.controller.overview.census().machines["m"].boards["cooling"])  # type: ignore[union-attr]
        with walk.recording():
            _ready(server, client)
    return walk


def walk_of_a_life(folder: Path) -> Walk:
    """Walk through a start on a saved state, a reload, a board that fails, and a stop."""
    walk = Walk(ALL_THREADS)
    config = _configuration(folder)
    with walk.watching(), walk.recording():
        with simulated_server(config) as server, Client(server.port) as client:
            _ready(server, client)
        fault = "all board 7 refuse-power on"
        with simulated_server(config, fault) as server, Client(server.port) as client:
            client.call("destroy_job", 1)
            client.call("create_job", 4, 1, owner="me")
            _until(lambda: bool(server.controller.overview.out_of_service()))
            _configuration(folder, ", dead_boards={(3, 0, 2)}")
            loads = server.reloads
            os.kill(os.getpid(), signal.SIGHUP)
            _until(lambda: server.reloads > loads)
    return walk


def _configuration(folder: Path, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "walk.cfg"
    path.write_text(_CONFIG.format(more=more))
    return path


def _ready(server: SpallocServer, client: Client) -> int:
    job_id: int = client.call("create_job", 2, 1, owner="me")
    _until(lambda: server.controller._jobs[job_id].state is JobState.ready)
    return job_id


def _until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, "this takes too long"
        time.sleep(0.01)


def main() -> None:
    """Print the modules of `create_job` and all climbs."""
    with tempfile.TemporaryDirectory() as folder:
        create = walk_of_create_job(Path(folder) / "create")
        life = walk_of_a_life(Path(folder) / "life")
    print(f"create_job passes through {len(create.modules)} modules:")
    for module in sorted(create.modules):
        print(f"    {module}")
    climbs = sorted(create.climbs | life.climbs)
    print(f"{len({climb.rooms for climb in climbs})} kinds of call climb:")
    for climb in climbs:
        lower, higher = climb.rooms
        print(f"    {lower} -> {higher}: {climb.caller} calls {climb.called}")


if __name__ == "__main__":
    main()
