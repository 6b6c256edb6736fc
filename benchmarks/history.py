"""Rows about the history: questions to a database of 1,000,000 jobs, and how fast events go in.

SQLite works in the thread that asks.  Its processor time is measured, which other processes
disturb little; the file has been read before, so that the disk is not measured.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench
from benchmarks.processes import OURS
from benchmarks.results import Work
from spalloc_server._history.database import Database
from spalloc_server._history.history import History, JobFilter
from spalloc_server._history.names import Names
from spalloc_server._history.recorder import Recorder
from spalloc_server._history.rollups import ALL, DAY, Rollups, Subject
from spalloc_server._history.tables import faults, jobs, places
from spalloc_server._history.tables import rollups as sums

_JOBS, _QUICK_JOBS = 1_000_000, 100_000
#: Three years, 300 owners of 40 networks, four machines.
_DAYS, _OWNERS, _NETWORKS, _MACHINES, _SIDE = 1096, 300, 40, 4, 40
_FAULTS = 20_000
_END = 1_772_323_200.0
_SEED = 1
_AT_A_TIME = 20_000

Question = Callable[[History], object]

_MONTH = (_END - 30 * DAY, _END)
_YEAR = (_END - 365 * DAY, _END)
_ALL = (_END - _DAYS * DAY, _END)

#: Lists and sums: name, title, question.
_QUICK: tuple[tuple[str, str, Question], ...] = (
    ("list", "newest jobs", lambda h: h.jobs()),
    ("deep", "a page in the middle", lambda h: h.jobs(after=f"{_END - 500 * DAY}/1")),
    ("owner", "jobs of an owner", lambda h: h.jobs(JobFilter(owner="user 7"))),
    ("machine", "jobs of a machine", lambda h: h.jobs(JobFilter(machine="m2"))),
    ("time", "jobs of a day", lambda h: h.jobs(JobFilter(since=_MONTH[0], until=_MONTH[0] + DAY))),
    ("job", "a job", lambda h: h.job(500)),
    ("usage-month", "usage by owner, a month", lambda h: h.usage(*_MONTH)),
    ("usage-all", "usage by owner, three years", lambda h: h.usage(*_ALL)),
    ("usage-network", "usage by network, three years", lambda h: h.usage(*_ALL, by="network")),
    ("usage-day", "usage by day, three years", lambda h: h.usage(*_ALL, by="day")),
    ("series", "an owner's days, a year", lambda h: h.series(*_YEAR, owner="user 7")),
    ("waits", "waits of a machine, three years", lambda h: h.waits(*_ALL, machine="m1")),
    ("frames", "faults by frame, three years", lambda h: h.faults_by_frame(None, *_ALL)),
    ("faults", "faults of a board", lambda h: h.faults("m1", (3, 4, 1))),
    ("status", "status", lambda h: h.status()),
)
#: Questions that may have to go through all jobs.
_SLOW: tuple[tuple[str, str, Question], ...] = (
    ("reason", "a reason that is nowhere", lambda h: h.jobs(JobFilter(reason="snow"))),
    ("board", "jobs of a board", lambda h: h.board_jobs("m1", (3, 4, 1))),
    ("host", "jobs of a host", lambda h: h.jobs(JobFilter(host="10.0.3.9"))),
    ("by", "ended by an unknown party", lambda h: h.jobs(JobFilter(by="snow"))),
    ("open", "jobs that have not ended", lambda h: h.jobs(JobFilter(ended=False))),
)

_EVENTS = Work("history@events", "events written a second", "/s", more=True)
WORKS = [
    *(Work(f"history@{name}", title, "ms", limit=50.0) for name, title, _ in _QUICK),
    *(Work(f"history@{name}", title, "ms", limit=1000.0) for name, title, _ in _SLOW),
    _EVENTS,
]


def run(bench: Bench) -> None:
    """Measure the chosen rows."""
    chosen = {work.name: work for work in bench.select(WORKS)}
    questions = {f"history@{name}": question for name, _, question in (*_QUICK, *_SLOW)}
    asked = [name for name in questions if name in chosen]
    if asked:
        path = bench.folder / "history.db"
        number = _QUICK_JOBS if bench.quick else _JOBS
        bench.say(f"a history of {number:,} jobs ...")
        build(path, number)
        with closing(History(str(path), seconds=60.0)) as history:
            for name in asked:
                _measure(bench, chosen[name], history, questions[name])
        bench.result(chosen[asked[0]]).note = f"{number:,} jobs, {path.stat().st_size >> 20} MiB"
        path.unlink()
    if _EVENTS.name in chosen:
        _write_events(bench)


def _measure(bench: Bench, work: Work, history: History, question: Question) -> None:
    question(history)
    for _ in range(bench.rounds):
        began = time.thread_time()
        question(history)
        bench.result(work).samples[OURS].append((time.thread_time() - began) * 1e3)


def _write_events(bench: Bench) -> None:
    number = 500
    with closing(Database(str(bench.folder / "events.db"))) as database:
        for each in range(bench.rounds):
            events = [
                event for job in range(number) for event in _events(each * number + job, each)
            ]
            began = time.thread_time()
            with database.writing() as connection:
                recorder = Recorder(connection)
                for event in events:
                    recorder.record(event)
                recorder.finish()
            spent = time.thread_time() - began
            bench.result(_EVENTS).samples[OURS].append(len(events) / spent)


def _events(job: int, day: int) -> Iterator[dict[str, Any]]:
    base = {"state": 1, "job": job}
    when = _END + day * DAY + job
    about = {"owner": f"user {job % 50}", "host": "10.0.0.1", "args": []}
    yield {**base, "event": "created", "time": when, **about}
    place = {"machine": "m", "place": [job % 40, 0, 0], "boards": 1}
    yield {**base, "event": "allocated", "time": when + 5, **place}
    yield {**base, "event": "power", "time": when + 5, "on": True}
    yield {**base, "event": "ready", "time": when + 11}
    yield {**base, "event": "ended", "time": when + 99, "reason": "done", "by": "client"}
    yield {**base, "event": "freed", "time": when + 104, **place}


# --- a made-up history ---


def build(path: Path, number: int) -> None:
    """Make a database of so many jobs, over three years."""
    numbers = random.Random(_SEED)
    with closing(Database(str(path))) as database:
        with database.writing() as connection:
            recorder = Recorder(connection)
            for machine in range(_MACHINES):
                size = {"width": _SIDE, "height": _SIDE, "live": _SIDE * _SIDE * 3}
                recorder.record(
                    {
                        "event": "machine changed",
                        "machine": f"m{machine}",
                        "change": "added",
                        "time": _ALL[0],
                        **size,
                    }
                )
            ids = Names(connection)
            owners = [ids.owner(f"user {n}") for n in range(_OWNERS)]
            hosts = [ids.host(f"10.0.{n}.{m}") for n in range(_NETWORKS) for m in range(1, 20)]
            networks = [ids.network(f"10.0.{n}.1") for n in range(_NETWORKS)]
            machines = [ids.machine(f"m{n}") for n in range(_MACHINES)]
        rollups = Rollups()
        rows: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for job in range(1, number + 1):
            created = _ALL[0] + _DAYS * DAY * job / number
            network = numbers.randrange(_NETWORKS)
            of = (
                owners[int(_OWNERS * numbers.random() ** 2)],
                networks[network],
                machines[numbers.randrange(_MACHINES)],
            )
            host = hosts[network * 19 + numbers.randrange(19)]
            rows.append(_job(numbers, job, created, of, host, rollups))
            if len(rows) == _AT_A_TIME or job == number:
                with database.writing() as connection:
                    connection.execute(jobs.insert(), [job for job, _ in rows])
                    connection.execute(places.insert(), [place for _, place in rows])
                rows.clear()
        with database.writing() as connection:
            # All are new; adding them to old ones would take minutes.
            connection.execute(sums.insert(), list(rollups.rows()))
            connection.execute(
                faults.insert(), [_fault(numbers, machines) for _ in range(_FAULTS)]
            )


def _job(  # noqa: PLR0917 - all that a job is drawn from
    numbers: random.Random,
    job: int,
    created: float,
    of: tuple[Any, ...],
    host: int | None,
    rollups: Rollups,
) -> tuple[dict[str, Any], dict[str, Any]]:
    owner, network, machine = of
    wait, life = numbers.expovariate(1 / 300), numbers.expovariate(1 / 1800)
    w, h = numbers.randint(1, 8), numbers.randint(1, 8)
    x, y = numbers.randrange(_SIDE - w), numbers.randrange(_SIDE - h)
    began, left = created + wait, created + wait + life
    people: list[Subject] = [ALL, ("owner", owner), ("network", network)]
    everything: list[Subject] = [*people, ("machine", machine)]
    rollups.count_job(everything, created)
    rollups.count_wait(everything, began, wait)
    rollups.count_use(everything, w * h * 3, began, left)
    row = {
        "id": job,
        "state": 1,
        "job": job,
        "owner_id": owner,
        "host_id": host,
        "network_id": network,
        "created": created,
        "allocated": began,
        "ready": began + 6,
        "ended": left,
        "args": f"[{w}, {h}]",
        "kwargs": "{}",
        "asked": w * h * 3,
        "keepalive": 60.0,
        "place_id": job,
        "machine_id": machine,
        "moves": 0,
        "reason": "Destroyed by user." if numbers.random() < 0.7 else "Job timed out.",
        "ended_by": "client",
        "imported": False,
    }
    place = {
        "id": job,
        "job_id": job,
        "machine_id": machine,
        **{"x": x, "y": y, "w": w, "h": h},
        "boards": w * h * 3,
        "waited_since": created,
        "began": began,
        "left": left,
        "off": left + 5,
    }
    return row, place


def _fault(numbers: random.Random, machines: list[int]) -> dict[str, Any]:
    since = numbers.uniform(*_ALL)
    x, y = numbers.randrange(_SIDE), numbers.randrange(_SIDE)
    return {
        "machine_id": numbers.choice(machines),
        **{"x": x, "y": y, "z": numbers.randrange(3)},
        **{"cabinet": x // 8, "frame": y // 8, "board": numbers.randrange(24)},
        "kind": "power_on",
        "text": "power on refused",
        "sure": True,
        "since": since,
        "back": since + numbers.expovariate(1 / 3600),
        "how": "test passed",
    }
