"""A follower of the real server, on simulated frames."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._history.database import Database
from spalloc_server._history.follower import Follower
from spalloc_server._history.history import History
from tests.support.simulated_server import Client, copy_of_example, simulated_server

READY, DESTROYED = 3, 4


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return copy_of_example("frame-24-boards.cfg", tmp_path)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database(str(tmp_path / "history" / "history.db"))) as database:
        yield database


def history(database: Database) -> History:
    return History(str(database.url.database), seconds=60.0)


def use(client: Client, *args: int, owner: str = "ada") -> int:
    """Have boards until they are ready, then give them back."""
    job: int = client.call("create_job", *args, owner=owner)
    client.wait_until(job, READY)
    client.call("destroy_job", job, "done")
    return job


def test_the_history_is_what_the_server_says(config: Path, database: Database) -> None:
    with simulated_server(config) as server, Client(server.port) as client:
        use(client)
        use(client, 2, 1)
        refused = client.call("create_job", 99, 99, owner="ben")
        waiting = client.call("create_job", 1, 1, owner="eve")
        client.wait_until(waiting, READY)
        Follower(database, ("127.0.0.1", server.port)).catch_up()
        ended = client.call("list_ended_jobs", 10)
        machines = client.call("list_machines")

    with closing(history(database)) as told:
        rows = told.jobs().rows
        assert [row.job for row in rows] == [waiting, refused, 2, 1]
        assert [row.ended is None for row in rows] == [True, False, False, False]
        for job in ended:
            row = next(row for row in rows if row.job == job["job_id"])
            for name in ("owner", "host", "created", "allocated", "ready", "ended"):
                assert getattr(row, name) == job[name], name
            assert (row.machine, row.place, row.boards) == (
                *(job["machine"], job["place"], job["boards"]),
            )
            assert (row.reason, row.ended_by, row.ended_by_host) == (
                *(job["reason"], job["by"], job["by_host"]),
            )
        assert told.machines() == [machine["name"] for machine in machines]
        assert told.usage(by="machine").rows[0].utilisation is not None


def test_a_follower_that_comes_and_goes_misses_nothing(config: Path, database: Database) -> None:
    made: list[int] = []
    for _ in range(3):  # three lives of the server
        with simulated_server(config) as server, Client(server.port) as client:
            for _ in range(3):
                made.append(use(client))
                Follower(database, ("127.0.0.1", server.port)).catch_up()
            made.append(use(client))

    with simulated_server(config) as server:
        Follower(database, ("127.0.0.1", server.port)).catch_up()

    with closing(history(database)) as told:
        rows = told.jobs().rows
        assert [row.job for row in rows] == made[::-1]
        assert {row.reason for row in rows} == {"done"}
        assert len({row.state for row in rows}) == 1
        assert told.usage().total.jobs == len(made)
        assert told.status().lost == 0


def test_a_cold_start_begins_another_state(config: Path, database: Database) -> None:
    with simulated_server(config) as server, Client(server.port) as client:
        left = client.call("create_job", owner="ada")
        Follower(database, ("127.0.0.1", server.port)).catch_up()
    with simulated_server(config, cold_start=True) as server, Client(server.port) as client:
        again = use(client)
        Follower(database, ("127.0.0.1", server.port)).catch_up()

    with closing(history(database)) as told:
        newest, oldest = told.jobs().rows
        assert [newest.job, oldest.job] == [again, left]
        assert (newest.ended_by, oldest.ended_by) == ("client", "server")
        assert newest.state > oldest.state


def test_news_arrive_by_themselves(config: Path, database: Database) -> None:
    readable, writable = os.pipe()
    news = threading.Semaphore(0)
    stopped = threading.Event()

    def turn(_status: str) -> None:
        news.release()

    with simulated_server(config) as server, Client(server.port) as client:
        follower = Follower(
            database, ("127.0.0.1", server.port), wake=[readable], on_turn=turn, idle=3600.0
        )
        thread = threading.Thread(target=follower.follow, args=(stopped.is_set,))
        thread.start()
        try:
            job = use(client)
            wait_for(news, lambda: ended(database, job))
        finally:
            stopped.set()
            os.write(writable, b".")
            thread.join()
    os.close(readable)
    os.close(writable)

    with closing(history(database)) as told:
        assert [row.job for row in told.jobs().rows] == [job]


def ended(database: Database, job: int) -> bool:
    with closing(history(database)) as told:
        found: Any = told.job(job)
        return found is not None and found.job.ended is not None


def wait_for(news: threading.Semaphore, done: Callable[[], bool]) -> None:
    """Look after each turn of the follower."""
    while not done():
        assert news.acquire(timeout=30.0), "nothing came"


def test_names_are_kept_for_as_long_as_the_configuration_says(
    config: Path, database: Database
) -> None:
    config.write_text(config.read_text() + "\nkeep_names_days = 30\n")
    with simulated_server(config) as server:
        follower = Follower(database, ("127.0.0.1", server.port))
        follower.catch_up()
        first = follower.keep_names_days
        config.write_text(config.read_text().replace("= 30", "= None"))
        server.read_config_file()
        follower.catch_up()

    assert (first, follower.keep_names_days) == (30, None)
