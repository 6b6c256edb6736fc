"""Makes shapes of pictures, for a reader of a given class."""

from __future__ import annotations

from collections.abc import Iterable

from spalloc_web._facility.marks import COLOURS, letters
from spalloc_web._facility.picture import Job, Machine, Picture, Status
from spalloc_web._facility.replies import BoardRow, WaitingReply
from spalloc_web._shown.shapes import (
    BoardShown,
    Changes,
    JobShown,
    MachineShown,
    MachineSummary,
    StatusShown,
    WaitingShown,
    Whole,
    WhyShown,
)
from spalloc_web._sight import Sight


def status_shown(status: Status, now: float, notices: Iterable[str] = ()) -> StatusShown:
    """Show the status; `now` in Unix seconds, `notices` are troubles with notices."""
    return StatusShown(
        server=status.server,
        version=status.version,
        away_since=status.away_since,
        trouble=status.trouble,
        as_of=status.as_of,
        now=now,
        message=status.message,
        accepting=status.accepting,
        scheduling=status.scheduling,
        patience=status.patience,
        missing=list(status.missing),
        notices=list(notices),
    )


def board_shown(row: BoardRow, sight: Sight) -> BoardShown:
    """Show a board."""
    return row if sight.names else (*row[:5], None)


def machine_shown(machine: Machine, sight: Sight) -> MachineShown:
    """Show a machine with its boards."""
    return MachineShown(
        name=machine.name,
        width=machine.width,
        height=machine.height,
        tags=list(machine.tags),
        exact=machine.exact,
        dead_links=list(machine.dead_links),
        boards=[board_shown(row, sight) for row in machine.boards],
    )


def machine_summary(machine: Machine, jobs: Iterable[Job]) -> MachineSummary:
    """Show a machine in a list."""
    return MachineSummary(
        name=machine.name,
        width=machine.width,
        height=machine.height,
        tags=list(machine.tags),
        boards=len(machine.boards),
        states=machine.counts(),
        jobs=sum(job.machine == machine.name for job in jobs),
    )


def job_shown(job: Job, sight: Sight) -> JobShown:
    """Show a job."""
    return JobShown(
        job_id=job.job_id,
        state=job.state,
        letter=None if job.mark is None else letters(job.mark),
        colour=None if job.mark is None else job.mark % COLOURS,
        owner=job.owner if sight.names else None,
        host=job.host if sight.names else None,
        created=job.created,
        allocated=job.allocated,
        ready=job.ready,
        keepalive=job.keepalive,
        power=job.power,
        args=list(job.args),
        kwargs=dict(job.kwargs),
        machine=job.machine,
        boards=len(job.boards),
    )


def waiting_shown(waiting: WaitingReply) -> WaitingShown:
    """Show a waiting job; why it waits names no people."""
    return WaitingShown(
        job_id=waiting.job_id,
        position=waiting.position,
        ahead=waiting.ahead,
        first_ahead=waiting.first_ahead,
        machines=[WhyShown(name=m.name, why=m.why, until=m.until) for m in waiting.machines],
        expected=waiting.expected,
    )


def whole(picture: Picture, sight: Sight, status: StatusShown) -> Whole:
    """Show everything."""
    return Whole(
        n=picture.number,
        status=status,
        machines=[machine_shown(machine, sight) for machine in picture.machines.values()],
        jobs=[job_shown(job, sight) for job in picture.jobs.values()],
        queue=[waiting_shown(waiting) for waiting in picture.queue],
    )


def changes(old: Picture, new: Picture, sight: Sight, status: StatusShown) -> Changes:
    """Show the differences between two pictures.

    Parameters
    ----------
    old, new
        The pictures.
    sight
        How much the reader sees.
    status
        Of the new picture.
    """
    machines, boards = _changed_machines(old, new, sight)
    order = list(new.machines)
    return Changes(
        kind="changes",
        n=new.number,
        base=old.number,
        status=status,
        order=order if order != list(old.machines) else None,
        machines=machines,
        boards=boards,
        jobs=[
            job_shown(job, sight)
            for job in new.jobs.values()
            if old.jobs.get(job.job_id) != job
        ],
        gone_jobs=[job_id for job_id in old.jobs if job_id not in new.jobs],
        queue=None if new.queue == old.queue else [waiting_shown(w) for w in new.queue],
    )


def _changed_machines(
    old: Picture, new: Picture, sight: Sight
) -> tuple[list[MachineShown], dict[str, list[BoardShown]]]:
    machines = []
    boards = {}
    for name, machine in new.machines.items():
        before = old.machines.get(name)
        if before is None or not _same_shape(before, machine):
            machines.append(machine_shown(machine, sight))
            continue
        if before.boards is machine.boards:
            continue
        changed = [
            board_shown(row, sight)
            for row, was in zip(machine.boards, before.boards, strict=True)
            if row != was and board_shown(row, sight) != board_shown(was, sight)
        ]
        if changed:
            boards[name] = changed
    return machines, boards


def _same_shape(before: Machine, machine: Machine) -> bool:
    if (before.width, before.height, before.tags, before.dead_links, before.exact) != (
        machine.width,
        machine.height,
        machine.tags,
        machine.dead_links,
        machine.exact,
    ):
        return False
    return len(before.boards) == len(machine.boards) and all(
        row[:3] == was[:3] for row, was in zip(machine.boards, before.boards, strict=True)
    )
