"""The acts of spalloc-job: things done to a job, each with a line about it."""

import csv
import re
import sys

from spalloc_client._answers import JobStatus, read_machine_info, read_status
from spalloc_client._program import CommandError, note
from spalloc_client._session import Session
from spalloc_client._settings import Settings
from spalloc_client._text import clean
from spalloc_client.errors import JobDestroyedError
from spalloc_client.job import Job
from spalloc_client.states import JobState


def known_status(session: Session, job_id: int) -> JobStatus:
    """Return the status of a job; CommandError if the server does not know it."""
    status = read_status(session.call("get_job_state", job_id))
    if status.state is JobState.unknown:
        raise CommandError(f"the server does not know job {job_id} (any more)")
    return status


def list_hostnames(session: Session, job_id: int) -> None:
    """Print the host names of the job's boards as CSV."""
    status = known_status(session, job_id)
    info = read_machine_info(session.call("get_job_machine_info", job_id))
    if info.connections is None:
        raise CommandError(f"job {job_id} is {status.state.name} and has no boards")
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["x", "y", "hostname"])
    for (x, y), hostname in sorted(info.connections.items()):
        writer.writerow([x, y, clean(hostname)])


def destroy(session: Session, job_id: int, reason: str) -> None:
    """End the job."""
    status = known_status(session, job_id)
    if status.state is JobState.destroyed:
        note(f"job {job_id} was destroyed before: {status.reason or 'no reason given'}")
        return
    session.call("destroy_job", job_id, reason or None)
    note(f"job {job_id} destroyed")


def report(session: Session, job_id: int, where: str, text: str) -> None:
    """Tell the operators of trouble with a board: ``X,Y,Z``, or an address."""
    if not session.facility().offers("report_problem"):
        raise CommandError("this server takes no reports; 1.1.0 is needed")
    place = re.fullmatch(r"\(?(-?\d+), ?(-?\d+), ?(-?\d+)\)?", where)
    board = where if place is None else [int(number) for number in place.groups()]
    note(str(session.call("report_problem", job_id, board, text)))


def print_takeover_code(session: Session, job_id: int) -> None:
    """Print a code by which somebody else may take the job over."""
    if not session.facility().offers("get_takeover_code"):
        raise CommandError("this server knows no codes for taking jobs over; 1.1.0 is needed")
    code = session.call("get_takeover_code", job_id)
    if code is None:
        raise CommandError(f"the server does not know job {job_id} (any more)")
    print(code)


def switch(settings: Settings, session: Session, job_id: int, on: bool) -> None:
    """Switch the job's boards on or off, and wait until that is done."""
    status = known_status(session, job_id)
    if status.state not in {JobState.power, JobState.ready}:
        why = f": {status.reason}" if status.reason else ""
        raise CommandError(f"job {job_id} is {status.state.name}, it has no boards to switch{why}")
    job = Job(
        resume_job_id=job_id,
        hostname=settings.hostname,
        port=settings.port,
        timeout=settings.timeout,
        reconnect_delay=settings.reconnect_delay,
        tls=settings.tls,
        ca=settings.ca,
        cert=settings.cert,
        key=settings.key,
        config_filenames=[],
    )
    try:
        note(f"job {job_id}: switching its boards {'on' if on else 'off'} ...")
        job.set_power(on)
        job.wait_until_ready()
    except JobDestroyedError as exc:
        raise CommandError(f"job {job_id} was destroyed: {exc}") from None
    finally:
        job.close()
    note(f"job {job_id}: its boards are {'on' if on else 'off'}")
