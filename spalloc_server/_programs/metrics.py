"""The metrics of a running server, and reading them.

Owns the table of metrics, from which the documentation is made, and where each
number comes from.  Reads plain counters from whichever thread asks; must not
slow the loop.  Knows nothing of HTTP or of how numbers are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from spalloc_server import _clock
from spalloc_server._wire.running import BOUNDS, Tally

if TYPE_CHECKING:
    from spalloc_server._jobs.census import Census, FrameCensus, SharingCensus
    from spalloc_server._logs.line_writer import LineWriter
    from spalloc_server._programs.running_server import RunningServer

#: Seconds that a reading waits for the controller's lock before it does without.
_PATIENCE = 2.0


class Metric(NamedTuple):
    """A row of the table: `kind` is "gauge", "counter" or "histogram"."""

    name: str
    kind: str
    help: str
    labels: tuple[str, ...] = ()


class Spread(NamedTuple):
    """The value of a histogram: cumulative counts by upper bound, and the sum of all."""

    counts: list[tuple[float, int]]
    total: float


Value = float | Spread
_FRAME = ("machine", "cabinet", "frame", "bmp")

#: All there is, in the order in which it is shown.
METRICS = (
    Metric("spalloc_info", "gauge", "Always 1; tells the server's version.", ("version",)),
    Metric("spalloc_start_time_seconds", "gauge", "Unix time at which the server started."),
    Metric("spalloc_turns_total", "counter", "Turns of the server's loop."),
    Metric(
        "spalloc_last_turn_age_seconds",
        "gauge",
        "Time since the loop last came to the end of a turn.",
    ),
    Metric(
        "spalloc_turn_seconds",
        "histogram",
        "Time from something to read until all its answers were written and sent.",
    ),
    Metric("spalloc_clients", "gauge", "Connected clients."),
    Metric(
        "spalloc_clients_kept",
        "gauge",
        "Clients with a connection that outlives a restart of the server.",
    ),
    Metric("spalloc_connections_total", "counter", "Connections accepted."),
    Metric(
        "spalloc_clients_bytes",
        "gauge",
        "Bytes that all clients together make the server hold: input, output and watches.",
    ),
    Metric("spalloc_watchers", "gauge", "Clients that are told of changes.", ("of",)),
    Metric(
        "spalloc_command_seconds",
        "histogram",
        "Time to carry out a command; its count is the number of commands.",
        ("command",),
    ),
    Metric(
        "spalloc_command_errors_total",
        "counter",
        "Commands answered with an exception.",
        ("command",),
    ),
    Metric("spalloc_jobs", "gauge", "Jobs that have not ended, by state.", ("state",)),
    Metric("spalloc_jobs_created_total", "counter", "Jobs created since the start."),
    Metric("spalloc_jobs_remembered", "gauge", "Ended jobs whose reasons are remembered."),
    Metric(
        "spalloc_jobs_on_grace",
        "gauge",
        "Jobs of before the start of which nothing was heard since.",
    ),
    Metric(
        "spalloc_expected_waits_total",
        "counter",
        "Jobs that started after they had been told how long similar requests waited, by whether "
        "they started within that span.",
        ("held",),
    ),
    Metric(
        "spalloc_job_wait_seconds",
        "histogram",
        "Time from the creation of jobs until they got boards, by the number of boards.",
        ("boards",),
    ),
    Metric(
        "spalloc_first_in_line_overtaken",
        "gauge",
        "Jobs that started while the present first in line of a machine waited; 0 if none waits.",
        ("machine",),
    ),
    Metric(
        "spalloc_region_age_seconds",
        "gauge",
        "Time since the job that a machine keeps a region for first had one; 0 without.",
        ("machine",),
    ),
    Metric(
        "spalloc_region_state",
        "gauge",
        "1 for the state of a machine's region: none, leaking (or about to close) or closed.",
        ("machine", "state"),
    ),
    Metric(
        "spalloc_region_idle_boards",
        "gauge",
        "Boards of a machine's region that could be used and are not.",
        ("machine",),
    ),
    Metric(
        "spalloc_largest_free_block_ratio",
        "gauge",
        "Triads of the largest free block, as a share of all free triads; missing if none are.",
        ("machine",),
    ),
    Metric("spalloc_queue_length", "gauge", "Jobs that wait for boards."),
    Metric(
        "spalloc_queue_oldest_wait_seconds",
        "gauge",
        "How long ago the oldest job that waits for boards was created; 0 if none waits.",
    ),
    Metric(
        "spalloc_machine_boards",
        "gauge",
        "Boards by what they do: each counts once, as the first that holds of dead, used, "
        "cooling, quarantined and free.",
        ("machine", "state"),
    ),
    Metric(
        "spalloc_boards",
        "gauge",
        "Boards by the states of the protocol's list_boards: dead, used, resting, out, unknown, "
        "draining, reserved and free.",
        ("machine", "state"),
    ),
    Metric("spalloc_machine_jobs", "gauge", "Jobs that have boards of a machine.", ("machine",)),
    Metric("spalloc_bmp_requests_total", "counter", "Requests to a frame.", _FRAME),
    Metric("spalloc_bmp_power_commands_total", "counter", "Power commands to a frame.", _FRAME),
    Metric("spalloc_bmp_link_writes_total", "counter", "Links of a frame set.", _FRAME),
    Metric("spalloc_bmp_retries_total", "counter", "Requests that were tried again.", _FRAME),
    Metric("spalloc_bmp_failures_total", "counter", "Requests that failed for good.", _FRAME),
    Metric(
        "spalloc_bmp_shortages_total",
        "counter",
        "Times that this computer lacked descriptors, memory or threads to talk to a frame.",
        _FRAME,
    ),
    Metric("spalloc_bmp_queue_length", "gauge", "Requests not yet answered.", _FRAME),
    Metric(
        "spalloc_bmp_answering",
        "gauge",
        "1 if the frame answered when last asked, 0 if not; missing before it was asked.",
        _FRAME,
    ),
    Metric("spalloc_journal_bytes", "gauge", "Size of the journal."),
    Metric("spalloc_journal_records_total", "counter", "Records written to the journal."),
    Metric("spalloc_snapshots_total", "counter", "Whole states written."),
    Metric(
        "spalloc_last_fsync_age_seconds",
        "gauge",
        "Time since all that was written was last made safe; grows while nothing is written.",
    ),
    Metric(
        "spalloc_unsynced_seconds",
        "gauge",
        "How long something written has been waiting to be made safe; 0 if nothing is.",
    ),
    Metric("spalloc_disk_trouble", "gauge", "1 while the state cannot be saved, else 0."),
    Metric(
        "spalloc_log_lines_dropped_total",
        "counter",
        "Lines of a log that found no room or could not be written.",
        ("log",),
    ),
    Metric("spalloc_log_trouble", "gauge", "1 while a log cannot be written, else 0.", ("log",)),
    Metric("spalloc_reloads_total", "counter", "Configurations read on SIGHUP.", ("result",)),
    Metric(
        "spalloc_census_missing",
        "gauge",
        "1 if jobs, machines and frames could not be counted, as the server was too busy.",
    ),
)

Samples = dict[str, dict[tuple[str, ...], Value]]


@dataclass
class Reader:
    """Reads a server's numbers.

    Parameters
    ----------
    server : RunningServer
    writers : mapping
        {name: LineWriter} of the logs.
    """

    server: RunningServer
    writers: Mapping[str, LineWriter] = field(default_factory=dict)
    _began: float = field(default_factory=_clock.wall, init=False)

    def samples(self) -> Samples:
        """Read all metrics: {name: {values of its labels: value}}, for each of `METRICS`."""
        census = self.server.controller.overview.census(_PATIENCE)
        found: Samples = {
            **self._of_loop(),
            **self._of_store(),
            "spalloc_log_lines_dropped_total": {
                (name,): writer.dropped for name, writer in self.writers.items()
            },
            "spalloc_log_trouble": {
                (name,): float(writer.trouble is not None) for name, writer in self.writers.items()
            },
            **({} if census is None else _of_census(census)),
            "spalloc_census_missing": {(): float(census is None)},
        }
        return {metric.name: found.get(metric.name, {}) for metric in METRICS}

    def _of_loop(self) -> Samples:
        server = self.server
        return {
            "spalloc_info": {(server.version(None),): 1},
            "spalloc_start_time_seconds": {(): self._began},
            "spalloc_turns_total": {(): server.turns},
            "spalloc_last_turn_age_seconds": {(): _clock.monotonic() - server.last_turn},
            "spalloc_turn_seconds": {(): _spread(server.turn_times)},
            "spalloc_clients": {(): server.client_count},
            "spalloc_clients_kept": {(): server.kept_count},
            "spalloc_clients_bytes": {(): server.memory.total},
            "spalloc_connections_total": {(): server.connections},
            "spalloc_watchers": {(of,): n for of, n in server.watcher_counts.items()},
            "spalloc_command_seconds": {
                (name,): _spread(tally) for name, tally in sorted(server.command_times.items())
            },
            "spalloc_command_errors_total": _labelled(server.command_errors),
            "spalloc_reloads_total": {
                ("loaded",): server.reloads - server.failed_reloads,
                ("refused",): server.failed_reloads,
            },
        }

    def _of_store(self) -> Samples:
        store = self.server.store
        now, unsynced = _clock.monotonic(), store.unsynced_since
        return {
            "spalloc_journal_bytes": {(): store.journal_bytes},
            "spalloc_journal_records_total": {(): store.records},
            "spalloc_snapshots_total": {(): store.snapshots},
            "spalloc_last_fsync_age_seconds": {(): now - store.last_fsync},
            "spalloc_unsynced_seconds": {(): 0 if unsynced is None else now - unsynced},
            "spalloc_disk_trouble": {(): float(store.trouble is not None)},
        }


def _of_census(census: Census) -> Samples:
    oldest = census.oldest_queued
    return {
        "spalloc_jobs": _labelled(census.jobs),
        "spalloc_jobs_created_total": {(): census.jobs_created},
        "spalloc_jobs_remembered": {(): census.jobs_retired},
        "spalloc_jobs_on_grace": {(): census.jobs_on_grace},
        "spalloc_expected_waits_total": {
            ("yes",): census.spans_held,
            ("no",): census.spans_judged - census.spans_held,
        },
        "spalloc_queue_length": {(): census.jobs["queued"]},
        "spalloc_queue_oldest_wait_seconds": {
            (): 0 if oldest is None else max(0.0, _clock.wall() - oldest)
        },
        "spalloc_machine_boards": {
            (name, state): count
            for name, machine in census.machines.items()
            for state, count in machine.boards.items()
        },
        "spalloc_boards": {
            (name, state): count
            for name, machine in census.machines.items()
            for state, count in machine.states.items()
        },
        "spalloc_machine_jobs": {(name,): m.jobs for name, m in census.machines.items()},
        "spalloc_job_wait_seconds": {
            (size,): Spread(waits.counts, waits.total) for size, waits in census.waits.items()
        },
        **_of_sharing(census.sharing),
        **_of_frames(census.frames),
    }


def _of_sharing(machines: Mapping[str, SharingCensus]) -> Samples:
    samples: Samples = {}

    def add(name: str, value: float, *labels: str) -> None:
        samples.setdefault(name, {})[labels] = float(value)

    for name, sharing in machines.items():
        state = "closed" if sharing.region_closed else "leaking"
        state = "none" if sharing.region_age is None else state
        add("spalloc_first_in_line_overtaken", sharing.first_overtaken, name)
        add("spalloc_region_age_seconds", sharing.region_age or 0.0, name)
        for word in ("none", "leaking", "closed"):
            add("spalloc_region_state", word == state, name, word)
        add("spalloc_region_idle_boards", sharing.region_idle_boards, name)
        if sharing.free_triads and sharing.largest_block is not None:
            share = sharing.largest_block / sharing.free_triads
            add("spalloc_largest_free_block_ratio", share, name)
    return samples


def _of_frames(frames: Iterable[FrameCensus]) -> Samples:
    samples: Samples = {}
    for each in frames:
        labels = (each.machine, *map(str, each.frame), each.host)
        told = {
            name: getattr(each.statistics, name, None)
            for name in (
                "requests",
                "power_commands",
                "link_writes",
                "retries",
                "failures",
                "shortages",
            )
        }
        values = {f"{name}_total": value for name, value in told.items()}
        values |= {"queue_length": each.queue_length, "answering": each.answering}
        for name, value in values.items():
            if value is not None:
                samples.setdefault(f"spalloc_bmp_{name}", {})[labels] = float(value)
    return samples


def _labelled(counts: Mapping[str, int]) -> dict[tuple[str, ...], Value]:
    return {(name,): count for name, count in sorted(counts.items())}


def _spread(tally: Tally) -> Spread:
    bounds = (*BOUNDS, float("inf"))
    return Spread(list(zip(bounds, accumulate(tally.counts), strict=True)), tally.total)
