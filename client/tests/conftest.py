"""Fixtures: no configuration but the test's own, and nothing left behind."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from spalloc_client._connection import Connection
from spalloc_client._settings import Settings

from tests.fake_server import FakeServer

settings.register_profile("same every time", derandomize=True, database=None, deadline=None)
settings.load_profile("same every time")


# A shell has its background programs ignore SIGINT, nohup has it ignore SIGHUP, and so
# would all that tests start; those that are about that see to it themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True)
def own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's configuration, terminal and time zone out of it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "PYTHONWARNINGS"):
        monkeypatch.delenv(name, raising=False)
    for name in os.environ.keys() & {f"SPALLOC_{option.upper()}" for option in Settings._fields}:
        monkeypatch.delenv(name)
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Make sure that each test ends the threads it began."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    assert not [thread for thread in left if thread.name.startswith("spalloc-")]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """A server that behaves, until told otherwise."""
    server = FakeServer()
    yield server
    server.close()


@pytest.fixture
def newer() -> Iterator[FakeServer]:
    """A server that has the commands of version 1.1.0."""
    server = FakeServer("1.1.0")
    yield server
    server.close()


@pytest.fixture
def in_vain(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Commands that get no answers; all others are waited for, however short the timeout.

    So a test may have short timeouts without taking a busy computer's delays for them.
    """
    names: set[str] = set()
    wait_open, call = Connection.wait_open, Connection.call

    def wait(connection: Connection, timeout: float | None) -> None:
        wait_open(connection, _PATIENCE)

    def patient(
        connection: Connection, timeout: float | None, name: str, *args: object, **kwargs: object
    ) -> Any:
        limit = timeout if name in names else _PATIENCE
        return call(connection, limit, name, *args, **kwargs)

    monkeypatch.setattr(Connection, "wait_open", wait)
    monkeypatch.setattr(Connection, "call", patient)
    return names


#: Seconds after which a test that waits has failed.
_PATIENCE = 30.0


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of programs that a test starts."""
    return dict(os.environ)
