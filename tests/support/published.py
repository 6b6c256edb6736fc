"""Clients as published, each in a virtual environment of its own.

Made once, from PyPI, under ``.venv-clients`` in the repository, which git ignores.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent.parent.parent / ".venv-clients"

#: What is installed for each release. 6.0.0's SpiNNUtilities still looks for setuptools, which
#: new environments of Python 3.12 and later do not have.
RELEASES = {
    "6.0.0": ("spalloc==1!6.0.0", "setuptools<81"),
    "7.0.0": ("spalloc==1!7.0.0",),
    "7.4.1": ("spalloc==1!7.4.1",),
}

#: Run by the client's own Python: a job from its creation to its end. Where a line goes out,
#: the job waits for one to come in.
_JOB = """
import json, sys
try:
    from spalloc_client import Job
except ImportError:
    from spalloc import Job

port, what, keywords = json.loads(sys.argv[1])
with Job(*what, hostname="127.0.0.1", port=port, **keywords) as job:
    print(json.dumps({
        "id": job.id, "state": int(job.state), "power": job.power, "reason": job.reason,
        "hostname": job.hostname, "width": job.width, "height": job.height,
        "machine": job.machine_name, "boards": sorted(map(list, job.boards)),
        "connections": sorted([list(chip), host] for chip, host in job.connections.items()),
        "there": job.where_is_machine(0, 0),
    }), flush=True)
    sys.stdin.readline()
    job.set_power(False)
    job.wait_until_ready(timeout=20)
    print(json.dumps(job.power), flush=True)
    sys.stdin.readline()
"""


class PublishedClient:
    """One release, talking to one server."""

    def __init__(self, release: str, port: int) -> None:
        self.release = release
        self.port = port
        self._bin = _environment(release) / "bin"

    def run(self, command: str, *args: str, status: int = 0, **options: Any) -> str:
        """Run one of its commands; returns what it writes."""
        done: subprocess.CompletedProcess[str] = subprocess.run(
            [self._bin / command, "--hostname", "127.0.0.1", "--port", str(self.port), *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **options,
        )
        assert done.returncode == status, f"{command} {args}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def start(self, command: str, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start one of its commands, which waits for a line to come in."""
        return subprocess.Popen(
            [self._bin / command, "--hostname", "127.0.0.1", "--port", str(self.port), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **options,
        )

    def job(self, *what: int, **keywords: Any) -> subprocess.Popen[str]:
        """Start a program that uses its class Job, see `_JOB`."""
        return subprocess.Popen(
            [self._bin / "python", "-c", _JOB, json.dumps([self.port, what, keywords])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def _environment(release: str) -> Path:
    """Make a release's environment unless it is there."""
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    folder = _FOLDER / f"{release}-python{version}"
    ready = folder / "installed"
    if ready.exists():
        return folder
    _FOLDER.mkdir(exist_ok=True)
    # Two runs of the tests must not build the same one.
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            venv.create(folder, with_pip=True, clear=True)
            pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
            subprocess.run([*pip, "install", "--quiet", *RELEASES[release]], check=True)
            ready.touch()
    return folder
