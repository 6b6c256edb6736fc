"""Following a server's events."""

import os
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import update

from spalloc_server._history.database import Database, HistoryError
from spalloc_server._history.follower import Follower, NoEvents
from spalloc_server._history.history import History
from spalloc_server._history.protocol import ProtocolError
from spalloc_server._history.recorder import Recorder
from spalloc_server._history.tables import cursor
from spalloc_server._history.unheard import UNHEARD
from tests.history.event_server import EventServer
from tests.history.story import STATE, Story

LIVE = {
    "job_id": 5,
    "owner": "eve",
    "start_time": 1000.0,
    "keepalive": None,
    "state": 3,
    "power": True,
    "args": [1, 1],
    "kwargs": {},
    "allocated_machine_name": "m",
    "boards": [[0, 0, 0], [0, 0, 1]],
    "keepalivehost": "10.0.0.5",
}


@pytest.fixture
def server() -> Iterator[EventServer]:
    with EventServer() as server:
        yield server


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(str(tmp_path / "history.db"))) as database:
        yield database


def history(database: Database) -> History:
    return History(str(database.url.database))


@contextmanager
def following(follower: Follower, readable: int, writable: int) -> Iterator[None]:
    """Follow in a thread until the end."""
    stopped = threading.Event()
    thread = threading.Thread(target=follower.follow, args=(stopped.is_set,))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        os.write(writable, b".")
        thread.join()
        os.close(readable)
        os.close(writable)


def test_all_events_are_read_in_several_answers(server: EventServer, database: Database) -> None:
    story = Story()
    story.machine()
    for number in range(1, 8):
        story.life(number, 1.0, 2.0)
    server.events, server.most = story.events, 10

    read = Follower(database, server.address).catch_up()

    assert read == story.events[-1]["number"]
    with closing(history(database)) as told:
        assert [row.job for row in told.jobs().rows] == [7, 6, 5, 4, 3, 2, 1]
        assert told.status().after == read
        assert told.status().server == f"127.0.0.1:{server.address[1]}"


def test_reading_goes_on_with_the_next_event(server: EventServer, database: Database) -> None:
    story = Story()
    story.life(1, 1.0, 2.0)
    server.events = list(story.events)
    read = Follower(database, server.address).catch_up()
    story.life(2, 1.0, 2.0)
    server.events = story.events

    Follower(database, server.address).catch_up()

    assert ("list_events", [read, 1000]) in server.asked
    with closing(history(database)) as told:
        assert [row.job for row in told.jobs().rows] == [2, 1]
        assert told.usage(story.now - 10, story.now).total.jobs == 2


def test_what_was_read_and_how_far_are_written_together(
    server: EventServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = Story()
    for number in range(1, 4):
        story.life(number, 1.0, 2.0)
    server.events, server.most = story.events, 4
    finish, finished = Recorder.finish, []

    def fail_later(recorder: Recorder) -> None:
        finish(recorder)
        finished.append(1)
        if len(finished) == 2:
            raise OSError("the process dies here")

    monkeypatch.setattr(Recorder, "finish", fail_later)
    with pytest.raises(OSError, match="dies here"):
        Follower(database, server.address).catch_up()
    with closing(history(database)) as told:
        jobs, after = [row.job for row in told.jobs().rows], told.status().after

    Follower(database, server.address).catch_up()

    assert (jobs, after) == ([1], story.events[3]["number"])
    with closing(history(database)) as told:
        assert [row.job for row in told.jobs().rows] == [3, 2, 1]
        usage = told.usage(story.now - 100, story.now)
    assert usage.total.jobs == 3
    assert usage.total.board_hours == pytest.approx(3 * 2.0 / 3600)


def test_two_followers_do_not_disturb_each_other_silently(
    server: EventServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    follower = Follower(database, server.address)
    follower.catch_up()
    server.events = [Story().tell("message", text="hello")]
    list_events = server._list_events

    def answer(after: int, limit: int) -> object:
        with database.writing() as connection:
            connection.execute(update(cursor).values(after=999))
        return list_events(after, limit)

    monkeypatch.setattr(server, "_list_events", answer)

    with pytest.raises(HistoryError, match="another process"):
        follower.catch_up()


def test_jobs_from_before_the_first_event_are_filled_in(
    server: EventServer, database: Database
) -> None:
    story = Story()
    story.tell("started", last=None, cold=False, version="1.1.0")
    server.events, server.jobs = story.events, [LIVE]

    Follower(database, server.address).catch_up()

    with closing(history(database)) as told:
        found = told.job(5)
    assert found is not None
    assert (found.job.owner, found.job.host, found.job.created) == ("eve", "10.0.0.5", 1000.0)
    assert (found.job.state, found.job.place, found.job.boards) == (STATE, [0, 0, 1, 1], 2)
    assert found.places[0].without == [[0, 0, 2]]


def test_after_a_loss_the_jobs_are_brought_in_line(
    server: EventServer, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story()
    for number in (1, 2, 3, 5):
        story.created(number)
    story.allocated(5, 1.0)
    server.events = list(story.events)
    server.jobs = [{**LIVE, "job_id": number, "boards": None} for number in (1, 2, 3, 5)]
    Follower(database, server.address).catch_up()
    story.tell("message", 60.0, text="all that was kept")
    server.events = story.events[-1:]
    server.lost_before = story.events[-2]["number"] + 100
    story.events[-1]["number"] = server.lost_before + 1
    server.jobs = [{**LIVE, "job_id": 3}]
    about = {"owner": "ada", "host": "h", "machine": "m", "place": [0, 1, 0], "boards": 1}
    about |= {"reason": "gone", "by": "client", "by_host": "10.0.0.9"}
    times = {"created": 1.0, "allocated": story.now - 9, "ready": None, "ended": story.now - 3}
    server.ended = [
        {**about, **times, "job_id": 4},
        {**about, **times, "job_id": 1},
        {**about, **times, "job_id": 5, "allocated": 1.0},
        {**about, "job_id": 9, "created": None, "ended": None},
    ]

    Follower(database, server.address).catch_up()

    with closing(history(database)) as told:
        first, second, third, unheard = (told.job(number) for number in (1, 2, 3, 4))
        assert told.job(9) is None
        assert told.status().lost == 1
    assert first is not None
    assert second is not None
    assert third is not None
    assert unheard is not None
    assert (unheard.job.created, unheard.job.ended) == (1.0, story.now - 3)
    assert (first.job.reason, first.job.ended_by_host) == ("gone", "10.0.0.9")
    assert first.job.created == story.now - 61
    assert (first.job.place, first.job.ended) == ([0, 1, 0], story.now - 3)
    assert (second.job.reason, second.job.ended is None) == (UNHEARD, False)
    assert (third.job.ended, third.job.boards) == (None, 2)
    assert "were lost before they were read" in caplog.text


def test_a_server_without_events_is_said(server: EventServer, database: Database) -> None:
    server.version = "1.0.0"
    with pytest.raises(NoEvents, match=r"version 1\.0\.0"):
        Follower(database, server.address).catch_up()
    server.version = "1.1.0"
    server.commands = []
    with pytest.raises(NoEvents, match="does not let us"):
        Follower(database, server.address).catch_up()
    server.version = "new"
    with pytest.raises(NoEvents, match="version new"):
        Follower(database, server.address).catch_up()


def test_hints_are_followed(server: EventServer, database: Database) -> None:
    readable, writable = os.pipe()
    follower = Follower(database, server.address, wake=[readable], idle=3600.0)

    with following(follower, readable, writable):
        server.wait_for("list_events", 1)
        story = Story()
        story.life(1, 1.0, 2.0)
        server.events = story.events
        server.say({"events_until": story.events[-1]["number"]})
        server.wait_for("list_events", 3)

    with closing(history(database)) as told:
        assert [row.job for row in told.jobs().rows] == [1]


def test_a_lost_connection_is_made_again(
    server: EventServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server._history.follower.AGAIN", (0.01, 0.02))
    readable, writable = os.pipe()
    said: list[str] = []
    follower = Follower(database, server.address, wake=[readable], on_turn=said.append)

    with following(follower, readable, writable):
        server.wait_for("list_events", 1)
        server.drop()
        server.wait_for("version", 2)
        server.wait_for("list_events", 2)

    assert server.connections == 2
    assert any(words.startswith("no events: ") for words in said)


def test_the_days_of_names_are_remembered(server: EventServer, database: Database) -> None:
    server.keep_names_days = 30
    follower = Follower(database, server.address)
    before = follower.keep_names_days
    follower.catch_up()

    assert before is None
    assert Follower(database, server.address).keep_names_days == 30


def test_a_refusal_is_told(
    server: EventServer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_notify_events", lambda: {"exception": "not you"})

    with pytest.raises(ProtocolError, match="notify_events: not you"):
        Follower(database, server.address).catch_up()
