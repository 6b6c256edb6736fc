"""``spalloc-history usage``, ``jobs``, ``job`` and ``board``: questions to the database."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from spalloc_server._history.errors import HistoryError
from spalloc_server._history.options import (
    MOST_ROWS,
    add_database,
    add_json,
    add_span,
    board,
    moment,
    whole,
)

if TYPE_CHECKING:
    from spalloc_server._history.answers import FaultRow, JobDetail, JobRow, ReportRow, Usage
    from spalloc_server._history.history import History
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]

_BY = ("owner", "machine", "network", "day", "month")


def add_to(commands: Commands) -> None:
    """Add the sub-commands."""
    _add_usage(commands)
    _add_jobs(commands)
    _add_job(commands)
    _add_board(commands)


def asking(
    ask: Callable[[History, argparse.Namespace], int],
) -> Callable[[argparse.Namespace], int]:
    """Return a function that opens the database for a question, and tells of its troubles."""

    def run(options: argparse.Namespace) -> int:
        from spalloc_server._history.history import History  # noqa: PLC0415

        try:
            with closing(History(options.database, seconds=3600.0)) as history:
                return ask(history, options)
        except HistoryError as e:
            print(f"spalloc-history: {e}", file=sys.stderr)
            return 1

    return run


# --- usage ---


def _add_usage(commands: Commands) -> None:
    parser = commands.add_parser(
        "usage",
        help="tell how much was used by each owner, and how long jobs waited",
        description="Print board-hours, jobs, waits and utilisation. Times are widened to whole "
        "days, UTC, with --by month to whole months. Waits are those for the first boards, within "
        "5 %.",
    )
    add_span(parser, "30 days before the end")
    parser.add_argument("--by", choices=_BY, default="owner", help="subject of the rows (owner)")
    parser.add_argument(
        "--limit",
        type=whole(1, MOST_ROWS),
        default=100,
        metavar="N",
        help="print so many rows at most (100)",
    )
    add_database(parser)
    add_json(parser)
    parser.set_defaults(run=asking(_usage))


def _usage(history: History, options: argparse.Namespace) -> int:
    from spalloc_server._history import show  # noqa: PLC0415

    told = history.usage(options.since, options.until, options.by, options.limit)
    if options.json:
        show.print_json(told)
        return 0
    _print_usage(told, options.by)
    return 0


def _print_usage(told: Usage, by: str) -> None:
    from spalloc_server._history import show  # noqa: PLC0415

    over_time = by in {"day", "month"}
    most = max((row.board_hours for row in told.rows), default=0.0) or 1.0
    rows = []
    console = show.console()
    for row in (*told.rows, told.total):
        is_total = row is told.total
        share = row.board_hours / (told.total.board_hours or 1.0)
        rows.append(
            (
                row.name,
                f"{row.jobs:,}",
                show.hours(row.board_hours),
                "" if over_time else f"{share:.1%}",
                show.duration(row.waits.median),
                show.duration(row.waits.p95),
                "" if row.utilisation is None else f"{row.utilisation:.1%}",
                "" if is_total else show.bar(row.board_hours / most, console.width),
            )
        )
    columns = [by, "jobs", "board-hours", "share", "median wait", "95 % wait", "used", ""]
    numbers = columns[1:-1]
    title = f"{show.day(told.since)} to {show.day(told.until - 1)}, UTC"
    console.print(show.table(title, columns, rows, numbers))
    if told.left_off:
        console.print(f"and {told.left_off:,} more; --limit shows them")


# --- jobs ---


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose jobs."""
    parser.add_argument("--owner", help="exactly so")
    parser.add_argument("--machine", help="exactly so")
    parser.add_argument("--host", metavar="ADDRESS", help="of the keepalive host")
    parser.add_argument(
        "--board", type=board, metavar="X,Y,Z", help="had by the job at some time; with --machine"
    )
    parser.add_argument("--reason", metavar="TEXT", help="part of the reason")
    parser.add_argument("--since", type=moment, metavar="TIME", help="created then or later")
    parser.add_argument("--until", type=moment, metavar="TIME", help="created before")


def chosen_jobs(history: History, options: argparse.Namespace, limit: int) -> Sequence[JobRow]:
    """Return the jobs that the options choose, newest first."""
    from spalloc_server._history.history import JobFilter  # noqa: PLC0415

    wanted = JobFilter(
        owner=options.owner,
        machine=options.machine,
        host=options.host,
        board=options.board,
        reason=options.reason,
        since=options.since,
        until=options.until,
    )
    rows: list[JobRow] = []
    after = None
    while len(rows) < limit:
        page = history.jobs(wanted, after, min(1000, limit - len(rows)))
        rows += page.rows
        after = page.next
        if after is None:
            break
    return rows


def _add_jobs(commands: Commands) -> None:
    parser = commands.add_parser(
        "jobs", help="list jobs", description="Print jobs, the newest last."
    )
    add_filters(parser)
    parser.add_argument(
        "--limit",
        type=whole(1, MOST_ROWS),
        default=50,
        metavar="N",
        help="print the newest N jobs (50)",
    )
    add_database(parser)
    add_json(parser)
    parser.set_defaults(run=asking(_jobs))


def _jobs(history: History, options: argparse.Namespace) -> int:
    from spalloc_server._history import show  # noqa: PLC0415

    rows = chosen_jobs(history, options, options.limit)
    if options.json:
        show.print_json(rows)
    else:
        _print_jobs(rows)
    return 0


def _print_jobs(rows: Sequence[JobRow]) -> None:
    from spalloc_server._history import show  # noqa: PLC0415

    cells = []
    for row in reversed(rows):
        waited = None if row.allocated is None else max(0.0, row.allocated - row.created)
        ran = None
        if row.allocated is not None and row.ended is not None:
            ran = row.ended - row.allocated
        cells.append(
            (
                str(row.job),
                row.owner,
                show.moment(row.created),
                show.duration(waited),
                show.duration(ran),
                str(row.boards or row.asked),
                row.machine or "",
                show.place(row.place),
                row.reason or "",
            )
        )
    if not cells:
        print("No jobs.")
        return
    columns = ("job", "owner", "created", "waited", "had boards", "boards", "machine", "place")
    numbers = ("job", "waited", "had boards", "boards")
    show.console().print(show.table(None, (*columns, "reason"), cells, numbers))


def _add_job(commands: Commands) -> None:
    parser = commands.add_parser(
        "job",
        help="tell all about a job",
        description="Print all that is known of a job. Numbers repeat after a cold start of the "
        "server: the newest is told, and the states of its namesakes.",
        epilog="Exit status: 1 if there is no such job.",
    )
    parser.add_argument("job", type=whole(0), metavar="ID", help="the job's number")
    parser.add_argument("--state", type=whole(0), help="which of the jobs with this number")
    add_database(parser)
    add_json(parser)
    parser.set_defaults(run=asking(_job))


def _job(history: History, options: argparse.Namespace) -> int:
    from spalloc_server._history import show  # noqa: PLC0415

    told = history.job(options.job, options.state)
    if told is None:
        print(f"spalloc-history: there is no job {options.job}", file=sys.stderr)
        return 1
    if options.json:
        show.print_json(told)
    else:
        _print_job(told)
    return 0


def _print_job(told: JobDetail) -> None:
    from spalloc_server._history import show  # noqa: PLC0415

    job = told.job
    asked = ", ".join(
        [repr(value) for value in job.args] + [f"{k}={v!r}" for k, v in job.kwargs.items()]
    )
    ended_by = job.party
    lines = [
        ("owner", job.owner),
        ("host", job.host or ""),
        ("asked for", f"({asked})"),
        ("keepalive", "never ends" if job.keepalive is None else show.duration(job.keepalive)),
        ("created", show.moment(job.created)),
        ("first boards", show.moment(job.allocated)),
        ("ready", show.moment(job.ready)),
        ("ended", show.moment(job.ended) + (f" by {ended_by}" if ended_by else "")),
        ("reason", job.reason or ""),
        ("state", f"{job.state}{' (from an old log)' if job.imported else ''}"),
        ("namesakes", ", ".join(map(str, told.namesakes))),
    ]
    console = show.console()
    console.print(show.table(f"Job {job.job}", ("", ""), [line for line in lines if line[1]]))
    places = [
        (
            each.machine,
            show.place(each.place),
            str(each.boards),
            show.duration(each.waited),
            show.moment(each.began),
            show.moment(each.left),
            each.fault or "",
        )
        for each in told.places
    ]
    columns = ("machine", "place", "boards", "waited", "from", "until", "moved because")
    if places:
        console.print(show.table("Boards", columns, places, ("boards", "waited")))
    _print_reports(told.reports)


# --- boards ---


def _add_board(commands: Commands) -> None:
    parser = commands.add_parser(
        "board",
        help="tell all about a board",
        description="Print the faults of a board, users' reports of it, and its last jobs.",
        epilog="Exit status: 1 if there never was such a machine.",
    )
    parser.add_argument("machine", metavar="MACHINE")
    for name in ("x", "y", "z"):
        parser.add_argument(name, type=whole(0), metavar=name.upper())
    parser.add_argument(
        "--limit",
        type=whole(1, MOST_ROWS),
        default=20,
        metavar="N",
        help="print the newest N jobs (20)",
    )
    add_database(parser)
    add_json(parser)
    parser.set_defaults(run=asking(_board))


def _board(history: History, options: argparse.Namespace) -> int:
    from spalloc_server._history import show  # noqa: PLC0415

    known = history.machines()
    if options.machine not in known:
        print(
            f"spalloc-history: nothing is known of a machine {options.machine!r}; "
            f"known are {', '.join(known) or 'none'}",
            file=sys.stderr,
        )
        return 1
    where = (options.x, options.y, options.z)
    faults = history.faults(options.machine, where)
    reports = history.reports(options.machine, where)
    jobs = history.board_jobs(options.machine, where, limit=options.limit).rows
    if options.json:
        show.print_json({"faults": faults, "reports": reports, "jobs": jobs})
        return 0
    console = show.console()
    if faults:
        console.print(_faults(faults))
    else:
        console.print("No faults.")
    _print_reports(reports)
    _print_jobs(jobs)
    return 0


def _faults(rows: Sequence[FaultRow]) -> object:
    from spalloc_server._history import show  # noqa: PLC0415

    cells = [
        (
            show.moment(row.since),
            show.moment(row.back) if row.back is not None else "still out",
            row.kind,
            "" if row.job is None else str(row.job),
            row.text,
            row.how or "",
        )
        for row in rows
    ]
    columns = ("out since", "back", "kind", "job", "text", "back how")
    return show.table("Faults", columns, cells, ("job",))


def _print_reports(rows: Sequence[ReportRow]) -> None:
    from spalloc_server._history import show  # noqa: PLC0415

    if rows:
        cells = [
            (
                show.moment(row.time),
                "" if row.job is None else str(row.job),
                row.host or "",
                row.text,
                row.done or "",
            )
            for row in rows
        ]
        columns = ("reported", "job", "host", "text", "done")
        show.console().print(show.table("Reports", columns, cells, ("job",)))
