"""What a controller holds under its lock, and who is told when it changes.

Owns the sets of changes and the outcomes that go out (see `_jobs.book`). Knows nothing of
why anything changes: that is in the rooms above, which `controller` puts together.
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from spalloc_server._jobs.job import _Job

if TYPE_CHECKING:
    from spalloc_server._jobs.fleet import Fleet, Frames
    from spalloc_server._jobs.health import Health
    from spalloc_server._jobs.machine_map import MachineMap
    from spalloc_server._jobs.power_downs import PowerDowns
    from spalloc_server._jobs.write_ahead import Outlet
    from spalloc_server.configuration import Machine
    from spalloc_server.job_queue import JobQueue


class Records:
    """Jobs, machines and frames as they are now; set up by the controller.

    Attributes
    ----------
    undisturbed : context manager
        In which other threads keep out, for several calls in a row.
    """

    undisturbed: AbstractContextManager[bool]
    #: Guards everything below; re-entrant, since the queue calls back.
    _lock: threading.RLock
    _next_id: int
    _jobs: dict[int, _Job]
    _retired_jobs: dict[int, str | None]
    _machines: dict[str, Machine]
    _maps: dict[str, MachineMap]
    _bmp_controllers: dict[str, Frames]
    _job_queue: JobQueue
    _power_downs: PowerDowns
    _health: Health
    _fleet: Fleet
    _outlet: Outlet
    _changed_jobs: set[int]
    _changed_machines: set[str]
    _due_is_stale: bool

    def _tell(self, *outcome: Any) -> None:
        self._due_is_stale = True
        self._outlet.note(outcome)

    # --- changes that somebody may want to hear of ---

    @property
    def changed_jobs(self) -> set[int]:
        """Ids of the jobs that changed since this was last asked; hands them over."""
        if not self._changed_jobs:
            return set()
        with self._lock:
            changed, self._changed_jobs = self._changed_jobs, set()
            return changed

    @property
    def changed_machines(self) -> set[str]:
        """Names of the machines that changed since this was last asked; hands them over."""
        if not self._changed_machines:
            return set()
        with self._lock:
            changed, self._changed_machines = self._changed_machines, set()
            return changed

    def take_changes(self) -> tuple[set[int], set[str]] | None:
        """Hand over both sets of changes at once; None if there are none."""
        if not self._changed_jobs and not self._changed_machines:
            return None
        with self._lock:
            return self.changed_jobs, self.changed_machines

    # --- to be overridden ---

    def _note_dead_changes(self) -> None:
        """Be overridden: dead boards and links may have been changed in place."""
