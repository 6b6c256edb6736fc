"""What survives which end at which level, and what others left in the state's place."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from enum import IntEnum
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from spalloc_server import __version__
from spalloc_server._jobs import book as _book
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._saved import store
from spalloc_server._saved.disk import Disk
from spalloc_server.controller import Controller
from tests.support.fake_frame import Rack
from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.recovery_life import json_copy
from tests.support.server_process import ServerProcess
from tests.support.simulated_server import Client
from tests.support.store_disks import FailingDisk

__all__ = ("facility",)

_ROOT = Path(__file__).parent.parent.parent
_DEMO = _ROOT / "examples" / "demo.cfg"
#: A state of spalloc_server 1!7.0.0, with one job, as it saved it at a stop.
_ORIGINAL = Path(__file__).parent.parent / "data" / "original_1_7_0_0.pickle"
#: See `make_saved_1_0_0`.
_SAVED = Path(__file__).parent.parent / "data" / "saved_1_0_0" / "known.json"


#: A machine whose numbers, tags and hosts are no plain ones.
_ODD_MACHINE = """
class Word(str): pass
class Number(IntEnum):
    NONE, ONE = range(2)
odd = Machine(
    "odd", tags={Word("default")}, width=Number.ONE, height=1,
    board_locations={(0, Number.NONE, z): (0, 0, z) for z in range(3)},
    bmp_ips={(Number.NONE, 0): Word("odd")},
    spinnaker_ips={(0, 0, z): Word(f"board-{z}") for z in range(3)},
)
configuration = Configuration(
    machines=[*configuration.machines, odd], ip="127.0.0.1", seconds_before_free=0,
)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(_DEMO, tmp_path / "demo.cfg")
    return tmp_path


# --- levels ---


def test_none_saves_at_a_clean_stop_and_repeats_no_id_after_a_crash(folder: Path) -> None:
    none = ("--durability", "none", "demo.cfg")
    with ServerProcess(folder, *none) as server, server.client() as client:
        saved = [client.call("create_job", owner="me", keepalive=None) for _ in range(2)]
        assert server.stop() == 0
    with ServerProcess(folder, *none) as server, server.client() as client:
        assert [job["job_id"] for job in client.call("list_jobs")] == saved
        lost = client.call("create_job", owner="me", keepalive=None)
        assert not list(folder.glob(".*.journal"))
        server.stop(signal.SIGKILL)

    with ServerProcess(folder, *none) as server, server.client() as client:
        assert [job["job_id"] for job in client.call("list_jobs")] == saved
        assert client.call("get_job_state", lost)["state"] == 0
        assert client.call("create_job", owner="me", keepalive=None) > lost
        assert server.stop() == 0


def test_always_is_on_disk_before_the_reply(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FailingDisk()
    monkeypatch.setattr(store, "Disk", lambda: disk)
    with facility.server(durability="always") as server, Client(server.port) as client:
        for what in ([], [1], [3]):
            disk.calls.clear()
            client.call("create_job", *what, owner="me")

            assert disk.calls[:2] == ["write", "fsync"]


def test_the_configuration_file_sets_the_level_also_at_a_reload(facility: Facility) -> None:
    facility.configure("f", more="durability = 'none'")
    with facility.server() as server:
        assert server.store.durability == "none"
        wait_until(lambda: not server.store.wants_snapshot)
        kept = server.create_job(None, owner="me", keepalive=None)
        assert server.store.journal_bytes == 0
        for level in ("process", "none", "always", "process"):
            facility.configure("f", more=f"durability = {level!r}")
            assert server.read_config_file()
            assert server.store.durability == level
        server.wake()
        wait_until(lambda: server.store.journal_bytes and not server.store.wants_snapshot)
        last = server.create_job(None, owner="me", keepalive=None)
        facility.crash(server)

    with facility.server() as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == [kept, last]


class GatedDisk(Disk):
    """A disk that waits in front of a rename, once it is told to."""

    def __init__(self) -> None:
        self.gated = False
        self.reached, self.opened = threading.Event(), threading.Event()

    def rename(self, old: Path, new: Path) -> None:
        """Wait, then rename."""
        if self.gated:
            self.reached.set()
            assert self.opened.wait(30)
        super().rename(old, new)


def test_a_level_that_begins_at_a_reload_holds_for_the_next_reply(facility: Facility) -> None:
    """There is no journal yet, so that only a snapshot can save what is answered."""
    disk = GatedDisk()
    facility.configure("f", more="durability = 'none'")
    with facility.server(disk=disk) as server, Client(server.port) as client:
        client.call("version")
        facility.configure("f", more="durability = 'process'")
        with server.controller.undisturbed:  # so that the command is there when the loop goes on
            assert server.read_config_file()
            client.send_line('{"command": "create_job", "kwargs": {"owner": "me"}}')
            disk.gated = True
        assert disk.reached.wait(30)
        answered = select.select([client._socket], [], [], 0)[0]
        disk.opened.set()

        assert answered == []
        assert client.answer() == {"return": 1}
        assert facility.book()["jobs"]


def test_a_level_that_does_not_exist_keeps_the_configuration(facility: Facility) -> None:
    with facility.server() as server:
        facility.configure("f", more="durability = 'mostly'")

        assert not server.read_config_file()

        assert server.store.durability == "process"


def test_the_command_line_beats_the_configuration_file(folder: Path) -> None:
    config = folder / "demo.cfg"
    config.write_text(config.read_text() + "\ndurability = 'none'\n")
    with ServerProcess(folder, "--durability", "process", "demo.cfg") as server:
        with server.client() as client:
            job_id = client.call("create_job", owner="me", keepalive=None)
        server.stop(signal.SIGKILL)

    with ServerProcess(folder, "demo.cfg") as server, server.client() as client:
        assert client.call("get_job_state", job_id)["state"] in (2, 3)
        assert server.stop() == 0


def test_what_is_done_in_process_is_written_when_the_call_returns(facility: Facility) -> None:
    with facility.server() as server:
        job_id = server.create_job(None, 3, owner="me", keepalive=None)
        assert job_id in facility.book()["jobs"]
        server.power_off_job_boards(None, job_id)
        assert facility.book()["jobs"][job_id]["power"] is False
        server.destroy_job(None, job_id, "gone")
        assert facility.book()["retired"] == {job_id: "gone"}


class Odd(IntEnum):
    """A number that is no plain one."""

    ONE = 1


class Words(str):
    """A text that is no plain one."""


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([Odd.ONE], {}),
        ([], {"owner": Words("me")}),
        ([], {"machine": Words("f")}),
        ([], {"tags": (Words(tag) for tag in ["default"])}),
        ([], {"max_dead_boards": Odd.ONE}),
        ([], {"keepalive": 10**20}),
        ([10**18], {}),
    ],
)
def test_whatever_callers_from_within_pass_can_be_saved(
    facility: Facility, args: list[Any], kwargs: dict[str, Any]
) -> None:
    facility.configure("f", more="from enum import IntEnum\n" + _ODD_MACHINE)
    with facility.server() as server:
        job_id = server.create_job(None, *args, **{"owner": "me", "keepalive": None, **kwargs})
        server.destroy_job(None, job_id, Words("done"))

        assert server.store.trouble is None
    assert facility.saved().problems == []
    assert list(facility.book()["retired"]) == [job_id]


def test_what_is_told_is_taken_first_and_written_then(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that nothing can happen in between that is told and not written."""
    steps: list[str] = []
    with facility.server() as server, Client(server.port) as client:
        client.call("notify_job")
        notify, commit = server._watchers._tell, server._write_ahead.commit
        taken = type(server.controller).changed_machines

        def take(controller: Any) -> set[str]:
            steps.append("take")
            names: set[str] = taken.__get__(controller)
            return names

        def write() -> int:
            steps.append("write")
            return commit()

        def tell(*told: Any) -> None:
            steps.append("tell")
            notify(*told)

        monkeypatch.setattr(type(server.controller), "changed_machines", property(take))
        monkeypatch.setattr(server._write_ahead, "commit", write)
        monkeypatch.setattr(server._watchers, "_tell", tell)

        client.call("create_job", owner="me", keepalive=None)
        client.next_notification()

    first = steps.index("tell")
    assert steps[first - 2 : first] == ["take", "write"]


def test_a_recovered_server_asks_nothing_of_hardware_before_its_state_is_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rack = Rack(monkeypatch)
    state = json_copy(json.loads(_SAVED.read_text()))
    keeper = Mock(pending=False, lacks_journal=False, news=False, position=0, safe=0)
    write_ahead = WriteAhead(keeper, Mock())

    recovered = Controller.restore(_book.upgrade(state, 1), write_ahead)
    write_ahead.commit()

    assert write_ahead.uncommitted
    assert not any(frame.requests for frame in rack.frames)
    write_ahead.begin(recovered)
    write_ahead.commit()
    asked = {frame.hostname for frame in rack.frames if frame.requests}
    assert {"a-0", "b-1", "gone-0"} <= asked
    assert all(frame.holds == 0 for frame in rack.frames)


def test_a_state_that_contradicts_itself_asks_nothing_of_hardware(facility: Facility) -> None:
    facility.configure("f", "g")
    with facility.server() as server:
        for name in ("f", "g"):
            server.create_job(None, 2, 1, owner="me", keepalive=None, machine=name)
        book = server.controller.__getstate__()
    book["jobs"][2]["allocation"]["outcome"] = ["triads", 0, 0, 9, 9]
    facility.simulation.command("f forget")
    write_ahead = WriteAhead(Mock(), Mock())

    with pytest.raises(ValueError, match="9"):
        Controller.restore(book, write_ahead)

    write_ahead.stop_holding()
    assert facility.seen() == {}


# --- who else was there ---


def test_the_originals_state_is_told_from_ours_and_left_alone(folder: Path) -> None:
    state = folder / ".demo.cfg.state.1!7.0.0"
    shutil.copy(_ORIGINAL, state)
    # Nothing is asked of the real BMPs that the configuration names: nobody has boards there.
    options = ("--port", "0", "--job-log", os.devnull, "demo.cfg")
    server = subprocess.Popen(
        [sys.executable, "-m", "spalloc_server", *options],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr is not None
    try:
        told = ""
        while "listening" not in told:
            line = server.stderr.readline()
            assert line, told
            told += line
        server.terminate()
        assert server.wait(30) == 0
    finally:
        server.kill()
        server.wait()
        server.stderr.close()

    assert f"{state} is not used, it stays as it is" in told
    assert "it looks like a state of the original spalloc_server" in told
    assert "start the original again and let them end before changing over" in " ".join(
        told.split()
    )
    assert state.read_bytes() == _ORIGINAL.read_bytes()
    assert (folder / f".demo.cfg.state.{__version__}").exists()


def test_a_state_that_contradicts_itself_is_a_cold_start(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server() as server:
        for _ in range(2):
            server.create_job(None, 3, owner="me", keepalive=None)
        wait_until(lambda: len(facility.on()) == 6)
        book = server.controller.__getstate__()
        first, second = book["jobs"].values()
        second["allocation"] = {**first["allocation"], "id": 2}
        server._recorded.__getstate__ = lambda: book  # type: ignore[method-assign]
    facility.simulation.command("f forget")

    with facility.server() as again:
        assert again.list_jobs(None) == []
        assert again.create_job(None, owner="me") == 3
        wait_until(lambda: len(facility.on()) == 1)  # nobody has the others

    assert "contradicts itself" in caplog.text
    assert len(list(facility.config.parent.glob(".test.cfg.state.*.unreadable.1"))) == 1


# --- folders that are symbolic links ---


@pytest.mark.parametrize("link", ["state folder", "configuration folder"])
def test_a_folder_that_is_a_symbolic_link_works_like_a_folder(
    tmp_path: Path, facility: Facility, link: str
) -> None:
    """As systemd's DynamicUser and a /var/lib on another disk make it."""
    real, linked = tmp_path / "real", tmp_path / "linked"
    real.mkdir()
    linked.symlink_to(real)
    options: dict[str, Any] = {"state_dir": linked}
    if link == "configuration folder":
        facility.config = facility.config.rename(real / facility.config.name)
        facility.config = linked / facility.config.name
        options = {}

    with facility.server(**options) as server, Client(server.port) as client:
        job_id = client.call("create_job", owner="me", keepalive=None)
        wait_until(lambda: server.store.unsynced_since is None)

        assert server.store.trouble is None
        assert server.store.snapshots == 1
        facility.crash(server)
    with facility.server(**options) as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == [job_id]
        assert again._operators._control is not None


# --- ids after a state that is gone ---


@pytest.mark.parametrize("cold", [False, True])
def test_a_job_of_a_state_that_is_gone_is_not_taken_for_another(
    facility: Facility, cold: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server() as server:
        assert server.create_job(None, owner="Alice", keepalive=None) == 1
    for path in facility.config.parent.glob(".test.cfg.state.*"):
        path.rename(path.with_name("elsewhere"))

    with facility.server(cold_start=cold) as server:
        bobs = server.create_job(None, owner="Bob", keepalive=None)
        server.destroy_job(None, 1)

        assert bobs > 10_000_000
        assert server.get_job_state(None, bobs)["state"] in (2, 3)
    assert f"ids of jobs begin at {bobs}" in caplog.text


def test_a_fresh_state_begins_with_job_1(facility: Facility) -> None:
    with facility.server() as server:
        assert server.create_job(None, owner="me") == 1


def test_the_first_id_may_be_chosen(facility: Facility) -> None:
    with facility.server(first_id=500) as server:
        assert server.create_job(None, owner="me") == 500
    with facility.server(first_id=200) as server:
        assert server.create_job(None, owner="me") == 501


def test_a_cold_start_repeats_no_id_of_the_journal(facility: Facility) -> None:
    with facility.server() as server:
        for _ in range(3):
            server.create_job(None, owner="me", keepalive=None)
        facility.crash(server)

    with facility.server(cold_start=True) as server:
        assert server.create_job(None, owner="me") == 4
