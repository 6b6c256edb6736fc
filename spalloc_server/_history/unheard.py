"""Fills in the gaps of a follower: jobs from before the first event, and lost events.

Pure, apart from the recorder.  Jobs that the server has, or remembers, are added; jobs that it
has no more are ended, with its memory of their end.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from spalloc_server._history.exported import events_of_row
from spalloc_server._history.places import place_of
from spalloc_server._history.recorder import Party, Recorder

log = logging.getLogger(__name__)

#: The reason of a job that ended unheard, if the server does not remember it.
UNHEARD = "It ended while its events were lost."


def fill_in(
    recorder: Recorder,
    state: int,
    now: float,
    live: Sequence[Mapping[str, Any]],
    ended: Sequence[Mapping[str, Any]],
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
    ended : sequence of dict
        From ``list_ended_jobs``.
    """
    alive = {job["job_id"] for job in live}
    for job in reversed(ended):
        _fill_in_ended(recorder, state, job)
    for row in recorder.open_jobs(state):
        if row.job not in alive:
            recorder.end(row, now, UNHEARD, Party())
    for job in live:
        _fill_in_live(recorder, state, now, job)


def _fill_in_ended(recorder: Recorder, state: int, job: Mapping[str, Any]) -> None:
    """Tell the whole life of an ended job: the recorder leaves out the events it knows."""
    if job["created"] is None or job["ended"] is None:
        return
    row = {**job, "state": state, "job": job["job_id"], "ended_by": job["by"]}
    row.update(ended_by_host=job["by_host"], ended_by_principal=job.get("by_principal"))
    known = recorder.job(state, job["job_id"])
    if known is not None:
        row["created"] = known.created
    for event in events_of_row(row):
        if known is None or known.allocated is None or event["event"] != "allocated":
            recorder.record(event)


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
        recorder.record(
            {
                "event": "allocated",
                "state": state,
                "job": job_id,
                # When it got them nobody knows: between its creation and now.
                "time": row.created,
                "machine": job["allocated_machine_name"],
                **place_of(job["boards"]),
            }
        )

