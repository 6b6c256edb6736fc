"""Rows about commands: how many a second, with no, some and many jobs.

Both servers stand on the same frames with the same jobs; load goes to one, then the
other, in short rounds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from benchmarks.bench import Bench
from benchmarks.load import Wire, rate, request
from benchmarks.processes import Serving
from benchmarks.results import Work
from benchmarks.sites import Site

_CLIENTS = 16
_DEPTH = 16
#: Different requests of a kind. # arbitrary
_LINES = 240


class _Row(NamedTuple):
    work: Work
    lines: Callable[[Site, list[int]], Sequence[bytes]]
    clients: int = _CLIENTS
    depth: int = 1


def _version(_site: Site, _jobs: list[int]) -> list[bytes]:
    return [request("version")]


def _get_job_state(_site: Site, jobs: list[int]) -> list[bytes]:
    return [request("get_job_state", job) for job in jobs]


def _list_jobs(_site: Site, _jobs: list[int]) -> list[bytes]:
    return [request("list_jobs")]


def _where_is(site: Site, jobs: list[int]) -> list[bytes]:
    """Ask in turn by logical and physical place, by chip, and by a job's chip."""
    dice = random.Random(1)
    lines = []
    for _ in range(_LINES // 4):
        x, y, z = dice.choice(site.boards)
        cabinet, frame, board = site.place((x, y, z))
        chip_x, chip_y = dice.randrange(12 * site.width), dice.randrange(12 * site.height)
        lines += [
            request("where_is", machine="m", x=x, y=y, z=z),
            request("where_is", machine="m", cabinet=cabinet, frame=frame, board=board),
            request("where_is", machine="m", chip_x=chip_x, chip_y=chip_y),
            request("where_is", job_id=dice.choice(jobs or [1]), chip_x=3, chip_y=4),
        ]
    return lines


def _board_at(site: Site, _jobs: list[int]) -> list[bytes]:
    dice = random.Random(2)
    places = [site.place(dice.choice(site.boards)) for _ in range(_LINES)]
    return [request("get_board_at_position", "m", *place) for place in places]


def _rows(jobs: int) -> list[_Row]:
    """Return what is measured with so many jobs."""

    def work(name: str, title: str, ratio: float | None, *, bare: bool = False) -> Work:
        return Work(f"{name}@{jobs}", f"{title}, {jobs} jobs", "/s", ratio, more=True, bare=bare)

    rows = []
    if jobs != 380:
        rows = [
            _Row(work("version", "version, 16 clients", 1.5, bare=True), _version),
            _Row(
                work("version-piped", "version, 16 x 16 pipelined", 1.5, bare=True),
                _version,
                depth=_DEPTH,
            ),
            _Row(work("where_is", "where_is, 16 clients", 1.3), _where_is),
            _Row(work("board_at", "get_board_at_position, 16 clients", 2.0), _board_at),
            _Row(work("list_jobs", "list_jobs", 5.0 if jobs == 900 else None), _list_jobs, 1),
        ]
    if jobs:
        rows += [
            _Row(work("state", "get_job_state, 16 clients", 1.5), _get_job_state),
            _Row(
                work("state-piped", "get_job_state, 16 x 16 pipelined", 1.5),
                _get_job_state,
                depth=_DEPTH,
            ),
        ]
    return rows


#: Spec: no, some and many jobs; and 380, as the baseline was measured.
NUMBERS = (0, 100, 380, 900)
WORKS = [row.work for jobs in NUMBERS for row in _rows(jobs)]
MEMORY = Work("memory@900", "memory, 50 frames, 900 jobs", "MiB", 1 / 1.2)
WORKS.append(MEMORY)


def run(bench: Bench) -> None:
    """Measure the chosen rows."""
    for jobs in NUMBERS:
        rows = [row for row in _rows(jobs) if bench.chosen(row.work)]
        memory = bench.select([MEMORY] if jobs == 900 else [])
        works = [row.work for row in rows] + memory
        if works:
            bench.say(f"commands with {jobs} jobs ...")
            with bench.side_by_side(works, _with_jobs(jobs)) as (site, servers):
                for row in rows:
                    _race(bench, row, site, servers)
                for contestant in bench.contestants if memory else ():
                    with bench.race([MEMORY], contestant) as able:
                        if able:
                            rss = servers[contestant.name].rss_mib()
                            bench.result(MEMORY).samples[contestant.name].append(rss)


def _with_jobs(jobs: int) -> Callable[[Serving, Site], None]:
    def prepare(server: Serving, _site: Site) -> None:
        with Wire(server.port) as wire:
            for _ in range(jobs):
                wire.call("create_job", owner="somebody@example.org", keepalive=None)

    return prepare


def _race(bench: Bench, row: _Row, site: Site, servers: dict[str, Serving]) -> None:
    for contestant in bench.turns():
        with bench.race([row.work], contestant) as able:
            if able:
                _measure(bench, row, site, servers[contestant.name])


def _measure(bench: Bench, row: _Row, site: Site, server: Serving) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(server.port)) for _ in range(row.clients)]
        jobs = [job["job_id"] for job in wires[0].call("list_jobs")]
        lines = row.lines(site, jobs)
        rate(wires, lines, bench.seconds / 10, row.depth)
        before = server.cpu_seconds()
        done, taken = rate(wires, lines, bench.seconds, row.depth)
        spent = server.cpu_seconds() - before
    result = bench.result(row.work)
    result.samples[server.name].append(done / taken)
    result.processor[server.name].append(spent / done * 1e6)
