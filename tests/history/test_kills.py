"""A follower that is killed again and again misses nothing and writes nothing twice.

``CRASH_KILLS`` and ``CRASH_SEED`` set the number of kills and the seed, as in the server's tests.
"""

import os
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from spalloc_server._history.database import Database
from spalloc_server._history.follower import Follower
from spalloc_server._history.history import History
from tests.history.event_server import EventServer
from tests.history.story import DAY, MARCH, Story

_KILLS = int(os.environ.get("CRASH_KILLS", "50")) // 5
_SEED = os.environ.get("CRASH_SEED", "20261121")

#: Reads events, and kills itself when it is about to run so many more statements.
KILLED = """
import os, signal, sys
from sqlalchemy import event
from spalloc_server._history.database import Database
from spalloc_server._history.follower import Follower

left = int(sys.argv[3])
database = Database(sys.argv[1])

@event.listens_for(database.engine, "before_cursor_execute")
@event.listens_for(database.engine, "commit")
def count(*_):
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)

Follower(database, ("127.0.0.1", int(sys.argv[2]))).catch_up()
"""


def a_busy_month() -> Story:
    story = Story()
    story.machine()
    for job in range(1, 200):
        story.life(job, 5.0, 3600.0, (job % 4, 0, 0), owner=f"user {job % 7}")
        if job % 9 == 0:
            about: dict[str, Any] = {"machine": "m", "board": [job % 4, 0, 0]}
            story.tell("board out", **about, kind="fpga", text="no answer")
            story.tell("board back", 60.0, **about, how="test passed")
    return story


def told(where: Path) -> object:
    """All that the history tells, but for keys and when it was asked."""
    span = (MARCH, MARCH + 30 * DAY)
    with closing(History(str(where), seconds=60.0)) as history:
        return (
            [row[1:] for row in history.jobs(limit=1000).rows],
            [history.usage(*span, by=by) for by in ("owner", "machine", "network", "day")],
            history.waits(*span),
            [row[1:] for row in history.faults()],
            history.status().after,
        )


def test_a_follower_that_is_killed_misses_nothing(tmp_path: Path) -> None:
    numbers = random.Random(_SEED)
    often, once = tmp_path / "often.db", tmp_path / "once.db"
    with EventServer() as server:
        server.events, server.most = a_busy_month().events, 50
        kills = 0
        for _ in range(_KILLS):
            after = str(numbers.randint(5, 400))
            command = [sys.executable, "-c", KILLED, str(often), str(server.address[1]), after]
            status = subprocess.run(command, check=False).returncode
            assert status in {0, -signal.SIGKILL}
            kills += status != 0
        for where in (often, once):
            with closing(Database(str(where))) as database:
                Follower(database, server.address).catch_up()

    assert kills > _KILLS // 3
    assert told(often) == told(once)
