"""spalloc-job: all about one job, and acts on it."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from spalloc_client._answers import (
    JobMachine,
    JobRow,
    JobStatus,
    MachineRow,
    read_jobs,
    read_machine_info,
    read_machines,
)
from spalloc_client._board_states import board_rows, reasons
from spalloc_client._extensions import read_outlook
from spalloc_client._outlook import expected_text, place_text, why_text
from spalloc_client._program import CommandError, run
from spalloc_client._queue import ask_boards, ask_outlook, describe_queue
from spalloc_client._session import Session
from spalloc_client._settings import Settings
from spalloc_client._tables import facts, job_map, on_off, seconds, state_text
from spalloc_client._terminal import make_console, show
from spalloc_client._text import when
from spalloc_client._watch import watch
from spalloc_client.scripts._command import (
    Parser,
    check_json,
    print_json,
    session_with,
    settings_for,
    whole,
    with_state_name,
)
from spalloc_client.scripts._job_acts import (
    destroy,
    known_status,
    list_hostnames,
    print_takeover_code,
    report,
    switch,
)

#: Of long lists only so many are shown; the rest is for --json and --ethernet-ips.
_MOST_SHOWN = 12


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run("spalloc-job", _main, argv)


def _parser() -> Parser:
    parser = Parser("spalloc-job", "Show a job, or do something to it.")
    parser.add_argument(
        "job_id", nargs="?", type=whole, metavar="ID", help="the job; else the owner's only one"
    )
    parser.add_argument(
        "--owner", "-o", metavar="O", help="the owner of the only job, if no ID is given"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--info", "-i", action="store_true", help="show all that is known (default)")
    what.add_argument("--watch", "-w", action="store_true", help="keep showing it as it changes")
    what.add_argument(
        "--power-on",
        "--reset",
        "-p",
        "-r",
        action="store_true",
        help="switch the boards on, or off and on again, and wait until done",
    )
    what.add_argument(
        "--power-off", action="store_true", help="switch the boards off and wait until done"
    )
    what.add_argument(
        "--ethernet-ips", "-e", action="store_true", help="list the boards' host names as CSV"
    )
    what.add_argument(
        "--destroy", "-D", nargs="?", const="", metavar="REASON", help="end the job"
    )
    what.add_argument(
        "--report",
        nargs=2,
        metavar=("BOARD", "TEXT"),
        help="tell the operators of trouble with a board of the job: X,Y,Z or its address",
    )
    what.add_argument(
        "--takeover-code",
        action="store_true",
        help="print a code by which somebody else may take the job over; it works once",
    )
    parser.add_argument("--json", action="store_true", help="print all that is known as JSON")
    parser.add_server_arguments()
    return parser


def _main(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    check_json(arguments)
    doing = (
        arguments.power_on
        or arguments.power_off
        or arguments.ethernet_ips
        or arguments.report
        or arguments.takeover_code
    )
    if arguments.json and (doing or arguments.destroy is not None):
        raise CommandError("--json goes with --info only", status=2)
    if arguments.job_id is None and (arguments.destroy or "").isdigit():
        raise CommandError(
            f"to destroy job {arguments.destroy}, say: spalloc-job {arguments.destroy} --destroy",
            status=2,
        )
    settings = settings_for(arguments)
    with session_with(settings) as session:
        job_id = arguments.job_id
        if job_id is None:
            job_id = _only_job(session, settings.owner)
        _act(arguments, settings, session, job_id)
    return 0


def _act(
    arguments: argparse.Namespace, settings: Settings, session: Session, job_id: int
) -> None:
    if arguments.power_on or arguments.power_off:
        switch(settings, session, job_id, bool(arguments.power_on))
    elif arguments.ethernet_ips:
        list_hostnames(session, job_id)
    elif arguments.destroy is not None:
        destroy(session, job_id, arguments.destroy)
    elif arguments.report is not None:
        report(session, job_id, *arguments.report)
    elif arguments.takeover_code:
        print_takeover_code(session, job_id)
    elif arguments.json:
        print_json(_json(session, job_id))
    else:
        _show(session, job_id, arguments.watch)


def _only_job(session: Session, owner: str | None) -> int:
    if owner is None:
        raise CommandError("which job? Give an ID, or --owner for the owner's only one")
    mine = [job.job_id for job in read_jobs(session.call("list_jobs")) if job.owner == owner]
    if not mine:
        raise CommandError(f"{owner} has no job")
    if len(mine) > 1:
        jobs = ", ".join(map(str, mine))
        raise CommandError(f"{owner} has several jobs, say which: {jobs}")
    return mine[0]


# --- showing ---


class _View:
    """The facts about the job; asks for no more than may have changed."""

    def __init__(self, session: Session, job_id: int) -> None:
        self._session = session
        self._job_id = job_id
        self._info_of: JobRow | None = None
        self._info: JobMachine | None = None
        self.over = False

    def draw(self, console: Console) -> list[RenderableType]:
        jobs = read_jobs(self._session.call("list_jobs"))
        job = next((job for job in jobs if job.job_id == self._job_id), None)
        if job is None:
            self.over = True
            return [_end_facts(self._job_id, known_status(self._session, self._job_id))]
        machines = read_machines(self._session.call("list_machines"))
        info = self._machine_info(job)
        prospects = _prospects(self._session, job, machines, jobs)
        parts: list[RenderableType] = [_job_facts(job, info, prospects)]
        machine = next((m for m in machines if m.name == job.machine), None)
        if machine is not None and job.boards:
            told = ask_boards(self._session, [machine])
            states = board_rows(machine, jobs) if told is None else told.get(machine.name, [])
            trouble = reasons([row for row in states if row.job_id == job.job_id])
            parts += [Text(), *job_map(console, machine, states, job.boards)]
            parts += [Text(), *map(Text, trouble)] if trouble else []
        return parts

    def _machine_info(self, job: JobRow) -> JobMachine | None:
        # Asking counts as a sign of life of the job, which watching should not be.
        if job.boards is None:
            return None
        before = self._info_of
        if before is None or (before.machine, before.boards) != (job.machine, job.boards):
            answer = self._session.call("get_job_machine_info", self._job_id)
            self._info = read_machine_info(answer)
            self._info_of = job
        return self._info


def _show(session: Session, job_id: int, watching: bool) -> None:
    console = make_console()
    view = _View(session, job_id)
    if watching:
        session.subscribe("notify_job")  # all, for the jobs ahead
        session.subscribe("notify_events")  # for boards that fail
        session.connect()
        watch(
            console,
            session,
            lambda: view.draw(console),
            over=lambda: view.over and not console.is_terminal,
        )
    else:
        show(console, *view.draw(console))


def _end_facts(job_id: int, status: JobStatus) -> RenderableType:
    return facts(
        [
            ("Job", str(job_id)),
            ("State", state_text(status.state)),
            ("Reason", status.reason or "none given"),
        ]
    )


def _prospects(
    session: Session, job: JobRow, machines: Sequence[MachineRow], jobs: Sequence[JobRow]
) -> list[tuple[str, str | Text]]:
    """Tell why a job waits and how long it may take, as far as the server does."""
    outlook = ask_outlook(session, job.job_id)
    if outlook is None:
        return [("Queue", describe_queue(job, machines, jobs))] if job.boards is None else []
    rows: list[tuple[str, str | Text]] = [
        ("Queue", place_text(outlook)),
        ("Why", why_text(outlook)),
        ("Expected", expected_text(outlook)),
    ]
    return [row for row in rows if row[1]]


def _job_facts(
    job: JobRow, info: JobMachine | None, prospects: list[tuple[str, str | Text]]
) -> RenderableType:
    host = f", from {job.keepalive_host}" if job.keepalive_host else ""
    rows: list[tuple[str, str | Text]] = [
        ("Job", str(job.job_id)),
        ("Owner", job.owner),
        ("State", state_text(job.state)),
        ("Created at", when(job.start_time)),
        ("Keepalive", f"{seconds(job.keepalive)}{host}"),
        ("Request", _request(job)),
    ]
    rows += prospects
    if job.boards is not None:
        rows += [
            ("Power", on_off(job.power)),
            ("Machine", job.machine or ""),
            ("Boards", f"{len(job.boards)}: {_some(sorted(job.boards), _tight)}"),
        ]
    if info is not None and info.connections is not None:
        chips = sorted(info.connections.items())
        rows += [
            ("Size in chips", f"{info.width} x {info.height}"),
            ("Hostname", info.connections.get((0, 0), "")),
            ("Ethernet chips", _some(chips, lambda item: f"{_tight(item[0])}={item[1]}")),
        ]
    return facts(rows)


def _request(job: JobRow) -> str:
    args = job.args
    words = {
        0: "1 board",
        1: f"{args[0]} board{'s' * (args[0] != 1)}" if len(args) == 1 else "",
        2: "{} x {} triads".format(*args) if len(args) == 2 else "",
        3: f"board {args}",
    }.get(len(args), str(args))
    limits = [
        f"{name}={', '.join(value) if isinstance(value, list) else value}"
        for name, value in sorted(job.kwargs.items())
        if value is not None
    ]
    return "; ".join([words, *limits])


def _tight(position: tuple[int, ...]) -> str:
    """Tell a position without spaces, so that it is not broken at the end of a line."""
    return f"({','.join(map(str, position))})"


def _some(things: Sequence[Any], say: Callable[[Any], str]) -> str:
    shown = [say(thing) for thing in things[:_MOST_SHOWN]]
    more = len(things) - len(shown)
    return ", ".join([*shown, f"and {more} more"] if more else shown)


def _json(session: Session, job_id: int) -> dict[str, Any]:
    # The same fields for each job, known or forgotten.
    nothing = dict.fromkeys((*JobRow._fields, *JobMachine._fields, "reason"))
    nothing["keepalivehost"] = nothing.pop("keepalive_host")
    nothing["allocated_machine_name"] = nothing.pop("machine")
    raw_jobs = session.call("list_jobs")
    for raw, job in zip(raw_jobs, read_jobs(raw_jobs), strict=True):
        if job.job_id == job_id:
            info = session.call("get_job_machine_info", job_id)
            read_machine_info(info)
            return {**nothing, **with_state_name(raw), **info, **_json_outlook(session, job_id)}
    known_status(session, job_id)
    state = with_state_name(session.call("get_job_state", job_id))
    return {**nothing, "job_id": job_id, **state}


def _json_outlook(session: Session, job_id: int) -> dict[str, Any]:
    """Give the job's outlook, null if it does not wait, where the server has outlooks."""
    if not session.facility().offers("get_job_outlook"):
        return {}
    answer = session.call("get_job_outlook", job_id)
    read_outlook(answer)  # makes sure of its form
    return {"outlook": answer}


if __name__ == "__main__":
    sys.exit(main())
