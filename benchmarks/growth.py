"""Rows about growth: the same work on machines 10 and 100 times as large, ours alone.

The model is called directly; the server is run as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.bench import Bench
from benchmarks.load import Wire
from benchmarks.processes import OURS, Frames, Serving
from benchmarks.results import Work
from benchmarks.sites import Site
from spalloc_server.job_queue import JobQueue

#: Width and height in triads: 1,200, 12,000 and 120,000 boards.
_MODELS = ((20, 20), (80, 50), (200, 200))
_SERVERS = _MODELS[:2]
#: What is asked for: one board, a triad, a frame, and a block with a check for dead boards.
_KINDS: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((), {}),
    ((3,), {}),
    ((24,), {}),
    ((4, 2), {"max_dead_boards": 0}),
)
_PAIRS = 200


def _boards(side: tuple[int, int]) -> int:
    return side[0] * side[1] * 3


def _model_work(side: tuple[int, int]) -> Work:
    return Work(
        f"model@{_boards(side)}", f"model: create and destroy, {_boards(side):,} boards", "ms"
    )


def _server_work(side: tuple[int, int]) -> Work:
    return Work(
        f"server@{_boards(side)}", f"server: create and destroy, {_boards(side):,} boards", "ms"
    )


WORKS = [*map(_model_work, _MODELS), *map(_server_work, _SERVERS)]


def run(bench: Bench) -> None:
    """Measure the chosen rows."""
    for side in _MODELS:
        for work in bench.select([_model_work(side)]):
            bench.say(f"{work.title} ...")
            result = bench.result(work)
            for _ in range(bench.rounds):
                result.samples[OURS].append(_model(side) * 1e3)
    for side in _SERVERS:
        for work in bench.select([_server_work(side)]):
            bench.say(f"{work.title} ...")
            _server(bench, work, side)


def _model(side: tuple[int, int]) -> float:
    """Return the seconds of a pair on a half-full machine."""
    queue = _queue()
    queue.add_machine("m", *side)
    job_id = 0
    for _ in range(side[0] * side[1] // 2):
        job_id += 1
        queue.create_job(3, job_id=job_id)

    def pair(number: int) -> None:
        what, limits = _KINDS[number % len(_KINDS)]
        queue.create_job(*what, job_id=job_id + number + 1, **limits)
        queue.destroy_job(job_id + number + 1)
        queue.check_free()

    return _mean(pair)


def _queue() -> JobQueue:
    """Return a queue whose boards are off as soon as their job is destroyed."""

    def freed(job_id: int, _reason: str | None) -> None:
        queue.free(job_id)

    def ignored(*_: object) -> None:
        """Be what nothing is to be done about."""

    queue = JobQueue(ignored, freed, ignored, seconds_before_free=0)
    return queue


def _server(bench: Bench, work: Work, side: tuple[int, int]) -> None:
    for contestant in bench.contestants[:1]:
        with bench.race([work], contestant):
            site = Site.of(*side, rest=0)
            with (
                Frames(bench.folder, site),
                Serving(bench.folder, contestant, site, fpga_wait=0.0) as server,
                Wire(server.port) as wire,
            ):
                for _ in range(bench.rounds):
                    bench.result(work).samples[OURS].append(_server_pairs(wire) * 1e3)
                bench.result(work).note = _about(server)


def _server_pairs(wire: Wire) -> float:
    def pair(number: int) -> None:
        what, limits = _KINDS[number % len(_KINDS)]
        job_id = wire.call("create_job", *what, owner="me", keepalive=None, **limits)
        wire.call("destroy_job", job_id)

    return _mean(pair)


def _about(server: Serving) -> str:
    return f"started in {server.start_seconds:.2f} s, {server.rss_mib():.0f} MiB"


def _mean(pair: Callable[[int], None]) -> float:
    began = time.perf_counter()
    for number in range(_PAIRS):
        pair(number)
    return (time.perf_counter() - began) / _PAIRS
