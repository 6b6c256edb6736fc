"""A controller's jobs as the book has them, and a book imposed on a controller.

A friend of `controller`, beside which it stands only to keep both readable:
nothing is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spalloc_server._jobs.job import JobState, _Job, job_from_plain, plain_request
from spalloc_server.links import Links

if TYPE_CHECKING:
    from spalloc_server._jobs.book import Book
    from spalloc_server.controller import Controller
    from spalloc_server.job_queue import JobQueue


def plain_job(job: _Job, queue: JobQueue) -> dict[str, Any]:
    """Return a job as a book has it."""
    held = queue.allocation_of(job.id)
    return {
        **plain_request(job),
        "state": int(job.state),
        "power": job.power,
        "attempts": job.attempts,
        "was_ready": job.was_ready,
        "allocation": None if held is None else plain_allocation(job, queue),
    }


def plain_allocation(job: _Job, queue: JobQueue) -> dict[str, Any]:
    """Return the boards of a job, which it must have, as a book has them."""
    held = queue.allocation_of(job.id)
    assert held is not None
    return {
        "machine": held[0],
        "id": held[1],
        "outcome": list(queue.outcome_of(*held)),
        "boards": sorted(list(board) for board in job.boards or ()),
        "periphery": sorted([x, y, z, int(n)] for x, y, z, n in job.periphery or ()),
        "torus": int(job.torus or 0),
    }


def impose(controller: Controller, book: Book) -> None:
    """Impose a book on a controller that has its machines and frames, but nothing else.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the book contradicts itself.
    """
    controller._retired_jobs = dict(book["retired"])
    for name, allocations in book["resting"].items():
        for allocation_id, (outcome, rested) in allocations.items():
            controller._job_queue.restore_resting(name, allocation_id, tuple(outcome), rested)
    controller._power_downs.impose(book["going"], book["orphans"])
    for job_id, record in book["jobs"].items():
        _impose_job(controller, job_id, record)
    # After the allocations, some of which may be of boards that are out.
    controller._health.impose(book["quarantine"])
    controller._health.ask_silent_frames()


def _impose_job(controller: Controller, job_id: int, record: dict[str, Any]) -> None:
    job = job_from_plain(job_id, record)
    controller._jobs[job_id] = job
    controller._keep_alive(job)
    request = job.request
    plain = record["allocation"]
    held = None
    if plain is not None:
        held = (plain["machine"], plain["id"], tuple(plain["outcome"]))
    controller._job_queue.restore_job(
        job_id, request.boards, machine=request.machine, tags=request.tags, allocation=held
    )
    if plain is not None:
        _impose_boards(controller, job, record)


def _impose_boards(controller: Controller, job: _Job, record: dict[str, Any]) -> None:
    """Give a job the boards that it had, and finish what was begun with them."""
    plain = record["allocation"]
    boards = [(x, y, z) for x, y, z in plain["boards"]]
    periphery = [(x, y, z, Links(link)) for x, y, z, link in plain["periphery"]]
    controller._settle(job, plain["machine"], boards, periphery, plain["torus"])
    job.was_ready = record["was_ready"]
    if record["state"] == JobState.ready:
        job.state, job.power = JobState.ready, record["power"]
    else:
        power = record["power"] is not False
        controller._set_job_power_and_links(job, power, link_enable=False if power else None)
