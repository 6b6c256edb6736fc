"""Fixtures of the tests under a policy."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server.server import SpallocServer
from tests.support.fake_frame import Rack
from tests.support.policed_server import CONFIG, Start


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start servers under a policy, on frames that answer at once."""
    Rack(monkeypatch).at_once = True
    started: list[SpallocServer] = []

    def start(policy: str, **options: Any) -> SpallocServer:
        (tmp_path / "test.cfg").write_text(CONFIG.format(policy=policy))
        started.append(SpallocServer(tmp_path / "test.cfg", port=0, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop_and_join()
    for thread in threading.enumerate():
        if thread.name == "user-names":
            thread.join()


@pytest.fixture
def place(tmp_path: Path) -> str:
    """Where a Unix socket can be."""
    return str(tmp_path / "sock")
