"""Published clients that do step by step as a test says, from addresses of the test's choice.

One process of a release serves a whole module of tests: it makes as many jobs and connections as
it is told to, to any server.  The client itself is as published; only its sockets are bound to an
address before they connect, those of its helper processes included.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.keepers import python_of

#: Imported by each Python that finds it: sockets connect from the address in SOURCE.
_SITE = """
import os, socket

_connect = socket.socket.connect

def connect(self, address):
    if self.family == socket.AF_INET and os.environ.get("SOURCE"):
        self.bind((os.environ["SOURCE"], 0))
    return _connect(self, address)

socket.socket.connect = connect
"""

#: Does one step for each line that comes in, and tells how it ended.
_PROGRAM = """
import json, os, sys
try:
    import spalloc_client as spalloc
except ImportError:
    import spalloc

def plain(value):
    if isinstance(value, dict):
        return [[plain(key), plain(each)] for key, each in sorted(value.items())]
    if isinstance(value, (list, tuple, set)):
        return [plain(each) for each in value]
    return value

def protocol(hostname, port):
    client = spalloc.ProtocolClient(hostname, port)
    client.connect(10.0)
    return client

things = {}
made = {"job": spalloc.Job, "protocol": protocol}
for line in sys.stdin:
    step = json.loads(line)
    args, kwargs = step["args"], step["kwargs"]
    try:
        if "source" in step:
            os.environ["SOURCE"] = step["source"]
            things[step["thing"]] = made[step["kind"]](*args, **kwargs)
            told = {"value": None}
        else:
            found = getattr(things[step["thing"]], step["name"])
            told = {"value": plain(found(*args, **kwargs) if callable(found) else found)}
    except Exception as e:
        told = {"error": type(e).__name__, "text": str(e)}
    print(json.dumps(told))
    sys.stdout.flush()
for thing in things.values():
    try:
        thing.close()
    except Exception:
        pass
"""


class Place(NamedTuple):
    """A place to connect to, and the address to connect from."""

    port: int
    source: str = "127.0.0.1"


class Refused(Exception):  # noqa: N818 - names the event
    """A step ended with an exception in the client; it says which."""


class Thing:
    """A job or connection of a puppet; `call` uses its methods, `get` reads its properties."""

    def __init__(self, puppet: Puppet, number: int) -> None:
        self._puppet = puppet
        self._number = number

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method; dictionaries come back as lists of keys and values.

        Raises
        ------
        Refused
            If it raises.
        """
        return self._puppet.do(thing=self._number, name=name, args=args, kwargs=kwargs)

    def get(self, name: str) -> Any:
        """Read a property."""
        return self.call(name)

    def refused(self, name: str, *args: Any, **kwargs: Any) -> str:
        """Call a method that must raise, and return the words."""
        try:
            value = self.call(name, *args, **kwargs)
        except Refused as e:
            return str(e)
        raise AssertionError(f"{name}{args} was not refused: {value!r}")


class Puppet:
    """A process of one release.

    Parameters
    ----------
    release : str
        Of `tests.support.keepers.RELEASES`.

    Raises
    ------
    Unavailable
        If the release cannot be run here.
    """

    def __init__(self, release: str) -> None:
        self.release = release
        python = python_of(release)
        self.bin = Path(python).parent
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        (folder / "sitecustomize.py").write_text(_SITE)
        # No file of the user's settings names another server.
        self.environment = {**os.environ, "PYTHONPATH": str(folder), "HOME": str(folder)}
        self._errors = (folder / "errors").open("w+")
        self._things = 0
        self._process = subprocess.Popen(
            [python, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=self.environment,
        )

    def job(self, place: Place, *what: int, **keywords: Any) -> Thing:
        """Make a job, or with ``resume_job_id`` come back to one."""
        at = {"hostname": "127.0.0.1", "port": place.port}
        return self._make("job", place.source, what, {**at, **keywords})

    def protocol(self, place: Place) -> Thing:
        """Make a connection that speaks the protocol."""
        return self._make("protocol", place.source, ("127.0.0.1", place.port), {})

    def _make(
        self, kind: str, source: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Thing:
        self._things += 1
        self.do(thing=self._things, kind=kind, source=source, args=args, kwargs=kwargs)
        return Thing(self, self._things)

    def do(self, **step: Any) -> Any:
        """Have a step done, and return its value."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(step) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the client {self.release} has ended: {self.complaints()}"
        told = json.loads(line)
        if "error" in told:
            raise Refused(f"{told['error']}: {told['text']}")
        return told["value"]

    def complaints(self) -> str:
        """Return all that the process and its helpers wrote to their standard error."""
        self._errors.seek(0)
        return self._errors.read()

    def run(self, place: Place, command: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run one of the release's programs to its end."""
        return subprocess.run(
            [self.bin / command, "--hostname", "127.0.0.1", "--port", str(place.port), *args],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**self.environment, "SOURCE": place.source},
        )

    def close(self) -> None:
        """End the process, which closes its jobs and connections first."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._errors.close()
            self._folder.cleanup()
