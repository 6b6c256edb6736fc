"""Boards on their way back: switched off frame by frame, then given out again.

A release outlives its job's record.  Guarded by the controller's lock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from spalloc_server._places import Board, Frame


class Release:
    """The boards of an ended job until every frame has switched its share off.

    Parameters
    ----------
    job_id : int
        Whose boards they were.
    machine_name : str
    allocation_id : int
        Which allocation of that machine they are.
    boards : collection of (x, y, z)

    Attributes
    ----------
    orphaned : bool
        Whether the machine has gone meanwhile, so that there is nothing to
        give the boards back to.
    """

    def __init__(
        self, job_id: int, machine_name: str, allocation_id: int, boards: Collection[Board]
    ) -> None:
        self.job_id = job_id
        self.machine_name = machine_name
        self.allocation_id = allocation_id
        self.boards = boards
        self.orphaned = False
        self._waiting: dict[Frame, tuple[str, list[int]]] = {}

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from all others."""
        return self.machine_name, self.allocation_id

    @property
    def done(self) -> bool:
        """Whether every frame has answered."""
        return not self._waiting

    def expect(self, frame: Frame, host: str, boards: list[int]) -> None:
        """Wait for a frame to switch off some of its boards (numbers in the frame)."""
        self._waiting[frame] = (host, boards)

    def answered(self, frame: Frame) -> tuple[str, list[int]]:
        """Note a frame's answer; returns its BMP's host and the boards."""
        return self._waiting.pop(frame)

    def outstanding(self) -> Iterator[tuple[str, list[int]]]:
        """Yield (BMP's host, boards) of each frame that has not answered."""
        yield from self._waiting.values()
