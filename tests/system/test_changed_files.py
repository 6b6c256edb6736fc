"""Files that others remove or change while a server runs, which is then killed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from spalloc_server._saved import store, syncer
from tests.support.lasting_hardware import Facility, facility, wait_until
from tests.support.simulated_server import Client

__all__ = ("facility",)


def snapshot_of(facility: Facility) -> Path:
    (path,) = facility.config.parent.glob(".test.cfg.state.*")
    return path


def journal_of(facility: Facility) -> Path:
    return facility.config.parent / ".test.cfg.journal"


def remove_snapshot(facility: Facility) -> None:
    snapshot_of(facility).unlink()


def cut_snapshot(facility: Facility) -> None:
    path = snapshot_of(facility)
    path.write_bytes(path.read_bytes()[:10])


def replace_snapshot(facility: Facility) -> None:
    path = snapshot_of(facility)
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.replace(path)


def remove_journal(facility: Facility) -> None:
    journal_of(facility).unlink()


def empty_journal(facility: Facility) -> None:
    journal_of(facility).write_bytes(b"")


def add_rubbish(facility: Facility) -> None:
    with journal_of(facility).open("ab") as file:
        file.write(b"a line of rubbish\n")


def remove_both(facility: Facility) -> None:
    remove_snapshot(facility)
    remove_journal(facility)


CHANGES = [
    remove_snapshot,
    cut_snapshot,
    replace_snapshot,
    remove_journal,
    empty_journal,
    add_rubbish,
    remove_both,
]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fsync soon."""
    monkeypatch.setattr(store, "SECONDS_UNTIL_FSYNC", 0.01)


@pytest.mark.parametrize("durability", ["process", "always"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed_at_the_next_fsync_and_costs_no_answered_job(
    facility: Facility,
    change: Callable[[Facility], None],
    durability: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with facility.server(durability=durability) as server, Client(server.port) as client:
        answered = [client.call("create_job", owner="me", keepalive=None)]
        wait_until(lambda: server.store.unsynced_since is None)
        before = server.store.snapshots
        change(facility)
        answered += [client.call("create_job", owner="me", keepalive=None) for _ in range(3)]
        wait_until(lambda: server.store.snapshots > before)
        answered.append(client.call("create_job", owner="me", keepalive=None))
        wait_until(lambda: server.store.trouble is None)

        facility.crash(server)

    assert "is not safe on disk: " in caplog.text
    assert "the state is being saved again" in caplog.text
    with facility.server() as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == answered


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed_though_nothing_happens(
    facility: Facility,
    change: Callable[[Facility], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(syncer, "_SECONDS_BETWEEN_LOOKS", 0.01)
    with facility.server() as server:
        job_id = server.create_job(None, owner="me", keepalive=None)
        wait_until(lambda: server.store.unsynced_since is None)
        before = server.store.snapshots
        change(facility)
        wait_until(lambda: server.store.snapshots > before and server.store.trouble is None)
        facility.crash(server)

    with facility.server() as again:
        assert [row["job_id"] for row in again.list_jobs(None)] == [job_id]
