"""What tests of job queues say again and again."""

from collections.abc import Collection
from typing import Any

from spalloc_server._places import Board
from spalloc_server.job_queue import JobQueue


class Owner:
    """Owns a queue and notes what it is told, in one list.

    Attributes
    ----------
    told : list
        ("allocate", job_id, machine_name), ("free", job_id, reason),
        ("cancel", job_id, reason), ("rested", machine_name, allocation_ids),
        ("blocked", job_id, machine_name, boards).
    boards : dict
        Boards by job.
    """

    def __init__(self, seconds_before_free: float = 0) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.boards: dict[int, set[Board]] = {}
        self.queue = JobQueue(
            self.on_allocate, self.on_free, self.on_cancel, seconds_before_free
        )
        self.queue.on_rested = self.on_rested

    # Only positional arguments are accepted.

    def on_allocate(
        self, job_id: int, machine: str, boards: set[Board], periphery: Any, torus: Any, /
    ) -> None:
        self.told.append(("allocate", job_id, machine))
        self.boards[job_id] = boards

    def on_free(self, job_id: int, reason: str | None, /) -> None:
        self.told.append(("free", job_id, reason))

    def on_cancel(self, job_id: int, reason: str | None, /) -> None:
        self.told.append(("cancel", job_id, reason))

    def on_rested(self, machine: str, allocation_ids: list[int], /) -> None:
        self.told.append(("rested", machine, allocation_ids))

    def on_blocked(self, job_id: int, machine: str, boards: Collection[Board], /) -> None:
        self.told.append(("blocked", job_id, machine, set(boards)))

    def news(self) -> list[tuple[Any, ...]]:
        """What was told since the last time, resting left out."""
        news = [event for event in self.told if event[0] != "rested"]
        self.told.clear()
        return news

    def waiting(self, machine: str) -> list[int]:
        """Jobs that wait for a machine, in order."""
        return [job.id for job in self.queue._machines[machine].queue if job.pending]

    def finish(self, job_id: int) -> None:
        """End a job and give its boards back."""
        self.queue.destroy_job(job_id)
        self.queue.free(job_id)
