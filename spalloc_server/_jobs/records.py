"""The jobs and machines of a controller, the lock that guards them, and their changes.

Owns the tables, and all that goes out of them: the sets of changes for watchers, lines of the job
log, and through the outlet the outcomes and the requests to frames (see `_jobs.book` and
`_jobs.write_ahead`).  Must not know why anything changes: the objects beside this one do, and all
of them share it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from spalloc_server import _clock
from spalloc_server._jobs import job_log
from spalloc_server._jobs.ended_jobs import EndedJobs
from spalloc_server._places import Frame

if TYPE_CHECKING:
    from spalloc_server._bmp.requests import AtomicRequests
    from spalloc_server._jobs.job import _Job
    from spalloc_server._jobs.machine_map import MachineMap
    from spalloc_server._jobs.write_ahead import Outlet
    from spalloc_server.async_bmp_controller import AsyncBMPController
    from spalloc_server.configuration import Machine

Frames = dict[Frame, "AsyncBMPController"]


class Records:
    """Jobs and machines as they are now.

    Parameters
    ----------
    next_id : int
        Id of the next job.
    max_retired_jobs : int
        Number of ended jobs that are remembered.
    outlet : Outlet
        Takes the outcomes and the requests.
    on_background_state_change : callable or None
        Called without arguments, from a frame's thread without the lock, when a job has
        become ready.

    Attributes
    ----------
    lock : RLock
        Guards everything here, and the queue, health and fleet beside it.  Re-entrant, since
        the queue calls back.
    jobs : dict
        {id: _Job}, oldest first.
    ended : EndedJobs
        The jobs that have ended.
    machines : dict
        {name: Machine}, highest priority first.
    maps : dict
        {name: MachineMap} of the same machines.
    frames : dict
        {name: {(cabinet, frame): AsyncBMPController}} of the same machines.
    changed_jobs, changed_machines : set
        Ids and names, to be told to watchers.
    outcomes_told : int
        Number of outcomes; the same number means the same state.
    due_is_stale : bool
        Whether anything has changed since `Controller.next_due` worked out its time.
    """

    def __init__(
        self,
        next_id: int,
        max_retired_jobs: int,
        outlet: Outlet,
        on_background_state_change: Callable[[], None] | None = None,
    ) -> None:
        self.lock = threading.RLock()
        self.next_id = next_id
        self.outlet = outlet
        self.on_background_state_change = on_background_state_change
        self.jobs: dict[int, _Job] = {}
        self.ended = EndedJobs(max_retired_jobs)
        self.machines: dict[str, Machine] = {}
        self.maps: dict[str, MachineMap] = {}
        self.frames: dict[str, Frames] = {}
        self.changed_jobs: set[int] = set()
        self.changed_machines: set[str] = set()
        self.outcomes_told = 0
        self.due_is_stale = True

    def tell(self, *outcome: Any) -> None:
        """Tell an outcome, see `_jobs.book`."""
        self.due_is_stale = True
        self.outcomes_told += 1
        self.outlet.note(outcome)

    def log(self, job_id: int, words: Callable[[], Sequence[str]]) -> None:
        """Have something told in the job log that happens to a job now.

        Parameters
        ----------
        job_id : int
        words : callable
            Makes the lines, in the thread of the job log's file: a function of
            `_jobs.job_log`, with facts that nobody changes afterwards.
        """
        for writer in job_log.writers:
            writer.put(partial(job_log.text_of, _clock.wall(), job_id, words))

    def ask(self, machine_name: str, requests: Mapping[Frame, AtomicRequests]) -> None:
        """Ask frames of a machine, each for one thing."""
        frames = self.frames[machine_name]
        for frame, request in requests.items():
            self.outlet.send(frames[frame], request)

    def take_changed_jobs(self) -> set[int]:
        """Hand over the ids of the jobs that changed since the last call."""
        if not self.changed_jobs:
            return set()
        with self.lock:
            changed, self.changed_jobs = self.changed_jobs, set()
            return changed

    def take_changed_machines(self) -> set[str]:
        """Hand over the names of the machines that changed since the last call."""
        if not self.changed_machines:
            return set()
        with self.lock:
            changed, self.changed_machines = self.changed_machines, set()
            return changed

    def take_changes(self) -> tuple[set[int], set[str]] | None:
        """Hand over both sets of changes at once; None if there are none."""
        if not self.changed_jobs and not self.changed_machines:
            return None
        with self.lock:
            return self.take_changed_jobs(), self.take_changed_machines()
