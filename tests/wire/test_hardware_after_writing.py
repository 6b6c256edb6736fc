"""Hardware begins only with what a recovery would know of."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from spalloc_server import controller
from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server._saved.crash_points import CrashingDisk
from spalloc_server.server import SpallocServer

_CONFIGURATION = """
configuration = Configuration(
    machines=[Machine.single_board("m", bmp_ip="bmp", spinnaker_ip="board")],
    seconds_before_free=0,
)
"""


class _Frame:
    """A frame that does at once what it is asked, unless it is held."""

    events: list[str] = []

    def __init__(self, hostname: str, on_thread_start: Callable[[], object] | None = None) -> None:
        self.hostname = hostname
        self._holds = 0
        self._waiting: list[AtomicRequests] = []

    def add_requests(self, requests: AtomicRequests) -> None:
        self._waiting.append(requests)
        self._begin()

    def __enter__(self) -> "_Frame":
        self._holds += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._holds -= 1
        self._begin()

    def _begin(self) -> None:
        while self._waiting and not self._holds:
            requests = self._waiting.pop(0)
            self.events.append("on" if requests.power_on_boards else "off")
            requests.on_done(True)

    def stop(self) -> None:
        pass

    def join(self) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpallocServer]:
    monkeypatch.setattr(controller, "AsyncBMPController", _Frame)
    monkeypatch.setattr(_Frame, "events", [])
    config = tmp_path / "one.cfg"
    config.write_text(_CONFIGURATION)
    with SpallocServer(config, port=0, disk=CrashingDisk(_Frame.events.append)) as server:
        _Frame.events.clear()
        yield server


def _call(server: SpallocServer, *commands: tuple[str, list[int]]) -> list[object]:
    """Send all commands at once and return their answers."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        for name, args in commands:
            kwargs = {"owner": "me"} if name == "create_job" else {}
            line = json.dumps({"command": name, "args": args, "kwargs": kwargs})
            client.sendall(line.encode() + b"\n")
        lines = client.makefile()
        return [json.loads(lines.readline())["return"] for _ in commands]


def test_boards_are_switched_when_it_is_written_why(server: SpallocServer) -> None:
    _call(server, ("create_job", []))
    _call(server, ("destroy_job", [1]))

    steps = [event for event in _Frame.events if event in {"before-write", "on", "off"}]
    assert steps[:2] == ["before-write", "on"]
    assert steps[steps.index("off") - 1] == "before-write"


def test_commands_sent_at_once_are_written_at_once(server: SpallocServer) -> None:
    answers = _call(server, ("create_job", []), ("destroy_job", [1]))

    assert answers == [1, None]
    assert _Frame.events.index("before-write") < _Frame.events.index("on")


def test_calls_from_within_reach_the_hardware_without_a_client(server: SpallocServer) -> None:
    server.create_job(None, owner="me")

    # Answered by the loop, which has had to write first.
    while _call(server, ("get_job_state", [1]))[0]["state"] != 3:  # type: ignore[index]
        pass
    assert _Frame.events.index("before-write") < _Frame.events.index("on")


def test_a_stop_lets_go_of_what_is_held(server: SpallocServer) -> None:
    server.create_job(None, owner="me")

    server.stop_and_join()

    assert "on" in _Frame.events
