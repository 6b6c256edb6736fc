"""A running server whose disk fails when told to: it serves on, says so, and recovers by itself.

The same on a real file system is in `test_server_small_disk`.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from spalloc_server._saved import disk_trouble, generation, store
from spalloc_server._saved.crash_points import CrashingDisk
from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.recovery_life import comparable
from tests.support.simulated_server import Client
from tests.support.small_disk import at_rest
from tests.support.store_disks import FailingDisk
from tests.system.test_monitoring import get, monitored, of, scrape

__all__ = ("facility",)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(disk_trouble, "_LONGEST_WAIT", 0.05)
    monkeypatch.setattr("spalloc_server._jobs.write_ahead._SECONDS_BETWEEN_TRIES", 0.05)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """What every store uses from now on."""
    disk = FailingDisk()
    monkeypatch.setattr(store, "Disk", lambda: disk)
    return disk


def assert_saved_is_known(
    facility: Facility, server: SpallocServer, folder: Path | None = None
) -> None:
    """Check that a start now would know what the server knows."""
    with server.controller.undisturbed:
        server._write_ahead.commit()
        # A start has the files for itself; here the store's threads might still move them.
        wait_until(lambda: at_rest(server.store))
        known = server.controller.__getstate__()
        assert comparable(facility.book(folder)) == comparable(known)


def assert_recovers_by_itself(
    facility: Facility, server: SpallocServer, folder: Path | None = None
) -> None:
    wait_until(lambda: server.store.trouble is None)
    wait_until(lambda: not server.store.pending)
    assert_saved_is_known(facility, server, folder)


def serve_some(server: SpallocServer, jobs: int = 5) -> None:
    """Have a client's commands answered."""
    with Client(server.port) as client:
        for _ in range(jobs):
            job_id = client.call("create_job", 3, owner="x" * 200, keepalive=None)
        assert client.call("get_job_state", job_id)["state"] in (1, 2, 3)
        client.call("destroy_job", job_id)
        assert client.call("get_job_state", job_id)["state"] == 4


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("durability", ["process", "always"])
def test_a_disk_that_takes_nothing_is_shown_and_got_over(
    facility: Facility, disk: FailingDisk, error: int, durability: str
) -> None:
    with facility.server(durability=durability) as server, monitored(server) as page:
        serve_some(server)
        assert get(page.port, "/health")[0] == 200
        with server.controller.undisturbed:
            server._write_ahead.commit()
            saved = comparable(facility.book())
            disk.fail("write", "open", "truncate", error=error)

        serve_some(server)

        status, text = get(page.port, "/health")
        assert status == 503
        assert os.strerror(error) in text
        assert of(scrape(page.port), "spalloc_disk_trouble") == 1
        assert comparable(facility.book()) == saved
        disk.fail()
        assert_recovers_by_itself(facility, server)
        assert get(page.port, "/health")[0] == 200
        assert of(scrape(page.port), "spalloc_disk_trouble") == 0


#: A call, and how it fails: broken, full, read-only, or gone.
CALLS = [
    *((call, errno.EIO) for call in ("open", "write", "fsync", "rename", "close", "unlink")),
    *((call, errno.ENOSPC) for call in ("open", "write", "close")),
    *((call, errno.EROFS) for call in ("open", "rename")),
    *((call, errno.ENOENT) for call in ("open", "rename", "sync_directory")),
]


@pytest.mark.parametrize(("call", "error"), [*CALLS, ("sync_directory", errno.EIO)])
def test_a_disk_that_fails_at_rotation_loses_nothing(
    facility: Facility, disk: FailingDisk, call: str, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "SMALLEST_LIMIT", 4000)
    monkeypatch.setattr(generation, "LARGEST_LIMIT", 4000)
    with facility.server() as server:
        before = server.store.snapshots
        disk.fail(call, error=error)
        serve_some(server, 20)
        wait_until(lambda: server.store.trouble is not None)
        facility.saved()
        disk.fail()

        assert_recovers_by_itself(facility, server)

        wait_until(lambda: server.store.snapshots > before)
        assert_saved_is_known(facility, server)


def test_a_fsync_that_fails_in_the_background_is_got_over_without_any_client(
    facility: Facility, disk: FailingDisk
) -> None:
    with facility.server() as server:
        serve_some(server)
        disk.fail("fsync")
        serve_some(server)
        wait_until(lambda: server.store.trouble is not None)
        disk.fail()

        assert_recovers_by_itself(facility, server)


@pytest.mark.parametrize(("call", "error"), CALLS)
def test_a_stop_on_a_failing_disk_loses_nothing(
    facility: Facility, disk: FailingDisk, call: str, error: int
) -> None:
    with facility.server() as server:
        serve_some(server)
        jobs = [row["job_id"] for row in server.list_jobs(None)]
        disk.fail(call, error=error)

    disk.fail()
    with facility.server() as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == jobs
        assert again.create_job(None, owner="me") == 6


def test_a_mistake_while_writing_keeps_no_frame_waiting_for_ever(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    """The turn fails, the next one writes; boards that were asked for are switched yet."""
    mistakes: list[str] = []

    def hook(point: str) -> None:
        if point == "before-write" and not mistakes:
            mistakes.append(point)
            raise LookupError("a mistake of ours")

    with facility.server(disk=CrashingDisk(hook)) as server, Client(server.port) as client:
        job_id = client.call("create_job", 3, owner="me", keepalive=None)

        client.wait_until(job_id, 3)

        assert mistakes == ["before-write"]
        assert_saved_is_known(facility, server)
    assert "a mistake of ours" in caplog.text


def test_a_mistake_while_writing_keeps_no_stop_waiting_for_ever(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    mistakes = 0

    def hook(point: str) -> None:
        nonlocal mistakes
        if point == "before-write" and mistakes < 2:
            mistakes += 1
            raise LookupError("a mistake of ours")

    with facility.server(disk=CrashingDisk(hook)) as server:
        server._stop_serving()
        with pytest.raises(LookupError, match="of ours"):
            server.create_job(None, 3, owner="me", keepalive=None)

        server.stop_and_join()

        assert mistakes == 2
    assert "a mistake of ours" in caplog.text
    assert "given up" not in caplog.text
    with facility.server() as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == [1]


def test_a_start_on_a_failing_disk_serves(facility: Facility, disk: FailingDisk) -> None:
    with facility.server() as server:
        serve_some(server)
    disk.fail("open", error=errno.EROFS)
    with pytest.raises(Exception, match="Read-only"):
        disk.open(facility.config, os.O_RDONLY)
    disk.fail("write", "rename", error=errno.EROFS)

    with facility.server() as again:
        assert "Read-only" in (again.store.trouble or "")
        assert len(again.list_jobs(None)) == 4
        serve_some(again)
        disk.fail()
        assert_recovers_by_itself(facility, again)


def test_a_folder_that_is_removed_is_missed_until_it_is_there_again(facility: Facility) -> None:
    folder = facility.config.parent / "state"
    folder.mkdir()
    with facility.server(state_dir=folder) as server:
        serve_some(server)
        shutil.rmtree(folder)

        serve_some(server)

        wait_until(lambda: "No such file" in (server.store.trouble or ""))
        folder.mkdir(mode=0o700)
        wait_until(lambda: server.store.trouble is None)
        serve_some(server)
        jobs = len(server.list_jobs(None))
    with facility.server(state_dir=folder) as again:
        assert len(again.list_jobs(None)) == jobs


def test_a_stop_whose_last_snapshot_meets_a_mistake_of_ours_leaves_the_journal(
    facility: Facility, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = facility.server()
    serve_some(server)
    jobs = [row["job_id"] for row in server.list_jobs(None)]
    monkeypatch.setattr(server.store, "close", Mock(side_effect=RuntimeError("a mistake of ours")))

    server.stop_and_join()

    assert "the state was not saved; the journal counts" in caplog.text
    with facility.server() as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == jobs
