"""The picture of the server, kept current."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.picture import Picture
from spalloc_web._facility.questions import read_event
from spalloc_web._facility.replies import EventReply

from tests.conftest import following
from tests.support.facility import Facility, FakeMachine, busy, empty, shuffle
from tests.support.fake_server import FakeServer


def boards_of(picture: Picture, name: str = "machine") -> list[list[Any]]:
    return sorted(list(row) for row in picture.machines[name].boards)


async def test_the_first_picture_is_all_that_the_server_shares() -> None:
    facility = busy(4, 2)
    facility.message = "Maintenance on Friday"
    async with FakeServer(facility) as server, following(server) as watcher:
        picture = watcher.follower.picture

        assert boards_of(picture) == sorted(facility.machines["machine"].rows())
        assert list(picture.jobs) == list(facility.jobs)
        assert [waiting.job_id for waiting in picture.queue] == [
            job["job_id"] for job in facility.list_queue()["jobs"]
        ]
        assert picture.status.version == "1.1.0"
        assert picture.status.message == "Maintenance on Friday"
        assert picture.status.missing == ()


async def test_times_of_jobs_of_before_the_connection_are_asked_for() -> None:
    facility = empty(4, 2)
    ready, powering, waiting = (facility.create("ada", [1]) for _ in range(3))
    facility.allocate(ready, "machine", [(0, 0, 0)])
    facility.allocate(powering, "machine", [(0, 0, 1)], state=2)
    async with FakeServer(facility) as server, following(server) as watcher:
        jobs = watcher.follower.picture.jobs
        created = jobs[ready].created
        assert created is not None
        assert (jobs[ready].allocated, jobs[ready].ready) == (created + 5, created + 10)
        assert (jobs[powering].allocated, jobs[powering].ready) == (created + 6, None)
        assert (jobs[waiting].allocated, jobs[waiting].ready) == (None, None)
        assert server.asked.count("list_job_times") == 1


async def test_an_older_server_is_not_asked_for_times() -> None:
    async with FakeServer(busy(4, 2), version="1.0.0") as server, following(server) as watcher:
        assert all(job.allocated is None for job in watcher.follower.picture.jobs.values())
        assert "list_job_times" not in server.asked


async def test_changes_arrive_by_notification() -> None:
    facility = empty(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        job_id = facility.create("ada", [2])
        server.notify()
        picture = await watcher.until(lambda p: job_id in p.jobs and len(p.queue) == 1)
        assert picture.jobs[job_id].state == "queued"
        assert picture.jobs[job_id].mark is None

        facility.allocate(job_id, "machine", [(0, 0, 0), (0, 0, 1)])
        server.notify()
        picture = await watcher.until(lambda p: p.machines["machine"].counts()["free"] == 22)
        assert picture.machines["machine"].board(0, 0, 1) == (0, 0, 1, "used", job_id, None)

        facility.end(job_id)
        server.notify()
        picture = await watcher.until(
            lambda p: not p.jobs and p.machines["machine"].counts().get("resting") == 2
        )
        assert picture.number > 3


async def test_an_event_alone_says_which_boards_to_look_at() -> None:
    # From resting to free there is no notification of a job or machine, but an event.
    facility = empty(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        facility.set_board("machine", (1, 1, 1), "out")
        server.notify()

        await watcher.until(lambda p: p.machines["machine"].counts().get("out") == 1)


async def test_events_are_handed_on_once_and_in_order() -> None:
    facility = empty(4, 2)
    seen: list[EventReply] = []
    async with FakeServer(facility) as server, following(server) as watcher:
        watcher.follower.on_events(seen.extend)
        for x in range(4):
            facility.set_board("machine", (x, 0, 0), "out")
        server.notify()
        await watcher.until(lambda p: p.machines["machine"].counts().get("out") == 4)
        facility.set_board("machine", (0, 1, 0), "out")
        server.notify()
        await watcher.until(lambda p: p.machines["machine"].counts().get("out") == 5)

    numbers = [event.number for event in seen]
    assert numbers == [event["number"] for event in facility.events]


async def test_200_random_states_are_seen_as_they_are() -> None:
    chance = random.Random(4)
    facility = busy(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        for _ in range(20):
            shuffle(facility, chance)
            wanted = sorted(facility.machines["machine"].rows())
            server.notify()
            await watcher.until(lambda p, wanted=wanted: boards_of(p) == wanted)  # type: ignore[misc]


async def test_a_server_that_is_away_leaves_the_last_picture_and_comes_back() -> None:
    facility = busy(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        before = boards_of(watcher.follower.picture)
        port = server.port
        await server.stop()
        picture = await watcher.until(lambda p: p.status.away_since is not None)
        assert boards_of(picture) == before
        assert picture.status.trouble
        assert watcher.follower.questions is None

        facility.set_board("machine", (0, 0, 0), "out")
        await server.start(port)
        picture = await watcher.until(lambda p: p.status.away_since is None)
        assert picture.machines["machine"].board(0, 0, 0)[3] == "out"  # type: ignore[index]


async def test_machines_come_and_go() -> None:
    facility = empty(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        facility.machines["second"] = FakeMachine("second", 1, 1, ["desk"])
        facility.notes.append({"machines_changed": ["second"]})
        server.notify()
        picture = await watcher.until(lambda p: "second" in p.machines)
        assert picture.machines["second"].tags == ("desk",)

        del facility.machines["machine"]
        facility.notes.append({"machines_changed": ["machine"]})
        server.notify()
        await watcher.until(lambda p: list(p.machines) == ["second"])

        facility.machines["second"] = FakeMachine("second", 2, 1)
        facility.notes.append({"machines_changed": ["second"]})
        server.notify()
        await watcher.until(lambda p: len(p.machines["second"].boards) == 6)


async def test_an_older_server_is_asked_for_nothing_that_it_does_not_know() -> None:
    facility = busy(4, 2)
    async with FakeServer(facility, "1.0.0") as server, following(server) as watcher:
        picture = watcher.follower.picture

        assert set(server.asked) <= set(server.commands)
        assert "list_boards" in picture.status.missing
        machine = picture.machines["machine"]
        assert not machine.exact
        states = {row.state for row in machine.boards}
        assert states <= {"dead", "used", "free"}
        used = {tuple(b) for job in facility.jobs.values() for b in job["boards"] or ()}
        assert {row[:3] for row in machine.boards if row.state == "used"} == used
        queued = [j for j, job in facility.jobs.items() if job["state"] == 1]
        assert [waiting.job_id for waiting in picture.queue] == queued


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("list_machines", {"return": 5}),
        ("list_boards", {"return": {"boards": [[1, 2]]}}),
        ("list_jobs", {"return": [{"job_id": "x"}]}),
        ("list_queue", {"exception": "not today"}),
        ("get_facility", {"return": []}),
    ],
)
async def test_an_answer_of_the_wrong_shape_is_said_and_tried_again(
    command: str, answer: Any
) -> None:
    facility = empty(1, 1)
    async with FakeServer(facility) as server, following(server) as watcher:
        port = server.port
        await server.stop()
        server.answers[command] = answer
        await server.start(port)
        words = "not today" if "exception" in answer else command
        await watcher.until(lambda p: words in (p.status.trouble or ""))

        del server.answers[command]
        await watcher.until(lambda p: p.status.away_since is None)


async def test_marks_stay_with_their_jobs() -> None:
    facility = empty(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        first, second, third = (facility.create("ada", [1]) for _ in range(3))
        facility.allocate(first, "machine", [(0, 0, 0)])
        facility.allocate(second, "machine", [(1, 0, 0)])
        server.notify()
        picture = await watcher.until(lambda p: p.jobs.get(second) is not None and
                                      p.jobs[second].mark is not None)
        assert (picture.jobs[first].mark, picture.jobs[second].mark) == (0, 1)

        facility.end(first)
        facility.allocate(third, "machine", [(2, 0, 0)])
        server.notify()
        picture = await watcher.until(lambda p: third in p.jobs and p.jobs[third].mark is not None)
        assert (picture.jobs[second].mark, picture.jobs[third].mark) == (1, 0)


def test_an_event_without_number_or_kind_is_none() -> None:
    assert read_event({"number": 1}) is None
    assert read_event([1]) is None
    told = {"number": 1, "event": "ready"}
    assert read_event(told) == EventReply(1, "ready", told)


def test_a_facility_is_busy_in_the_same_way_each_time() -> None:
    first, second = busy(20, 20), busy(20, 20)

    assert isinstance(first, Facility)
    assert first.machines["machine"].rows() == second.machines["machine"].rows()


async def test_a_server_on_a_unix_socket_is_followed_and_its_path_is_not_shown(
    tmp_path: Path,
) -> None:
    path = tmp_path / "clients"
    async with FakeServer(busy(4, 2)) as server:
        listening = await asyncio.start_unix_server(server._serve, path)
        follower = Follower(f"unix:{path}", 0)
        task = asyncio.create_task(follower.run())
        await asyncio.wait_for(follower.first_picture(), 30)

        assert follower.picture.status.server == "the local socket"
        assert follower.picture.jobs
        task.cancel()
        await asyncio.wait([task])
        listening.close()
