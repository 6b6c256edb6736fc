"""Words about a job's prospects while it is queued, or about the refusal of a request.

A server that tells no place in the queue leaves it to us to say which machines fit, and how
many jobs were there before.
"""

import re
from collections.abc import Iterable, Sequence

from spalloc_client._answers import JobRow, MachineRow
from spalloc_client._extensions import (
    BoardRow,
    Outlook,
    Queue,
    read_boards,
    read_outlook,
    read_queue,
)
from spalloc_client._fit import jobs_ahead, why_not
from spalloc_client._request import Request, request_of
from spalloc_client._session import Session
from spalloc_client._text import clean


def ask_outlook(session: Session, job_id: int) -> Outlook | None:
    """Ask for a job's outlook; None if the server has none, or if the job does not wait."""
    if not session.facility().offers("get_job_outlook"):
        return None
    return read_outlook(session.call("get_job_outlook", job_id))


def ask_queue(session: Session) -> Queue | None:
    """Ask for the outlook of all waiting jobs; None if the server has none."""
    if not session.facility().offers("list_queue"):
        return None
    return read_queue(session.call("list_queue"))


def ask_boards(
    session: Session, machines: Iterable[MachineRow]
) -> dict[str, list[BoardRow]] | None:
    """Ask for the state of each board of some machines; None if the server does not tell.

    A machine that has gone meanwhile has no entry.
    """
    if not session.facility().offers("list_boards"):
        return None
    answers = {
        machine.name: read_boards(session.call("list_boards", machine.name))
        for machine in machines
    }
    return {name: rows for name, rows in answers.items() if rows is not None}


def describe_queue(job: JobRow, machines: Sequence[MachineRow], jobs: Sequence[JobRow]) -> str:
    """Tell how many queued jobs are ahead of `job`, on each machine that fits it."""
    request = request_of(job.args, job.kwargs)
    fitting = [machine for machine in machines if why_not(machine, request) is None]
    ahead = {machine.name: jobs_ahead(job.job_id, machine, jobs) for machine in fitting}
    if not ahead:
        return "waiting for boards"
    parts = []
    for number in sorted(set(ahead.values())):
        names = ", ".join(clean(name) for name in ahead if ahead[name] == number)
        count = {0: "next", 1: "1 job ahead"}.get(number, f"{number} jobs ahead")
        parts.append(f"{count} on {names}")
    return "; ".join(parts)


def describe_misfits(
    request: Request, machines: Sequence[MachineRow], scheduling: str | None = None
) -> list[str]:
    """Tell for each machine why the request does not suit it, a line each.

    Limits are named as options of commands; `as_arguments` names them as the library does.
    `scheduling` is as the server says; None: an older one.
    """
    if not machines:
        return ["the server has no machines"]
    longest = max(len(clean(machine.name)) for machine in machines)
    lines = []
    for machine in machines:
        why = why_not(machine, request, scheduling) or "would do as far as can be seen from here"
        lines.append(f"{clean(machine.name).ljust(longest)}  {clean(why)}")
    return lines


def as_arguments(text: str) -> str:
    """Name limits as arguments of a function, rather than as options of a command."""
    return re.sub(r"--([a-z-]+)", lambda match: match[1].replace("-", "_"), text)


def explain_refusal(
    request: Request, machines: Sequence[MachineRow], scheduling: str | None = None
) -> str:
    """Tell in one line why no machine suits, for programs in Python."""
    names = [clean(machine.name) for machine in machines]
    if request.machine is not None and request.machine not in names:
        return f"no machine is called {clean(request.machine)}; there are: {', '.join(names)}"
    lines = [" ".join(line.split()) for line in describe_misfits(request, machines, scheduling)]
    return as_arguments("; ".join(lines))
