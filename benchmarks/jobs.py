"""Rows about jobs on their way in, and about many who watch.

Each round has servers of its own, so that all begin with an empty machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from benchmarks.bench import Bench
from benchmarks.load import Wire, drain, rate, request, sequence
from benchmarks.processes import Serving
from benchmarks.results import Result, Work
from benchmarks.sites import Site

CREATE = Work("create", "create 380 three-board jobs, one client, each", "ms", 1.2)
QUEUE = Work("queue", "queue 600-board jobs, max_dead_boards=0, each", "ms", 10.0)
BESIDE = Work(
    "beside", "version, one client beside 1,000 idle subscribers", "/s", 5.0, more=True, bare=True
)
TELL = Work("tell", "tell 1,000 subscribers of a change", "ms", 1.5, bare=True)
WORKS = [CREATE, QUEUE, BESIDE, TELL]

_CREATED, _QUEUED, _TOLD = 380, 100, 20
#: Changes before those: two notifications each, more than are acknowledged at once.
_UNTIMED = 10
_NEXT = request("version")


def run(bench: Bench) -> None:
    """Measure the chosen rows."""
    for work, measure in ((CREATE, _create), (QUEUE, _queue)):
        if bench.select([work]):
            bench.say(f"{work.title} ...")
            _afresh(bench, work, measure)
    watching = bench.select([BESIDE, TELL])
    if watching:
        bench.say(f"with {bench.clients} subscribers ...")
        _watch(bench, watching)


def _afresh(bench: Bench, work: Work, measure: Callable[[Site, Serving, Result], None]) -> None:
    """Measure on servers that have just started, one after the other on the same frames.

    Both wait as long for hardware, so that neither is kept busy by it.
    """
    for contestant in bench.turns():
        with bench.one(contestant, [work]) as (site, server):
            if server is not None:
                measure(site, server, bench.result(work))


def _create(site: Site, server: Serving, result: Result) -> None:
    count = min(_CREATED, site.width * site.height * 19 // 20)
    lines = [request("create_job", 3, owner="me", keepalive=None)] * count
    _timed(server, lines, result)


def _queue(site: Site, server: Serving, result: Result) -> None:
    half = site.width * site.height * 3 // 2
    with Wire(server.port) as wire:
        wire.call("create_job", site.width, site.height, owner="me", keepalive=None)
    line = request("create_job", half, owner="me", keepalive=None, max_dead_boards=0)
    _timed(server, [line] * _QUEUED, result)


def _timed(server: Serving, lines: list[bytes], result: Result) -> None:
    with Wire(server.port) as wire:
        wire.call("version")
        before = server.cpu_seconds()
        taken = sequence(wire, lines)
        spent = server.cpu_seconds() - before
    result.samples[server.name].append(taken / len(lines) * 1e3)
    result.processor[server.name].append(spent / len(lines) * 1e6)


def _watch(bench: Bench, works: list[Work]) -> None:
    def prepare(server: Serving, site: Site) -> None:
        with Wire(server.port) as wire:
            wire.call("create_job", site.width, site.height, owner="me", keepalive=None)

    with bench.side_by_side(works, prepare) as (_, servers), ExitStack() as stack:
        idle: dict[str, list[Wire]] = {name: [] for name in servers}
        for contestant in bench.contestants:
            with bench.race(works, contestant) as able:
                for _ in range(bench.clients if able else 0):
                    wire = stack.enter_context(Wire(servers[contestant.name].port))
                    wire.call("notify_job")
                    idle[contestant.name].append(wire)
        for work, measure in ((BESIDE, _beside), (TELL, _tell)):
            for contestant in bench.turns() if work in works else ():
                with bench.race([work], contestant) as able:
                    if able:
                        name = contestant.name
                        measure(bench, servers[name], idle[name], bench.result(work))


def _beside(bench: Bench, server: Serving, _idle: list[Wire], result: Result) -> None:
    with Wire(server.port) as wire:
        before = server.cpu_seconds()
        done, taken = rate([wire], [request("version")], bench.seconds)
        spent = server.cpu_seconds() - before
    result.samples[server.name].append(done / taken)
    result.processor[server.name].append(spent / done * 1e6)


def _tell(_bench: Bench, server: Serving, idle: list[Wire], result: Result) -> None:
    """Queue jobs and destroy them; each is a change that all subscribers are told of.

    The clock stops when a command is answered that was sent after the change's reply: the
    server has told everybody by then.  They read it afterwards, so that it is not their
    reading that is measured.

    The first changes are not timed: after a pause Linux acknowledges 16 segments of a connection
    at once, and on the loopback that is done, for all who are told, within the server's sends.
    """
    with Wire(server.port) as wire:
        for _ in range(_UNTIMED):
            _change(wire, idle)
        before = server.cpu_seconds()
        taken = sum(_change(wire, idle) for _ in range(_TOLD))
        spent = server.cpu_seconds() - before
    result.samples[server.name].append(taken / _TOLD * 1e3)
    result.processor[server.name].append(spent / _TOLD / 2 * 1e6)


def _change(wire: Wire, idle: list[Wire]) -> float:
    """Create a job, and destroy it; returns how long all were told of its creation, seconds."""
    line = request("create_job", owner="me", keepalive=None)
    began = time.perf_counter()
    job_id = wire.reply(line)
    wire.reply(_NEXT)
    taken = time.perf_counter() - began
    drain(idle, 1)
    wire.call("destroy_job", job_id)
    drain(idle, 1)
    return taken
