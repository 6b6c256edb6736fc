"""Free overtaking, a yardstick: a job that fits now gets boards, and nothing is kept for anybody.

The server has no such order, since it lets big jobs starve.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spalloc_server._history.simulation import server_queue
from spalloc_server.allocator import Allocation
from spalloc_server.job_queue import JobQueue


class FreeOvertaking:
    """A queue for one machine, with the callbacks of `JobQueue`; finds any free rectangle."""

    def __init__(
        self,
        on_allocate: Callable[..., object],
        on_free: Callable[[int, str | None], object],
        on_cancel: Callable[[int, str | None], object],
        seconds_before_free: float,
    ) -> None:
        self._on_allocate = on_allocate
        self._on_free = on_free
        self._on_cancel = on_cancel
        made = server_queue("fcfs-grid")(None, None, None, seconds_before_free)
        assert isinstance(made, JobQueue)
        self._maker = made
        self._name = ""
        self._waiting: dict[int, tuple[tuple[int, ...], dict[str, Any]]] = {}
        self._has: dict[int, int] = {}

    def add_machine(  # noqa: PLR0917 - as JobQueue has it
        self,
        name: str,
        width: int,
        height: int,
        tags: Any = None,
        dead_boards: Any = frozenset(),
        dead_links: Any = frozenset(),
    ) -> None:
        """Add the machine."""
        self._maker.add_machine(name, width, height, tags, dead_boards, dead_links)
        self._name = name
        self._allocator = self._maker._machines[name].allocator

    def create_job(self, *what: int, job_id: int, **limits: Any) -> None:
        """Give a newcomer boards if there is a place for it, though others wait."""
        if not self._allocator.alloc_possible(*what, **limits):
            self._on_cancel(job_id, "No suitable machines available.")
        elif not self._start(job_id, what, limits):
            self._waiting[job_id] = (what, limits)

    def destroy_job(self, job_id: int, reason: str | None = None) -> None:
        """End a job."""
        if self._waiting.pop(job_id, None) is not None:
            self._on_cancel(job_id, reason)
        else:
            self._on_free(job_id, reason)

    def free(self, job_id: int) -> None:
        """Let the boards of an ended job rest."""
        self._allocator.free(self._has.pop(job_id))

    def check_free(self) -> None:
        """Try everybody, oldest first, once boards came back."""
        if not self._allocator.check_free():
            return
        failed = set()
        for job_id, (what, limits) in list(self._waiting.items()):
            request = (what, tuple(sorted(limits.items())))
            if request not in failed:
                if self._start(job_id, what, limits):
                    del self._waiting[job_id]
                else:
                    failed.add(request)

    def next_rested(self) -> float | None:
        """Tell when boards will have rested."""
        return self._allocator.next_rested

    def machines_for(self, _: int) -> list[str]:
        """Return the machine."""
        return [self._name]

    def _start(self, job_id: int, what: tuple[int, ...], limits: dict[str, Any]) -> bool:
        allocation: Allocation | None = self._allocator.alloc(*what, **limits)
        if allocation is None:
            return False
        self._has[job_id], *rest = allocation
        self._on_allocate(job_id, self._name, *rest)
        return True
