"""Fills in the gaps of a follower: jobs from before the first event, and lost events.

Pure, apart from the recorder.  Jobs that the server has are added, with their boards;
jobs that it has no more are ended, with its memory of their end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from spalloc_server._history.places import place_of
from spalloc_server._history.recorder import Recorder

log = logging.getLogger(__name__)

#: The reason of a job that ended unheard, if the server does not remember it.
UNHEARD = "It ended while its events were lost."


def fill_in(
    recorder: Recorder,
    state: int,
    now: float,
    live: Sequence[Mapping[str, Any]],
    ended: Sequence[Any],
) -> None:
    """Bring the jobs of a state in line with the server's lists.

    Parameters
    ----------
    recorder : Recorder
    state : int
        The newest that events told of.
    now : float
        Unix time.
    live : sequence of dict
        From ``list_jobs``.
    ended : sequence
        From ``list_ended_jobs``: arrays or objects.
    """
    remembered = {}
    for row in ended:
        told = ended_job(row)
        remembered[told["id"]] = told
    alive = {job["job_id"] for job in live}
    for row in recorder.open_jobs(state):
        if row.job not in alive:
            end = remembered.get(row.job, {})
            if end and row.allocated is None and end.get("allocated") is not None:
                _allocate(recorder, state, row.job, end["allocated"], end)
            when = end.get("ended") or now
            fresh = recorder.job(state, row.job)
            assert fresh is not None
            recorder.end(
                fresh, when, end.get("reason", UNHEARD), end.get("by"), end.get("by_host")
            )
    for job in live:
        _fill_in_live(recorder, state, now, job)


def ended_job(row: Any) -> dict[str, Any]:
    """Return a row of ``list_ended_jobs`` by name."""
    if isinstance(row, Mapping):
        told = dict(row)
        told["id"] = told.get("id", told.get("job_id"))
        told["by"] = told.get("by", told.get("ended_by"))
        return told
    names = ("id", "owner", "host", "created", "allocated", "ready", "ended", "machine")
    return dict(zip((*names, "place", "boards", "reason", "by", "by_host"), row, strict=False))


def _fill_in_live(
    recorder: Recorder, state: int, now: float, job: Mapping[str, Any]
) -> None:
    job_id = job["job_id"]
    if recorder.job(state, job_id) is None:
        recorder.record(
            {
                "event": "created",
                "state": state,
                "job": job_id,
                "time": job["start_time"] or now,
                "owner": job["owner"],
                "host": job["keepalivehost"] or None,
                "keepalive": job["keepalive"],
                "args": job["args"],
                "kwargs": job["kwargs"],
            }
        )
    row = recorder.job(state, job_id)
    if row is not None and row.allocated is None and job["boards"]:
        about = {
            "machine": job["allocated_machine_name"],
            **place_of(job["boards"]),
        }
        # When it got them nobody knows: between its creation and now.
        _allocate(recorder, state, job_id, row.created, about)


def _allocate(
    recorder: Recorder, state: int, job: int, when: float, about: Mapping[str, Any]
) -> None:
    if about.get("machine") is None or about.get("place") is None:
        return
    boards = about.get("boards", 1)
    recorder.record(
        {
            "event": "allocated",
            "state": state,
            "job": job,
            "time": when,
            "machine": about["machine"],
            "place": about["place"],
            "boards": boards if isinstance(boards, int) else len(boards),
            "without": about.get("without"),
        }
    )
