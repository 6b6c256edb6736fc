"""``spalloc-state jobs`` and ``spalloc-state end``: jobs that live on grace after a start.

A client that lost its connection in a restart may go on working without signs of life; an operator
sees these jobs here, and ends those that nobody needs any more.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from spalloc_server._checks.values import escaped
from spalloc_server._programs import server_control
from spalloc_server._programs.server_control import ToolError
from spalloc_server._programs.text_table import table
from spalloc_server._wire.control_socket import ControlFailed

if TYPE_CHECKING:
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]  # it has no public name


def add_to(commands: Commands) -> None:
    """Add the sub-commands."""
    parser = commands.add_parser(
        "jobs",
        help="list the jobs of before the start of which nothing was heard since",
        description="List the jobs that were taken over at the server's start and gave no sign "
        "of life since. They live until the configuration's takeover_grace is over.",
        epilog="Exit status: 0 if all is well, 1 if not.",
    )
    server_control.add_options(parser)
    parser.add_argument("--json", action="store_true", help="list as one JSON object")
    parser.set_defaults(run=_run(_list))
    parser = commands.add_parser(
        "end",
        help="end jobs",
        description="End jobs, any of them; their users read the reason.",
        epilog="Exit status: 0 if all is well, 1 if not.",
    )
    server_control.add_options(parser)
    parser.add_argument("jobs", nargs="+", type=int, metavar="JOB", help="numbers of the jobs")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="for the job's user")
    parser.set_defaults(run=_run(_end))


def _run(do: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        try:
            do(options)
        except (ToolError, ControlFailed) as e:
            print(f"spalloc-state: {escaped(e)}", file=sys.stderr)
            return 1
        return 0

    return run


def _list(options: argparse.Namespace) -> None:
    data = server_control.ask_running(options, do="jobs")
    if options.json:
        json.dump(data, sys.stdout)
        print()
        return
    head = ("job", "owner", "from", "machine", "boards", "lives until")
    rows = [
        (
            str(job["job_id"]),
            job["owner"],
            job["host"] or "-",
            job["machine"] or "queued",
            str(job["boards"] or "-"),
            time.strftime("%Y-%m-%d %H:%M", time.localtime(job["until"])),
        )
        for job in data["on_grace"]
    ]
    for line in table(head, rows, "no job lives on grace"):
        print(line)


def _end(options: argparse.Namespace) -> None:
    ended = server_control.ask_running(options, do="end", jobs=options.jobs, reason=options.reason)
    for job_id in ended["jobs"]:
        print(f"job {job_id} ended")
