"""What version 1.0.0 saved is read for good, whatever the allocator has become.

The files are in ``data/saved_1_0_0``, written once by `make_saved_1_0_0`.
"""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import server as server_module
from spalloc_server._jobs import book
from spalloc_server._jobs.belonging import principal_of_host
from spalloc_server._saved.saved_file import read_header
from spalloc_server.area_to_rect import area_to_rect
from spalloc_server.controller import JobState
from spalloc_server.pack_tree import CandidateFilter, PackTree
from spalloc_server.server import SpallocServer
from tests.support.fake_frame import FakeFrame, Rack
from tests.support.recovery_life import comparable

_DATA = Path(__file__).parent.parent / "data" / "saved_1_0_0"
_KNOWN: dict[str, Any] = book.upgrade(json.loads((_DATA / "known.json").read_text()), 1)
_SAVED = ["crashed", "stopped"]
_NEXT_ID = 15

# The machines as they were; tests.support.recovery_life makes the same.
_CONFIG = """
def machine(name, width, height, **changes):
    boards = [(x, y, z) for y in range(height) for x in range(width) for z in range(3)]
    return Machine(
        name, width=width, height=height,
        board_locations={board: (0, n % 2, n // 2) for n, board in enumerate(boards)},
        bmp_ips={(0, 0): f"{name}-0", (0, 1): f"{name}-1"},
        spinnaker_ips={board: f"{name}-{n}-board" for n, board in enumerate(boards)},
        **changes,
    )

configuration = Configuration(
    machines=[
        machine("a", 4, 2, dead_boards={(3, 1, 2)}),
        machine("b", 2, 1, tags={"default", "odd"}),
    ],
    ip="127.0.0.1", seconds_before_free=60, max_retired_jobs=5,
)
scheduling = "fcfs"
"""


@pytest.fixture
def rack(monkeypatch: pytest.MonkeyPatch) -> Rack:
    return Rack(monkeypatch)


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where version 1.0.0 has left its state."""
    (tmp_path / "saved.cfg").write_text(_CONFIG)
    for path in (_DATA / request.param).iterdir():
        name = path.name.replace("state", "state.1.0.0")
        copy = tmp_path / f".saved.cfg.{name}"
        shutil.copyfile(path, copy)
        copy.chmod(0o600)
    return tmp_path


def from_the_far_end(
    tree: PackTree,
    area: int,
    min_ratio: float = 0.0,
    candidate_filter: CandidateFilter | None = None,
) -> tuple[int, int, int, int] | None:
    """Allocate like `PackTree.alloc_area`, but where x and y are largest."""
    shape = area_to_rect(area, tree.width, tree.height, min_ratio)
    if shape is None:
        return None
    width, height = shape
    for x in reversed(range(tree.width - width + 1)):
        for y in reversed(range(tree.height - height + 1)):
            if candidate_filter is None or candidate_filter(x, y, width, height):
                with suppress(ValueError):
                    tree.take(x, y, width, height)
                    return x, y, width, height
    return None


@pytest.fixture
def later_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a later version, whose allocator prefers other places."""
    monkeypatch.setattr(server_module, "__version__", "1.7.2")
    monkeypatch.setattr(PackTree, "alloc_area", from_the_far_end)


def assert_nothing_is_lost(server: SpallocServer) -> None:
    with server.controller.undisturbed:
        state = server.controller.__getstate__()
    state["next_id"] = max(state["next_id"], _KNOWN["next_id"])
    jobs = {
        job_id: {**job, "principal": principal_of_host(job["host"])}
        for job_id, job in _KNOWN["jobs"].items()
    }
    known = {**_KNOWN, "next_id": state["next_id"], "jobs": jobs}
    assert comparable(state) == comparable(known)


def power_asked(frames: list[FakeFrame], on: bool) -> dict[str, list[int]]:
    """Boards that each frame was asked to switch, but for tests of those out of service."""
    asked: dict[str, list[int]] = {}
    for frame in frames:
        for request in frame.requests:
            if not request.background:
                boards = request.power_on_boards if on else request.power_off_boards
                asked.setdefault(frame.hostname, []).extend(boards)
    return {host: sorted(boards) for host, boards in asked.items() if boards}


@pytest.mark.parametrize("folder", _SAVED, indirect=True)
def test_1_0_0_reads_what_it_wrote(folder: Path, rack: Rack) -> None:
    with SpallocServer(folder / "saved.cfg", port=0) as server:
        assert_nothing_is_lost(server)


@pytest.mark.parametrize("folder", _SAVED, indirect=True)
@pytest.mark.usefixtures("later_version")
def test_a_later_version_goes_on_with_it(folder: Path, rack: Rack) -> None:
    with SpallocServer(folder / "saved.cfg", port=0) as server:
        assert_nothing_is_lost(server)
        assert power_asked(rack.frames, on=True) == {"a-0": [5], "a-1": [4, 5, 6], "b-1": [0]}
        assert server.get_job_machine_info(None, 1)["boards"] == [(0, 0, 0), (0, 0, 1), (0, 0, 2)]
        assert server.get_job_state(None, 13)["reason"].startswith("Cancelled: ")
        assert server.create_job(None, owner="me") == _NEXT_ID
        rack.answer_all()
        for job_id in (8, 10, 11):
            assert server.get_job_state(None, job_id)["state"] == JobState.ready
        assert server.controller.__getstate__()["orphans"] == {}

    (state,) = folder.glob(".saved.cfg.state.*")
    assert state.name == ".saved.cfg.state.1.7.2"
    header = read_header(state.read_bytes(), "state", book.FORMAT, state)
    assert header.next_id == _NEXT_ID + 1


@pytest.mark.parametrize("folder", ["stopped"], indirect=True)
def test_after_a_clean_stop_only_what_was_begun_is_finished(folder: Path, rack: Rack) -> None:
    with SpallocServer(folder / "saved.cfg", port=0):
        asked = power_asked(rack.frames, on=False)

    # The silent frame, those on their way to off, and those of the machine that is gone.
    assert asked == {"b-0": [0, 0, 1], "b-1": [1], "gone-0": [0, 1], "gone-1": [0]}


@pytest.mark.parametrize("folder", ["crashed"], indirect=True)
def test_after_a_crash_all_that_nobody_has_goes_off(folder: Path, rack: Rack) -> None:
    with SpallocServer(folder / "saved.cfg", port=0):
        asked = power_asked(rack.frames, on=False)

    assert asked["gone-0"] == [0, 1]
    assert asked["a-0"] == [7, 8, 9, 10, 11]
    assert asked["a-1"] == [7, 8, 9, 10, 11]


@pytest.mark.usefixtures("later_version")
def test_the_later_allocator_does_decide_differently(tmp_path: Path, rack: Rack) -> None:
    """Else the tests above would prove nothing."""
    (tmp_path / "new.cfg").write_text(_CONFIG)
    with SpallocServer(tmp_path / "new.cfg", port=0) as server:
        job_id = server.create_job(None, 3, owner="me", machine="a")

        info = server.get_job_machine_info(None, job_id)

    assert info["boards"] != _KNOWN["jobs"]["1"]["allocation"]["boards"]
    assert info["boards"][0] == (3, 0, 0)
