"""Rows about frames: starting, memory, and real-time hardware."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.bench import Bench
from benchmarks.load import Wire
from benchmarks.processes import OURS, Contestant, Frames, Serving, Trouble
from benchmarks.results import Result, Work
from benchmarks.sites import Site

ONE_FRAME = Work("frame", "24 one-board jobs on one frame, last ready", "s", limit=6.6)
APART = Work("frame-apart", "the same, 0.4 s apart, longest until ready", "s", limit=6.6)
WHOLE = Work("whole", "a job over all 1,200 boards, ready", "s", limit=7.0)
START = Work("start", "start until serving, 50 frames", "s", limit=0.5)
MUTE = Work("start-mute", "start until serving, 10 of 50 frames mute", "s", limit=0.7)
MEMORY = Work("memory", "memory, 50 frames, no jobs", "MiB", 1 / 1.2)
WORKS = [START, MUTE, MEMORY, ONE_FRAME, APART, WHOLE]

_LONGEST = 300.0
_MUTE = 10
_SECONDS_APART = 0.4


def run(bench: Bench) -> None:
    """Measure the chosen rows."""
    works = bench.select([START, MEMORY])
    if works:
        bench.say("start and memory ...")
        for contestant in bench.turns():
            with bench.one(contestant, works) as (_, server):
                if server is not None:
                    _note_start(bench, works, server)
    if bench.select([MUTE]):
        bench.say("start with mute frames ...")
        _start_mute(bench)
    for work, side in ((ONE_FRAME, (4, 2)), (APART, (4, 2)), (WHOLE, bench.side)):
        if bench.select([work]):
            bench.say(f"{work.title}, in real time ...")
            for contestant in bench.turns(min(bench.rounds, 3 if work is WHOLE else 1)):
                _real_time(bench, work, contestant, Site.of(*side))


def _note_start(bench: Bench, works: list[Work], server: Serving) -> None:
    if START in works:
        bench.result(START).samples[server.name].append(server.start_seconds)
    if MEMORY in works:
        bench.result(MEMORY).samples[server.name].append(server.rss_mib())


def _start_mute(bench: Bench) -> None:
    site = Site.of(*bench.side)
    with Frames(bench.folder, site) as frames:
        for host in site.bmps[:_MUTE]:
            frames.tell(f"{host} mute")
        for contestant in bench.turns():
            with bench.race([MUTE], contestant) as able:
                if able:
                    with Serving(bench.folder, contestant, site) as server:
                        result = bench.result(MUTE)
                        result.samples[server.name].append(server.start_seconds)


def _real_time(bench: Bench, work: Work, contestant: Contestant, site: Site) -> None:
    """Create jobs that use all boards, and wait until all are ready."""
    jobs = [(site.width, site.height)] if work is WHOLE else [(1,)] * len(site.boards)
    with bench.race([work], contestant) as able:
        if not able:
            return
        with _hardware(bench, contestant, site) as (frames, server), Wire(server.port) as wire:
            frames.tell("forget")
            longest = _create_and_await(wire, jobs, _SECONDS_APART if work is APART else 0.0)
            result = bench.result(work)
            result.samples[contestant.name].append(longest)
            if contestant.name == OURS:
                _note_packets(result, frames)


@contextmanager
def _hardware(
    bench: Bench, contestant: Contestant, site: Site
) -> Iterator[tuple[Frames, Serving]]:
    with (
        Frames(bench.folder, site, real_time=True) as frames,
        Serving(bench.folder, contestant, site) as server,
    ):
        # Boards that may be on from before are being switched off.
        time.sleep(bench.settle)
        yield frames, server


def _create_and_await(wire: Wire, jobs: Sequence[tuple[int, ...]], apart: float) -> float:
    """Create jobs, some seconds apart; the longest time until one is ready since its creation."""
    began = time.perf_counter()
    created: dict[int, float] = {}
    longest = 0.0
    left = list(jobs)
    while left or created:
        now = time.perf_counter()
        if left and now >= began + apart * (len(jobs) - len(left)):
            created[wire.call("create_job", *left.pop(0), owner="me", keepalive=None)] = now
            continue
        for job_id in list(created):
            state = wire.call("get_job_state", job_id)
            if state["state"] == 4:
                raise Trouble(f"job destroyed: {state['reason']}")
            if state["state"] == 3:
                longest = max(longest, time.perf_counter() - created.pop(job_id))
        if now > began + _LONGEST:
            raise Trouble(f"not ready after {_LONGEST:g} s")
        time.sleep(0.01)
    return longest


def _note_packets(result: Result, frames: Frames) -> None:
    result.note = "packets of all frames: " + ", ".join(
        f"{count} {command}" for command, count in sorted(frames.packets().items())
    )
