"""spalloc-ps: the jobs that are queued or running."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import RenderableType

from spalloc_client._answers import read_jobs, read_machines
from spalloc_client._extensions import read_queue
from spalloc_client._program import run
from spalloc_client._queue import ask_queue
from spalloc_client._session import Session
from spalloc_client._tables import jobs_table
from spalloc_client._terminal import make_console, plain, show
from spalloc_client._watch import watch
from spalloc_client.scripts._command import (
    Parser,
    check_json,
    no_such_machine,
    print_json,
    session_with,
    settings_for,
    with_state_name,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run("spalloc-ps", _main, argv)


def _parser() -> Parser:
    parser = Parser("spalloc-ps", "List the jobs that are queued or running, oldest first.")
    parser.add_argument(
        "--watch", "-w", action="store_true", help="keep showing them as they change"
    )
    parser.add_argument("--json", action="store_true", help="print them as JSON")
    chosen = parser.add_argument_group("which jobs")
    chosen.add_argument(
        "--machine", "-m", metavar="M", help="only those with boards of this machine"
    )
    chosen.add_argument("--owner", "-o", metavar="O", help="only those of this owner")
    parser.add_server_arguments()
    return parser


def _main(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    check_json(arguments)
    # The owner chooses among jobs here; the configured one has nothing to do with it.
    with session_with(settings_for(arguments)) as session:
        machine, owner = arguments.machine, arguments.owner
        if machine is not None:
            known = [m.name for m in read_machines(session.call("list_machines"))]
            if machine not in known:
                raise no_such_machine(machine, known)
        if arguments.json:
            print_json(_json(session, _jobs(session, machine, owner)))
            return 0
        console = make_console()

        def draw() -> list[RenderableType]:
            jobs = read_jobs(_jobs(session, machine, owner))
            if not jobs:
                return [plain(_none_of(machine, owner))]
            return [jobs_table(console, jobs, ask_queue(session))]

        if arguments.watch:
            session.subscribe("notify_job")
            watch(console, session, draw)
        else:
            show(console, *draw())
    return 0


def _json(session: Session, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add each job's state in words, and its outlook where the server has one."""
    named = [with_state_name(job) for job in jobs]
    if not session.facility().offers("list_queue"):
        return named
    answer = session.call("list_queue")
    read_queue(answer)  # makes sure of its form
    outlooks = {outlook["job_id"]: outlook for outlook in answer["jobs"]}
    return [{**job, "outlook": outlooks.get(job["job_id"])} for job in named]


def _none_of(machine: str | None, owner: str | None) -> str:
    of = "" if owner is None else f" of {owner}"
    on = "" if machine is None else f" on {machine}"
    return f"No jobs{of}{on}."


def _jobs(session: Session, machine: str | None, owner: str | None) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = session.call("list_jobs")
    read_jobs(jobs)  # makes sure of their form
    return [
        job
        for job in jobs
        if (machine is None or job["allocated_machine_name"] == machine)
        and (owner is None or job["owner"] == owner)
    ]


if __name__ == "__main__":
    sys.exit(main())
