"""Names of people that are past their day are in no file of the server or of its history."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._history.database import Database
from spalloc_server._history.follower import Follower
from spalloc_server._history.upkeep import forget_names
from spalloc_server._jobs import job_log
from spalloc_server.server import SpallocServer
from tests.support.lasting_hardware import Facility, facility, wait_until

__all__ = ("facility",)

DAY = 86400.0
#: Owners, computers, operators and principals that must be forgotten.
NAMES = ("Zacharias", "Wilhelmina Q.", "192.0.2.77", "198.51.100.4", "Ottilie", "Cunegonde")


@pytest.fixture
def shift(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds by which the wall clock is ahead."""
    ahead = [0.0]
    monkeypatch.setattr(_clock, "wall", lambda: time.time() + ahead[0])
    return ahead


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """A job log among the other files."""
    path = tmp_path / "jobs.log"
    writer = job_log.open_file(str(path), 90)
    yield path
    job_log.close_file(writer)


def files_with(folder: Path, name: str) -> list[str]:
    """Names of the files that have a name in them."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file() and name.encode() in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:
            continue  # one that was written anew
    return found


def live(server: SpallocServer) -> None:
    """Have people ask for boards, end jobs, report boards and give orders."""
    controller = server.controller
    controller.create_job("192.0.2.77", 3, owner="Zacharias", keepalive=None)
    controller.create_job("198.51.100.4", 3, owner="Wilhelmina Q.", keepalive=None)
    controller.create_job("203.0.113.9", 1, owner="Livia", keepalive=None)
    for job in (1, 2):
        wait_until(lambda job=job: controller.get_job_state(None, job).state == 3)  # type: ignore[misc]
    controller.upkeep.report_problem("192.0.2.77", 1, (0, 0, 0), "no answer, says Zacharias")
    controller.destroy_job("192.0.2.77", 1, "Wilhelmina Q. needs it more than Zacharias.")
    controller.destroy_job_for("user:Cunegonde", "198.51.100.4", 2, "Cunegonde has enough")
    server._obey(json.dumps({"do": "message", "text": "ask Ottilie", "told": "Ottilie"}), 0)
    server._obey(json.dumps({"do": "message", "text": None, "told": "Ottilie"}), 0)
    wait_until(lambda: [event["event"] for event in told(server)].count("audit") == 2)


def told(server: SpallocServer, after: int = 0) -> list[dict[str, Any]]:
    reply = server.list_events(None, after)
    assert not reply["lost"]
    found = reply["events"]
    assert isinstance(found, list)
    return found


def test_names_past_their_day_are_in_no_file(
    facility: Facility, tmp_path: Path, shift: list[float], log: Path
) -> None:
    facility.configure("f", more="keep_names_days = 30")
    (tmp_path / "history").mkdir()
    with facility.server() as server, closing(
        Database(str(tmp_path / "history" / "history.db"))
    ) as database:
        live(server)
        Follower(database, ("127.0.0.1", server.port)).catch_up()
        before = {name: files_with(tmp_path, name) for name in NAMES}
        numbers = [event["number"] for event in told(server)]

        shift[0] = 29 * DAY - 2000.0
        assert server.read_config_file()  # a day is noticed by itself, but later
        kept = [files_with(tmp_path, name) for name in NAMES]
        shift[0] = 31 * DAY
        assert server.read_config_file()
        forget_names(database, 30, _clock.wall())

        wait_until(lambda: not any(files_with(tmp_path, name) for name in NAMES))
        assert all(before.values()), before
        assert all(kept)
        after = told(server)
        rows = server.list_ended_jobs(None, 9)
        jobs = [job["owner"] for job in server.list_jobs(None)]

    assert not any(files_with(tmp_path, name) for name in NAMES)
    assert [event["number"] for event in after][: len(numbers)] == numbers
    owners = {event["owner"] for event in after if event["event"] == "created"}
    assert len(owners) == 3
    assert all(name.startswith("user-") for name in owners)
    assert {row["owner"] for row in rows} < owners
    assert jobs == ["Livia"]
    with facility.server() as again:
        assert [event["number"] for event in told(again, numbers[-1])][-1] > numbers[-1]
        assert {row["owner"] for row in again.list_ended_jobs(None, 9)} < owners
        assert [job["owner"] for job in again.list_jobs(None)] == ["Livia"]
    assert not any(files_with(tmp_path, name) for name in NAMES)


def test_without_the_setting_names_stay(
    facility: Facility, tmp_path: Path, shift: list[float], log: Path
) -> None:
    with facility.server() as server:
        live(server)
        shift[0] = 400 * DAY
        assert server.read_config_file()
        told(server)

    assert all(files_with(tmp_path, name) for name in NAMES)
