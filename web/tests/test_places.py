"""Where boards are, and jobs that ended: asked once, and anew after changes."""

from __future__ import annotations

from typing import Any

import pytest
from spalloc_web._facility.ended_jobs import EndedJobReply, read_ended_jobs
from spalloc_web._facility.places import AwayError, Place, Places
from spalloc_web._facility.replies import UnreadableReplyError

from tests.conftest import following
from tests.support.facility import empty
from tests.support.fake_server import FakeServer


async def test_places_are_asked_once_and_anew_when_a_machine_changes() -> None:
    facility = empty(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        places = Places(watcher.follower)
        machine = watcher.follower.picture.machines["machine"]
        for _ in range(3):
            found = await places.of(machine)
        assert found[1, 1, 2] == Place(0, 0, 17, "192.168.0.18")
        assert server.asked.count("list_places") == 1

        facility.event("machine changed", machine="machine", change="changed")
        facility.set_board("machine", (0, 0, 0), "out")
        server.notify()
        picture = await watcher.until(
            lambda p: p.machines["machine"].counts().get("out") == 1
        )
        await places.of(picture.machines["machine"])
        assert server.asked.count("list_places") == 2


async def test_places_are_asked_anew_when_the_server_comes_back() -> None:
    facility = empty(4, 2)
    async with FakeServer(facility) as server, following(server) as watcher:
        places = Places(watcher.follower)
        machine = watcher.follower.picture.machines["machine"]
        before = await places.of(machine)
        port = server.port
        await server.stop()
        await watcher.until(lambda p: p.status.away_since is not None)
        assert await places.of(machine) == before

        await server.start(port)
        await watcher.until(lambda p: p.status.away_since is None)
        await places.of(machine)
        assert server.asked.count("list_places") == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [({"exception": "no"}, "no"), ({"return": [[1, 2]]}, "list_places"), ({"return": 5}, "list")],
)
async def test_places_that_are_not_told_are_said(answer: Any, words: str) -> None:
    async with FakeServer(empty(1, 1)) as server, following(server) as watcher:
        server.answers["list_places"] = answer
        places = Places(watcher.follower)

        with pytest.raises(AwayError, match=words):
            await places.of(watcher.follower.picture.machines["machine"])


async def test_an_older_server_is_asked_board_by_board() -> None:
    async with FakeServer(empty(20, 20), "1.0.0") as server, following(server) as watcher:
        found = await Places(watcher.follower).of(watcher.follower.picture.machines["machine"])

        assert len(found) == 1200
        assert found[19, 19, 2].address is None
        server.answers["get_board_position"] = {"return": None}
        assert await Places(watcher.follower).of(
            watcher.follower.picture.machines["machine"]
        ) == {}


def test_ended_jobs_are_read_in_each_form() -> None:
    wanted = [EndedJobReply(7, "ada", None, 1.0)]

    assert read_ended_jobs([[7, "ada", None, 1]]) == wanted
    assert read_ended_jobs([{"job_id": 7, "owner": "ada", "created": 1.0}]) == wanted
    assert read_ended_jobs({"jobs": [{"job_id": 7, "owner": "ada", "created": 1.0}]}) == wanted
    for nonsense in (None, 5, {"a": 1}, [5], [["x"]]):
        with pytest.raises(UnreadableReplyError, match="list_ended_jobs"):
            read_ended_jobs(nonsense)
