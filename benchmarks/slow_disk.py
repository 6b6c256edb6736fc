"""``python -m benchmarks.slow_disk``: the loop's longest turn on a disk that is slow to fsync.

Every fsync of a real server takes 2 s, while one client has enough jobs made and ended that
the journal is replaced.  A turn is the time between two polls of the loop.  ``--tree`` names
another checkout to be measured, an older one for example.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import request

_CONFIG = """
configuration = Configuration(machines=[Machine.single_board("m", bmp_ip="b", spinnaker_ip="s")])
"""

#: A server whose fsyncs are slow, and whose turns are timed; both of any version.
_PROGRAM = """
import json, os, sys, time
from spalloc_server import server

seconds, results = float(sys.argv[1]), sys.argv[2]
fsync = os.fsync

def slow(fd):
    time.sleep(seconds)
    fsync(fd)

class Poll:
    def __init__(self, poll):
        self._poll, self._since, self.longest, self.turns = poll, None, 0.0, 0

    def __getattr__(self, name):
        return getattr(self._poll, name)

    def poll(self, *args):
        if self._since is not None:
            self.longest = max(self.longest, time.monotonic() - self._since)
            self.turns += 1
        try:
            return self._poll.poll(*args)
        finally:
            self._since = time.monotonic()

class Measured(server.SpallocServer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._poll = Poll(self._poll)
        os.fsync = slow

    def stop_and_join(self):
        poll = self._poll
        with open(results, "w") as file:
            json.dump([poll.longest, poll.turns, self.store.snapshots], file)
        os.fsync = fsync
        super().stop_and_join()

server.SpallocServer = Measured
sys.exit(server.main(sys.argv[3:]))
"""

_OWNER = "o" * 900
_PATIENCE = 120.0


def main(args: Sequence[str] | None = None) -> int:
    """Measure, and print one line for each durability."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.slow_disk", description=__doc__)
    here = Path(__file__).resolve().parent.parent
    parser.add_argument("--tree", type=Path, default=here, help="the checkout to be measured")
    parser.add_argument("--fsync", type=float, default=2.0, help="seconds that each fsync takes")
    parser.add_argument("--jobs", type=int, default=4000, help="jobs that are made and ended")
    options = parser.parse_args(args)
    for durability in ("process", "always", "none"):
        longest, turns, snapshots, seconds = _measure(options, durability)
        print(
            f"{durability:8} longest turn {longest * 1e3:8.1f} ms in {turns} turns,"
            f" {snapshots - 1} rotations, all answers after {seconds:.1f} s",
            flush=True,
        )
    return 0


def _measure(options: argparse.Namespace, durability: str) -> tuple[float, int, int, float]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = folder / "slow.cfg"
        config.write_text(_CONFIG)
        results, log = folder / "results", folder / "log"
        command = [sys.executable, "-c", _PROGRAM, str(options.fsync), str(results), str(config)]
        command += ["--simulate", "--port", "0", "--durability", durability]
        command += ["--job-log", os.devnull]
        environment = {**os.environ, "PYTHONPATH": str(options.tree)}
        with log.open("wb") as file, subprocess.Popen(
            command, cwd=options.tree, env=environment, stdout=file, stderr=file
        ) as process:
            try:
                seconds = _load(_port(log, process), options.jobs)
                time.sleep(5 * options.fsync)  # until the last rotation is over
                process.send_signal(signal.SIGTERM)
                process.wait(_PATIENCE)
            finally:
                process.kill()
        longest, turns, snapshots = json.loads(results.read_text())
        return longest, turns, snapshots, seconds


def _port(log: Path, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + _PATIENCE
    while (found := re.search(rb"listening on port (\d+)", log.read_bytes())) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(log.read_text())
        time.sleep(0.02)
    time.sleep(0.5)  # until the loop turns
    return int(found[1])


def _load(port: int, jobs: int) -> float:
    """Have jobs made and ended, without waiting for each answer; returns the seconds it took."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as client:
        lines = client.makefile("rb")
        for first in range(1, jobs + 1, 400):
            ids = range(first, min(first + 400, jobs + 1))
            client.sendall(request("create_job", owner=_OWNER, keepalive=None) * len(ids))
            client.sendall(b"".join(request("destroy_job", job_id) for job_id in ids))
            for _ in range(2 * len(ids)):
                assert b"return" in lines.readline()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
