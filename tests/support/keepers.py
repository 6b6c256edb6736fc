"""Clients that hold a job: ours, and published ones in environments of their own.

Each release runs with a Python that it still works with, from ``~/.pyenv/versions`` or this one's
own; where there is none, it is left out, with words.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_REPOSITORY = Path(__file__).parent.parent.parent
_FOLDER = _REPOSITORY / ".venv-clients"

#: {release: (what is installed, Pythons that it works with, the best one first)}.
RELEASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "0.2.6": (("spalloc==0.2.6",), ("3.7", "3.6", "3.8")),
    "1.0.0": (("spalloc==1.0.0",), ("3.7", "3.6", "3.8")),
    "2.0.1": (("spalloc==2.0.1",), ("3.7", "3.6", "3.8")),
    "6.0.0": (("spalloc==1!6.0.0", "setuptools<81"), ("3.11", "3.10", "3.8")),
    "7.0.0": (("spalloc==1!7.0.0",), ("3.11", "3.10", "3.12")),
    "7.4.1": (("spalloc==1!7.4.1",), ("3.11", "3.12", "3.10")),
}
OURS = "ours"

#: Holds a job of one board; for each line that comes in it tells the job's state.
_KEEP = """
import json, sys
try:
    from spalloc_client import Job
except ImportError:
    from spalloc import Job

job = Job(1, hostname="127.0.0.1", port=int(sys.argv[1]), owner="keeper", keepalive=5.0)
job.wait_until_ready(timeout=30)
while True:
    print(json.dumps({"id": job.id, "state": int(job.state), "power": job.power}))
    sys.stdout.flush()
    if not sys.stdin.readline():
        break
job.destroy()
"""


class Unavailable(Exception):  # noqa: N818 - says what happened
    """A release cannot be run here; the text says why."""


class Keeper:
    """A client's process that holds a job.

    Parameters
    ----------
    release : str
        Of `RELEASES`, or `OURS`.
    port : int

    Raises
    ------
    Unavailable
        If the release cannot be run here.
    """

    def __init__(self, release: str, port: int) -> None:
        self.release = release
        self._process = subprocess.Popen(
            [python_of(release), "-c", _KEEP, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.job_id = self._answer()["id"]

    def ask(self) -> dict[str, Any]:
        """Return the state of its job, as its own connection tells it."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the client {self.release} has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End the process, whatever becomes of the job."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


def python_of(release: str) -> str:
    """Return the Python that runs a release, in an environment that is made if need be.

    Raises
    ------
    Unavailable
        If there is no such Python, or the release cannot be installed.
    """
    if release == OURS:
        ours = _REPOSITORY / "client" / ".venv" / "bin" / "python"
        if not ours.exists():
            raise Unavailable("client/.venv is not there: run make test-client first")
        return str(ours)
    packages, versions = RELEASES[release]
    interpreter = _interpreter(versions)
    folder = _FOLDER / f"keeper-{release}"
    ready = folder / "installed"
    _FOLDER.mkdir(exist_ok=True)
    # Two runs of the tests must not build the same one.
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.exists():
            _install(interpreter, folder, packages)
            ready.touch()
    return str(folder / "bin" / "python")


def _install(interpreter: str, folder: Path, packages: tuple[str, ...]) -> None:
    python = str(folder / "bin" / "python")
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    for command in ([interpreter, "-m", "venv", "--clear", str(folder)], [*pip, *packages]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            words = done.stderr.strip().splitlines()[-1:] or ["no words"]
            raise Unavailable(f"{packages[0]} cannot be installed: {words[0]}")


def _interpreter(versions: tuple[str, ...]) -> str:
    for version in versions:
        if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
            return sys.executable
        found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
        if found:
            return str(found[-1])
    raise Unavailable(f"none of the Pythons {', '.join(versions)} is there")
