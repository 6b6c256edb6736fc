"""``python -m benchmarks.turn_profile``: where the time of the loop's turns goes.

The server runs in this process, with its loop under cProfile; the frames and the clients
are processes of their own.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import Wire, rate, request
from benchmarks.processes import Frames, quiet_folder
from benchmarks.sites import Site
from spalloc_server._bmp import wiring
from spalloc_server.server import SpallocServer

#: What the clients send in turn: what a busy server is asked most.
_MIX = ("version", "get_job_state", "where_is", "job_keepalive", "list_machines")


class _Profiled(SpallocServer):
    """A server that knows what its loop does."""

    profile = cProfile.Profile()

    def _run(self) -> None:
        self.profile.runcall(super()._run)


def main(args: Sequence[str] | None = None) -> int:
    """Profile the loop, and print the functions that take most of its time.

    Returns
    -------
    int
        Exit status, 0.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.turn_profile", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--jobs", type=int, default=100, help="there are (100)")
    parser.add_argument("--clients", type=int, default=16, help="that are busy (16)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load (3)")
    parser.add_argument("--lines", type=int, default=40, help="of the profile (40)")
    parser.add_argument("--side", type=int, default=20, help="of the machine, in triads (20)")
    parser.add_argument(
        "--sort", choices=("tottime", "cumtime"), default="tottime", help="the profile's order"
    )
    parser.add_argument("--load", type=int, metavar="PORT", help=argparse.SUPPRESS)
    options = parser.parse_args(args)
    if options.load is not None:
        _load(options)
    else:
        with quiet_folder() as folder:
            _profile(options, folder)
    return 0


def _profile(options: argparse.Namespace, folder: Path) -> None:
    site = Site.of(options.side, options.side)
    wiring.fpga_wait = 0.0
    with Frames(folder, site), _Profiled(site.write(folder), port=0) as server:
        server.stop_timeout = 0.0
        command = [sys.executable, "-m", "benchmarks.turn_profile", "--load", str(server.port)]
        for name in ("jobs", "clients", "seconds"):
            command += [f"--{name}", str(getattr(options, name))]
        subprocess.run(command, check=True, cwd=Path(__file__).resolve().parent.parent)
        commands = sum(sum(tally.counts) for tally in server.command_times.values())
        print(f"{server.turns} turns, {commands} commands")
    statistics = pstats.Stats(_Profiled.profile, stream=sys.stdout)
    statistics.sort_stats(options.sort).print_stats(options.lines)


def _load(options: argparse.Namespace) -> None:
    """Be the clients."""
    wires = [Wire(options.load) for _ in range(options.clients)]
    jobs = [wires[0].call("create_job", owner="me", keepalive=None) for _ in range(options.jobs)]
    time.sleep(min(1.0, options.seconds))
    lines = []
    for job in jobs or [1]:
        lines += [request(name, *_arguments(name, job), **_keywords(name)) for name in _MIX]
    rate(wires, lines, options.seconds)


def _arguments(name: str, job: int) -> list[int]:
    return [job] if "job" in name else []


def _keywords(name: str) -> dict[str, object]:
    return {"machine": "m", "x": 0, "y": 0, "z": 1} if name == "where_is" else {}


if __name__ == "__main__":
    sys.exit(main())
