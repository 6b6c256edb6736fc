"""A running server whose disk fails: it serves on, says so, and recovers by itself.

With a disk that fails when told to, and with a small file system of its own where
the machine allows one.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server import _disk_trouble, _store
from spalloc_server.server import SpallocServer
from tests.lasting_hardware import Facility, facility, wait_until
from tests.recovery_life import comparable
from tests.simulated_server import Client
from tests.store_disks import FailingDisk
from tests.test_monitoring import get, monitored, of, scrape

__all__ = ("facility",)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(_disk_trouble, "_LONGEST_WAIT", 0.05)
    monkeypatch.setattr("spalloc_server.server._SECONDS_BETWEEN_TRIES", 0.05)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FailingDisk:
    """What every store uses from now on."""
    disk = FailingDisk()
    monkeypatch.setattr(_store, "Disk", lambda: disk)
    return disk


def assert_saved_is_known(facility: Facility, server: SpallocServer) -> None:
    """Check that a start now would know what the server knows."""
    with server.controller.undisturbed:
        known = server.controller.__getstate__()
    assert comparable(facility.book()) == comparable(known)


def assert_recovers_by_itself(facility: Facility, server: SpallocServer) -> None:
    wait_until(lambda: server.store.trouble is None)
    wait_until(lambda: not server.store.pending)
    assert_saved_is_known(facility, server)


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
        server._commit()
        saved = comparable(facility.book())
        assert get(page.port, "/health")[0] == 200
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


@pytest.mark.parametrize("call", ["open", "write", "fsync", "rename", "sync_directory", "unlink"])
def test_a_disk_that_fails_at_rotation_loses_nothing(
    facility: Facility, disk: FailingDisk, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_store, "_SMALLEST_LIMIT", 4000)
    monkeypatch.setattr(_store, "_LARGEST_LIMIT", 4000)
    with facility.server() as server:
        before = server.store.snapshots
        disk.fail(call)
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


@pytest.mark.parametrize("call", ["write", "open", "fsync", "rename"])
def test_a_stop_on_a_failing_disk_loses_nothing(
    facility: Facility, disk: FailingDisk, call: str
) -> None:
    with facility.server() as server:
        serve_some(server)
        jobs = [row["job_id"] for row in server.list_jobs(None)]
        disk.fail(call)

    disk.fail()
    with facility.server() as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == jobs
        assert again.create_job(None, owner="me") == 6


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


# --- a real small disk ---


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 KiB, where the machine allows one."""
    directory = tmp_path / "small"
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k,mode=700", "tmpfs", str(directory)]
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a file system")
    yield directory
    # Lazily: a server that a failed test left behind must not keep it for ever.
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


def fill(directory: Path) -> Path:
    """Leave no room on a disk; returns the file to remove."""
    ballast = directory / "ballast"
    with pytest.raises(OSError, match="No space"), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))
    return ballast


def names_of_files(directory: Path) -> set[str]:
    return {path.name for path in directory.glob(".test.cfg.*") if path.is_file()}


def test_a_real_disk_that_is_full_while_running(facility: Facility, small_disk: Path) -> None:
    with facility.server(state_dir=small_disk) as server, monitored(server) as page:
        serve_some(server)
        ballast = fill(small_disk)

        serve_some(server, 100)  # more than fits into what the journal's last page has left

        assert "No space left" in get(page.port, "/health")[1]
        ballast.unlink()
        wait_until(lambda: server.store.trouble is None)
        wait_until(lambda: not server.store.pending)
        jobs = [row["job_id"] for row in server.list_jobs(None)]
        facility.crash(server)
    with facility.server(state_dir=small_disk) as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == jobs


def test_a_real_disk_that_is_read_only_until_somebody_mends_it(
    facility: Facility, small_disk: Path
) -> None:
    with facility.server(state_dir=small_disk) as server:
        serve_some(server)
        jobs = [row["job_id"] for row in server.list_jobs(None)]
    saved = {path.name: path.read_bytes() for path in small_disk.iterdir()}
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with facility.server(state_dir=small_disk) as again, monitored(again) as page:
        assert [row["job_id"] for row in again.list_jobs(None)] == jobs
        serve_some(again)
        assert "Read-only" in json.dumps(json.loads(get(page.port, "/health")[1]))
        assert {path.name: path.read_bytes() for path in small_disk.iterdir()} == saved
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
        wait_until(lambda: again.store.trouble is None)
        jobs = [row["job_id"] for row in again.list_jobs(None)]
    with facility.server(state_dir=small_disk) as last:
        assert [row["job_id"] for row in last.list_jobs(None)] == jobs
