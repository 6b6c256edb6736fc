"""A running server on a real disk that is full, read-only or gone; see `small_disk`.

The same with a disk that fails when told to is in `test_server_disk_trouble`.
Disks change while the server is between two steps: only then is it known what a
full one still takes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from spalloc_server._saved import generation
from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.simulated_server import Client
from tests.support.small_disk import PAGE, SmallDisk, between_steps, small_disk
from tests.support.store_disks import files_in
from tests.system.test_monitoring import get, monitored
from tests.wire.test_server_disk_trouble import (
    assert_recovers_by_itself,
    assert_saved_is_known,
    impatient,
    serve_some,
)

__all__ = ("facility", "impatient", "small_disk")

NOT_WHOLE = "could not be saved as a whole"


@pytest.fixture
def rotating(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every turn of the loop begin a new snapshot, so that no journal has many records."""
    monkeypatch.setattr(generation, "SMALLEST_LIMIT", 1)
    monkeypatch.setattr(generation, "LARGEST_LIMIT", 1)


@pytest.fixture
def folder(small_disk: SmallDisk) -> Path:
    """A folder that is gone when its disk is."""
    folder = small_disk.directory / "state"
    folder.mkdir(mode=0o700)
    return folder


def ids(server: SpallocServer) -> list[int]:
    return [row["job_id"] for row in server.list_jobs(None)]


def serve_one(server: SpallocServer) -> int:
    """Have a job created for a client, and another one destroyed."""
    with Client(server.port) as client:
        job_id: int = client.call("create_job", owner="me", keepalive=None)
        client.call("destroy_job", client.call("list_jobs")[0]["job_id"])
    return job_id


def saved_files(server: SpallocServer, folder: Path) -> dict[str, bytes]:
    """Return what there is but for the lock, between two steps of the server."""
    with server.controller.undisturbed:
        return without_lock(folder)


def without_lock(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.glob(".test.cfg.*") if path.is_file()]
    kept = [path for path in files if path.suffix != ".lock" and ".events." not in path.name]
    return {path.name: path.read_bytes() for path in kept}


def assert_trouble(server: SpallocServer, words: str) -> None:
    """Wait until the store and the health page say what is wrong."""
    with monitored(server) as page:
        wait_until(lambda: words in (server.store.trouble or ""))
        status, text = get(page.port, "/health")
    assert status == 503
    assert words in text


def assert_goes_on(facility: Facility, folder: Path, jobs: list[int], next_id: int) -> None:
    """Check that a start finds these jobs, and gives no id twice."""
    with facility.server(state_dir=folder) as again:
        assert ids(again) == jobs
        assert again.store.trouble is None
        assert again.create_job(None, owner="me") == next_id


# --- full ---


def test_a_full_disk_is_shown_while_running_and_got_over(
    facility: Facility, small_disk: SmallDisk
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        small_disk.fill_under(server)

        serve_some(server, PAGE // 200)  # more than the journal's last page has room for

        assert_trouble(server, "No space left")
        small_disk.make_room()
        assert_recovers_by_itself(facility, server, small_disk.directory)
        jobs = ids(server)
        facility.crash(server)
    assert_goes_on(facility, small_disk.directory, jobs, jobs[-1] + 2)


@pytest.mark.usefixtures("rotating")
def test_a_disk_full_at_rotation_is_shown_and_got_over(
    facility: Facility, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        small_disk.fill_under(server)
        before = server.store.snapshots

        told = serve_one(server)

        assert_trouble(server, "No space left")
        assert "cannot write a" in caplog.text
        assert ids(server)[-1] == told
        assert_saved_is_known(facility, server, small_disk.directory)
        assert server.store.snapshots == before
        small_disk.make_room()
        assert_recovers_by_itself(facility, server, small_disk.directory)
        assert server.store.snapshots > before
        jobs = ids(server)
    assert_goes_on(facility, small_disk.directory, jobs, told + 1)


@pytest.mark.usefixtures("rotating")
def test_a_stop_on_a_full_disk_loses_nothing(
    facility: Facility, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        small_disk.fill_under(server)
        told = serve_one(server)
        assert_trouble(server, "No space left")
        jobs = ids(server)
        kept = saved_files(server, small_disk.directory)

        server.stop_and_join()

    assert NOT_WHOLE in caplog.text
    assert "is lost" not in caplog.text
    left = without_lock(small_disk.directory)
    assert left.keys() == kept.keys()
    assert all(left[name].startswith(kept[name]) for name in kept)  # the journal may have grown
    small_disk.make_room()
    assert_goes_on(facility, small_disk.directory, jobs, told + 1)


def test_a_stop_on_a_disk_that_takes_nothing_damages_nothing(
    facility: Facility, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        small_disk.fill_under(server)
        safe = ids(server)
        serve_some(server, PAGE // 200)
        assert_trouble(server, "No space left")
        told = ids(server)
        kept = saved_files(server, small_disk.directory)

        server.stop_and_join()

    assert NOT_WHOLE in caplog.text
    assert "is lost" in caplog.text
    assert without_lock(small_disk.directory) == kept
    small_disk.make_room()
    with facility.server(state_dir=small_disk.directory) as again:
        found = ids(again)
        assert again.store.trouble is None
    assert found == told[: len(found)]
    assert len(safe) <= len(found) < len(told)


def test_a_start_on_a_full_disk_serves_and_saves_when_there_is_room(
    facility: Facility, small_disk: SmallDisk
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        jobs = ids(server)
    small_disk.fill()
    kept = without_lock(small_disk.directory)

    with facility.server(state_dir=small_disk.directory) as again:
        assert_trouble(again, "No space left")
        assert ids(again) == jobs
        serve_some(again)
        assert saved_files(again, small_disk.directory) == kept
        small_disk.make_room()
        assert_recovers_by_itself(facility, again, small_disk.directory)
        jobs = ids(again)
        facility.crash(again)
    assert_goes_on(facility, small_disk.directory, jobs, jobs[-1] + 2)


def test_ids_that_a_full_disk_did_not_take_are_not_given_again_after_crashes(
    facility: Facility, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        small_disk.fill_under(server)
        serve_some(server, PAGE // 200)
        assert_trouble(server, "No space left")
        told = ids(server)
        facility.crash(server)

    with facility.server(state_dir=small_disk.directory) as still_full:
        assert ids(still_full) != told, "the disk did not take the last ones"
        second = still_full.create_job(None, owner="me")
        facility.crash(still_full)
    small_disk.make_room()

    with facility.server(state_dir=small_disk.directory) as again:
        third = again.create_job(None, owner="me")
    assert told[-1] < second < third
    assert f"ids of jobs go on at {second}, not" in caplog.text


# --- read-only ---


@pytest.mark.usefixtures("rotating")
def test_a_disk_that_becomes_read_only_is_shown_and_got_over(
    facility: Facility, small_disk: SmallDisk
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        with between_steps(server):
            small_disk.make_read_only()
        before = server.store.snapshots

        told = serve_one(server)

        assert_trouble(server, "Read-only")
        assert ids(server)[-1] == told
        assert_saved_is_known(facility, server, small_disk.directory)
        assert server.store.snapshots == before
        small_disk.take_away()
        assert_recovers_by_itself(facility, server, small_disk.directory)
        assert server.store.snapshots > before
        jobs = ids(server)
    assert_goes_on(facility, small_disk.directory, jobs, told + 1)


def test_a_stop_on_a_disk_that_became_read_only_loses_nothing(
    facility: Facility, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        with between_steps(server):
            small_disk.make_read_only()
        told = serve_one(server)
        jobs = ids(server)

        server.stop_and_join()

    assert NOT_WHOLE in caplog.text
    assert "Read-only" in caplog.text
    small_disk.take_away()
    assert_goes_on(facility, small_disk.directory, jobs, told + 1)


def test_a_start_on_a_read_only_disk_serves_and_saves_when_somebody_mends_it(
    facility: Facility, small_disk: SmallDisk
) -> None:
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        jobs = ids(server)
    kept = files_in(small_disk.directory)
    small_disk.make_read_only()

    with facility.server(state_dir=small_disk.directory) as again:
        assert_trouble(again, "Read-only")
        assert ids(again) == jobs
        serve_some(again)
        assert files_in(small_disk.directory) == kept
        small_disk.take_away()
        assert_recovers_by_itself(facility, again, small_disk.directory)
        jobs = ids(again)
        facility.crash(again)
    assert_goes_on(facility, small_disk.directory, jobs, jobs[-1] + 2)


# --- gone ---


def test_a_disk_that_is_gone_is_missed_until_it_is_there_again(
    facility: Facility, small_disk: SmallDisk, folder: Path
) -> None:
    with facility.server(state_dir=folder) as server:
        serve_some(server)
        with server.controller.undisturbed:
            small_disk.take_away()

        serve_one(server)

        assert_trouble(server, "No such file")
        small_disk.put_in_place()
        wait_until(lambda: server.store.trouble is None)
        told = serve_one(server)
        assert_saved_is_known(facility, server, folder)
        jobs = ids(server)
        facility.crash(server)
    assert_goes_on(facility, folder, jobs, told + 1)


def test_a_stop_while_the_disk_is_gone_loses_nothing(
    facility: Facility, small_disk: SmallDisk, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with facility.server(state_dir=folder) as server:
        serve_some(server)
        with server.controller.undisturbed:
            small_disk.take_away()
        told = serve_one(server)  # into the open journal
        jobs = ids(server)

        server.stop_and_join()

    assert NOT_WHOLE in caplog.text
    small_disk.put_in_place()
    assert_goes_on(facility, folder, jobs, told + 1)


def test_a_disk_that_leaves_an_empty_folder_is_missed_and_taken_up_again(
    facility: Facility, small_disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was mounted on is there when it is not: the state is saved where a start looks."""
    with facility.server(state_dir=small_disk.directory) as server:
        serve_some(server)
        with server.controller.undisturbed:
            small_disk.take_away()
        assert without_lock(small_disk.directory) == {}
        serve_one(server)
        wait_until(lambda: without_lock(small_disk.directory))
        assert_recovers_by_itself(facility, server, small_disk.directory)
        assert "removed or moved" in caplog.text
        before = server.store.snapshots
        with server.controller.undisturbed:
            small_disk.put_in_place()

        told = serve_one(server)

        wait_until(lambda: server.store.snapshots > before)
        assert_recovers_by_itself(facility, server, small_disk.directory)
        jobs = ids(server)
        facility.crash(server)
    assert_goes_on(facility, small_disk.directory, jobs, told + 1)
