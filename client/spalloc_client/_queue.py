"""What is known of a job's prospects while it is queued, or when it was refused.

The server tells no place in the queue; this says which machines fit and who was there
before, in words.
"""

from collections.abc import Sequence

from spalloc_client._answers import JobRow, MachineRow
from spalloc_client._fit import jobs_ahead, why_not
from spalloc_client._request import Request, request_of
from spalloc_client._text import clean


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


def describe_misfits(request: Request, machines: Sequence[MachineRow]) -> list[str]:
    """Tell for each machine why the request does not suit it, a line each."""
    if not machines:
        return ["the server has no machines"]
    longest = max(len(clean(machine.name)) for machine in machines)
    lines = []
    for machine in machines:
        why = why_not(machine, request) or "would do as far as can be seen from here"
        lines.append(f"{clean(machine.name).ljust(longest)}  {clean(why)}")
    return lines
