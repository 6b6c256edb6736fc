"""The limits that the manual lists are those of the program, to the last byte."""

import re
from pathlib import Path

import pytest

from spalloc_server._allocation import grid_allocator, verdicts
from spalloc_server._jobs import (
    ended_jobs,
    health,
    job_life,
    job_log,
    job_power,
    quarantine,
    reasons,
    reports,
    stopping,
    waits,
    write_ahead,
)
from spalloc_server._programs import http_server
from spalloc_server._queueing import holdings, lifetimes, region
from spalloc_server._saved import (
    disk_trouble,
    event_log,
    generation,
    journal,
    store,
    syncer,
    unsaved_ids,
)
from spalloc_server._wire import (
    backlog,
    carrier,
    control,
    introductions,
    lingering,
    messages,
    orders,
    peer,
    questions,
    record,
    refusals,
    serving,
    watchers,
)

MANUAL = Path(__file__).parents[2] / "docs" / "limits.rst"
DAY = 86400


def size(count: int) -> str:
    """Write a number of bytes like the manual; exactly."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count and count % unit == 0:
            return f"{count // unit} {name}"
    return f"{count} bytes"


def told() -> dict[str, str]:
    """All limits of the manual, by name."""
    text = " ".join(MANUAL.read_text().split())
    rows = re.findall(r"\* - (.+?) - (.+?)(?= \* -| \w+ -{3,}|$)", text)
    return {name: value for name, value in rows if name != "Limit"}


PROBES = dict(peer._KEEPALIVE)
IDLE, BETWEEN, NUMBER = PROBES.values()
TEST_AFTER = ", ".join(f"{seconds:.0f}" for seconds in quarantine.TEST_AFTER[:-1])

LIMITS = {
    "Line of the protocol": size(messages.MAX_LINE),
    "Digits of a number in a command": f"{messages._MOST_DIGITS}",
    "Jobs queued or running": f"{job_life.MAX_JOBS:,}",
    "Jobs or machines watched by a client one by one": f"{watchers.MAX_WATCHED:,}",
    "Output waiting for a client before no more of its commands are taken": (
        size(peer.PAUSE_ABOVE)
    ),
    "Notifications a client leaves unread before it is dropped": size(peer.MAX_UNREAD),
    "Memory for unfinished input, unread output and watches of all clients together, before the"
    " fullest is dropped": size(peer.MAX_TOTAL),
    "Connections accepted in a turn of the loop": f"{serving._MAX_ACCEPTS}",
    "Commands of one client that are run before another client has its turn": (
        f"{backlog.MOST_IN_A_SLICE}, or {backlog.SLICE * 1e3:g} ms"
    ),
    "Clients with many commands at a time, in a turn of the loop": (
        f"{backlog.SECONDS_OF_SLICES * 1e3:g} ms"
    ),
    "Read from a client in a turn of the loop": (
        f"{size(peer.MAX_READ)}, {size(peer._READ)} at a time"
    ),
    "Rows or events in a reply": (
        f"{questions.MOST_ROWS:,}; {size(event_log.REPLY_BYTES)} of events"
    ),
    "Silence before TCP asks for a sign of life; then": (
        f"{IDLE} s; every {BETWEEN} s, {NUMBER} times"
    ),
    "Wait for a client to read the end of its connection": (
        f"{lingering._SECONDS:g} s, {lingering._MOST} clients"
    ),
    "Log lines about one client's errors": (
        f"one in {refusals._SECONDS:g} s, {refusals._LONGEST:,} characters"
    ),
    "Connections that wait for a proxy's header": f"{introductions.MAX_WAITING:,}",
    "Name of a user remembered": f"{introductions._SECONDS_A_NAME_LASTS:g} s",
    "Connections kept over a restart": (
        f"{carrier.MOST_KEPT:,}, with up to {size(record.MAX_BODY)} of"
    ),
    "Wait for hardware at a restart that keeps connections": (
        f"{carrier.SECONDS_BEFORE_A_RESTART:g} s"
    ),
    "Order to the control socket": size(control._MAX_LINE),
    "Operators served at a time": f"{control._MAX_CONNECTIONS}",
    "Operator without an order before the connection is closed": f"{control._SECONDS_IDLE:g} s",
    "Text of an order": f"{orders._LONGEST_TEXT} characters",
    "Wait for hardware at a stop": (
        f"``--stop-timeout``, 30 s; {stopping._SECONDS_TO_GIVE_UP:g} s more"
    ),
    "Questions to ``/metrics`` and ``/health`` answered at a time": (
        f"{http_server.MOST_AT_A_TIME}"
    ),
    "Last write until the disk is asked to keep it": f"{syncer.SECONDS_UNTIL_FSYNC:g} s",
    "Outcomes that no client was told of, until written": (
        f"{write_ahead._SECONDS_UNCOMMITTED:g} s"
    ),
    "Journal before a new snapshot": (
        f"{generation._JOURNAL_PER_SNAPSHOT} times the snapshot, "
        f"{size(generation.SMALLEST_LIMIT)} at least, {size(generation.LARGEST_LIMIT)} at most"
    ),
    "Records that wait for a full disk before a snapshot replaces them": (
        size(journal._MOST_QUEUED)
    ),
    "Tries to write to a disk in trouble": (
        f"every {disk_trouble._LONGEST_WAIT:g} s at last; "
        f"a log line every {disk_trouble._SECONDS_BETWEEN_COMPLAINTS:g} s"
    ),
    "Look at the files while nothing is written": f"every {syncer._SECONDS_BETWEEN_LOOKS:g} s",
    "Events on disk": f"{event_log.SEGMENTS} segments of {size(event_log.SEGMENT_BYTES)}",
    "Events that wait for a full disk": f"{event_log._MOST_WAITING:,}",
    "Job numbers left out after a crash while the disk takes no records": (
        f"{unsaved_ids.IDS_AT_A_TIME:,}"
    ),
    "Job numbers left out after a crash without durability": f"{store._RESERVED_IDS:,}",
    "Log of jobs": f"{job_log.DEFAULT_DAYS} days; {job_log._LONGEST:,} characters",
    "Memory for reasons of ended jobs": size(ended_jobs.MAX_BYTES),
    "Moves of a job after faults of its boards": f"{job_power.MAX_MOVES}",
    "Tests of a board in quarantine, seconds after the last fault": (
        f"{TEST_AFTER}, then every {quarantine.TEST_AFTER[-1]:,.0f}"
    ),
    "Faults that lock a board until an operator comes": (
        f"{quarantine.FAULTS_TO_LOCK} in {quarantine.FAULT_WINDOW / DAY:g} day".replace(
            "1 day", "a day"
        )
    ),
    "Jobs with faults on a frame that make all its free boards suspects": (
        f"{health._TROUBLES_OF_A_FRAME} in {health._TROUBLE_WINDOW:g} s"
    ),
    "Test that gave way to a job is tried again": (
        f"after {health._SECONDS_AFTER_GIVING_WAY:g} s"
    ),
    "Report of a board after its job was ready": (
        f"within {reports.SECONDS_TO_REPORT / DAY:g} day; "
        f"waits {reports.SECONDS_KEPT / DAY:g} days"
    ),
    "Passed test that lets the next report count for an operator": (
        f"{reports.SECONDS_AFTER_TEST / DAY:g} days"
    ),
    "Reports of boards from one computer": (
        f"{reports.MOST_REPORTS * 60 / reports.SECONDS_OF_REPORTS:g} a minute"
    ),
    "Boards of a machine out by reports": (
        f"{reports.MOST_OUT * 100:g} % of them, {reports.LEAST_OUT} at least"
    ),
    "Lifetimes of jobs that a guess is made of": (
        f"the last {lifetimes._REMEMBERED}; {lifetimes._UNKNOWN:g} s "
        f"with fewer than {lifetimes._FEW}"
    ),
    "Look for a better place for a waiting job": (
        f"every {region.SECONDS_BETWEEN_MOVES:g} s; it moves if the wait gets shorter by "
        f"{100 * (1 - region.WORTH_MOVING):.3g} %"
    ),
    "Waits that an expected wait is made of": (
        f"the last {waits.MOST_WAITS}, {waits.LEAST_WAITS} at least, "
        f"sorted once in {waits.SECONDS_FRESH:g} s"
    ),
    "Jobs ahead told of a waiting job": (
        f"{reasons.MOST_AHEAD}; told again for {reasons.SECONDS_FRESH:g} s, "
        f"{100 * reasons._SHARE_OF_LOOP:g} % of"
    ),
    "Requests whose answers are remembered": (
        f"{grid_allocator._MOST_REQUESTS:,} places, {verdicts._MOST_VERDICTS:,} verdicts, "
        f"{holdings._MOST_WISHES:,} wishes"
    ),
}
#: Limits that other tests are about: the words of the command line, and the length of texts.
ELSEWHERE = {"Owner, reason of a job", "Reasons of ended jobs that are remembered"}


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_of_the_program_is_in_the_manual(name: str) -> None:
    value = told()[name]

    assert re.match(re.escape(LIMITS[name]) + r"(?![\w.])", value), f"it is {LIMITS[name]}"


def test_the_manual_has_no_other_limits() -> None:
    assert set(told()) == set(LIMITS) | ELSEWHERE
