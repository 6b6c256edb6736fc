"""Orders about jobs: an operator ends or gives one; users end their own, and report boards."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from spalloc_web._facility.front import RefusedError
from spalloc_web._facility.picture import Job
from spalloc_web._orders.shapes import (
    MOST_REPORT,
    Desk,
    Input,
    JobNumber,
    NothingThereError,
    NotYoursError,
    Question,
    Result,
    Text,
    Words,
    counted,
    plain,
)

#: Boards that a list to choose from may have.
_MOST_CHOICES = 200
_CODE = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
_PRINCIPAL = Annotated[
    str, msgspec.Meta(pattern=r"^(host|unix|cert|user):.", max_length=300, min_length=6)
]
_BOARD = Annotated[str, msgspec.Meta(pattern=r"^ *[0-9]{1,6} *, *[0-9]{1,6} *, *[0-2] *$")]


class JobRow(msgspec.Struct, frozen=True):
    """A job, as operators see it."""

    id: int
    owner: str | None = None
    principal: str | None = None
    state: str = "unknown"
    machine: str | None = None
    boards: str | None = None
    keepalive_host: str | None = None
    created: float | None = None


class JobAsked(msgspec.Struct, frozen=True):
    """Names a job."""

    id: JobNumber


class EndGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ends a job, if it is still of that owner."""

    id: JobNumber
    owner: str
    reason: Text


class _Ended(msgspec.Struct, frozen=True):
    id: int
    reason: str


def _facts(row: JobRow) -> list[tuple[str, str]]:
    return [
        ("Owner", row.owner or "\N{EN DASH}"),
        ("Principal", row.principal or "\N{EN DASH}"),
        ("State", row.state),
        ("Has", f"{row.boards} of {row.machine}" if row.boards else "no boards yet"),
        ("Keeps it alive", row.keepalive_host or "nobody yet"),
    ]


async def ask_end(desk: Desk, asked: JobAsked) -> Question:
    """Ask before an operator ends a job."""
    row: JobRow = await desk.operate(JobRow, do="job", id=asked.id)
    owner = row.owner or ""
    return Question(
        f"End job {row.id} of {owner}?",
        f"End job {row.id}",
        [
            f"The job ends at once, and its boards are switched off. {owner} is told: Ended by an"
            f" operator, user:{desk.user.name}, and your reason."
        ],
        _facts(row),
        [Input("reason", "Reason, told to its owner")],
        {"id": str(row.id), "owner": owner},
        f"/jobs/{row.id}",
    )


async def end(desk: Desk, given: EndGiven) -> Result:
    """End a job."""
    ended: _Ended = await desk.operate(
        _Ended, do="end", id=given.id, if_owner=given.owner, reason=plain("reason", given.reason)
    )
    return Result(
        f"Job {ended.id} has ended",
        [f"{given.owner} is told: {ended.reason}."],
        f"/jobs/{ended.id}",
    )


class GiveGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Gives a job to another principal."""

    id: JobNumber
    principal: _PRINCIPAL


class _Given(msgspec.Struct, frozen=True):
    id: int
    before: str | None
    principal: str


async def ask_give(desk: Desk, asked: JobAsked) -> Question:
    """Ask before an operator gives a job to another principal."""
    row: JobRow = await desk.operate(JobRow, do="job", id=asked.id)
    return Question(
        f"Give job {row.id} of {row.owner} to another principal?",
        f"Give job {row.id}",
        [
            f"The new principal may end it and switch its boards; {row.principal} no longer may,"
            " where jobs are protected from each other, and no longer keeps it alive unless it is"
            " given to a host."
        ],
        _facts(row),
        [
            Input(
                "principal",
                "New principal",
                hint="host:ADDRESS, unix:UID, cert:NAME or user:NAME",
                most=300,
            )
        ],
        {"id": str(row.id)},
        f"/jobs/{row.id}",
    )


async def give(desk: Desk, given: GiveGiven) -> Result:
    """Give a job to another principal."""
    principal = plain("principal", given.principal)
    done: _Given = await desk.operate(_Given, do="give", id=given.id, principal=principal)
    return Result(
        f"Job {done.id} has another principal",
        [f"It was of {done.before}, and is of {done.principal}."],
        f"/jobs/{done.id}",
    )


# --- users ---


class EndOwnGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ends one's own job."""

    id: JobNumber
    reason: Text | None = None
    code: _CODE | None = None


def _job(desk: Desk, job_id: int) -> Job:
    job = desk.picture.jobs.get(job_id)
    if job is None:
        raise NothingThereError(f"There is no job {job_id} now.")
    return job


async def ask_end_own(desk: Desk, asked: JobAsked) -> Question:
    """Ask before a user ends a job."""
    job = _job(desk, asked.id)
    own = desk.user.is_owner(job.owner)
    sentences = ["The job ends at once, and its boards are switched off."]
    hint = (
        "needed if the server protects the job of another principal;"
        f" spalloc-job {job.job_id} --takeover-code prints it"
    )
    if not own:
        sentences.insert(
            0,
            f"This job is of {job.owner}. You can end it if an operator gave it to you, or with"
            " its code.",
        )
        hint = f"spalloc-job {job.job_id} --takeover-code prints it for its owner"
    return Question(
        f"End job {job.job_id} of {job.owner}?",
        f"End job {job.job_id}",
        sentences,
        [
            ("Owner", job.owner),
            ("State", job.state),
            (
                "Has",
                f"{counted(len(job.boards), 'board')} of {job.machine}"
                if job.boards
                else "no boards yet",
            ),
        ],
        [
            Input("reason", "Reason, kept with the job", required=False),
            Input("code", "Take-over code", kind="secret", hint=hint, required=False, most=100),
        ],
        {"id": str(job.job_id)},
        f"/jobs/{job.job_id}",
    )


async def end_own(desk: Desk, given: EndOwnGiven) -> Result:
    """End a user's own job, or one of which the user has the code."""
    job = _job(desk, given.id)
    if not (given.code or desk.user.is_owner(job.owner) or await _is_principal(desk, job)):
        raise NotYoursError(
            f"Job {job.job_id} is of {job.owner}, not of {desk.user.name}. Ask its owner for the"
            " take-over code, or an operator."
        )
    reason = plain("reason", given.reason or f"ended on the pages by {desk.user.name}")
    if given.code and not await desk.call("take_over_job", job.job_id, given.code):
        raise NothingThereError(f"There is no job {job.job_id} now.")
    await desk.call("destroy_job", job.job_id, reason)
    return Result(f"Job {job.job_id} has ended", [f"Reason: {reason}."], f"/jobs/{job.job_id}")


async def _is_principal(desk: Desk, job: Job) -> bool:
    """Whether the server knows a job as the user's: it gives its code to nobody else.

    An earlier code is void then; the job ends anyway.
    """
    try:
        return await desk.call("get_takeover_code", job.job_id) is not None
    except RefusedError:
        return False


class ReportAsked(msgspec.Struct, frozen=True):
    """Names a job, and a board of it."""

    id: JobNumber
    board: _BOARD | None = None


class ReportGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Reports a board."""

    id: JobNumber
    board: _BOARD
    text: Words


async def ask_report(desk: Desk, asked: ReportAsked) -> Question:
    """Ask before a user reports a board."""
    job = _job(desk, asked.id)
    if not job.boards:
        raise NothingThereError(f"Job {job.job_id} has no boards.")
    chosen = re.sub(r"\s", "", asked.board or "")
    names = [",".join(map(str, board)) for board in job.boards]
    few = len(names) <= _MOST_CHOICES
    return Question(
        f"Report a board of job {job.job_id} of {job.owner}?",
        "Report the board",
        [
            "The report counts if it comes from the computer that keeps the job alive; a board"
            " that is reported from two is tested. Any other is noted for the operators.",
            f"It comes from {desk.address or 'an unknown address'}.",
        ],
        [("Machine", job.machine or ""), ("Keeps it alive", job.host or "nobody yet")],
        [
            Input(
                "board",
                "Board",
                value=chosen,
                kind="choice" if few else "text",
                hint="" if few else "x, y, z",
                choices=tuple((name, f"({name.replace(',', ', ')})") for name in names)
                if few
                else (),
                most=30,
            ),
            Input("text", "Your observation", kind="area", most=MOST_REPORT),
        ],
        {"id": str(job.job_id)},
        f"/jobs/{job.job_id}",
    )


async def report(desk: Desk, given: ReportGiven) -> Result:
    """Report a board."""
    x, y, z = (int(part) for part in given.board.split(","))
    words = plain("text", given.text)
    done = await desk.call("report_problem", given.id, x, y, z, words)
    return Result(
        f"Board ({x}, {y}, {z}) of job {given.id} is reported",
        [f"Consequence: {done}."],
        f"/jobs/{given.id}",
    )
