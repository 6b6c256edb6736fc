"""What can be asked of a controller: rows, places, counts.

Everything here only looks; what changes jobs and machines is in `controller`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spalloc_server._jobs import census as _census
from spalloc_server._jobs.job import JobTuple, MachineTuple
from spalloc_server._jobs.records import Records
from spalloc_server._jobs.whereabouts import where_is
from spalloc_server._places import Board, Place

if TYPE_CHECKING:
    from spalloc_server._jobs.health import OutOfService


class Queries(Records):
    """The questions that a controller answers; any thread."""

    # --- jobs and machines ---

    def list_jobs(self) -> list[JobTuple]:
        """Return the jobs, oldest first; a row is the same object until its job changes."""
        with self._lock:
            return [job.row() for job in self._jobs.values()]

    def list_machines(self) -> list[MachineTuple]:
        """Return the machines, highest priority first."""
        with self._lock:
            self._note_dead_changes()
            return [
                MachineTuple(
                    machine.name,
                    set(machine.tags),
                    machine.width,
                    machine.height,
                    set(machine.dead_boards),
                    set(machine.dead_links),
                )
                for machine in self._machines.values()
            ]

    def get_board_position(self, machine_name: str, x: int, y: int, z: int) -> Place | None:
        """Return the (cabinet, frame, board) of a board, None if there is none."""
        with self._lock:
            where = self._maps.get(machine_name)
            return None if where is None else where.locate((x, y, z))

    def get_board_at_position(self, machine_name: str, x: int, y: int, z: int) -> Board | None:
        """Return the logical place of the board at cabinet x, frame y, board z."""
        with self._lock:
            where = self._maps.get(machine_name)
            return None if where is None else where.at(Place((x, y, z)))

    def where_is(self, /, **keywords: Any) -> dict[str, Any] | None:
        """Find a board or chip and tell every way of naming it.

        Exactly one of these sets of keywords: machine, x, y, z; machine,
        cabinet, frame, board; machine, chip_x, chip_y; job_id, chip_x, chip_y.

        Returns
        -------
        dict or None
            machine, logical, physical, chip, board_chip, job_id, job_chip;
            None if there is no such thing.

        Raises
        ------
        TypeError
            For any other set of keywords, or what is not a whole number.
        """
        with self._lock:
            return where_is(self._maps, self._jobs, keywords)

    # --- counting ---

    def census(self, timeout: float = -1) -> _census.Census | None:
        """Count jobs, boards and what the frames did.

        Parameters
        ----------
        timeout : float
            Seconds to wait for whoever is at work on them; -1 for ever.

        Returns
        -------
        Census or None
            None if they could not be had in time.
        """
        if not self._lock.acquire(timeout=timeout):
            return None
        try:
            return _census.take_census(
                self._next_id,
                self._jobs,
                self._retired_jobs,
                self._maps,
                self._bmp_controllers,
                self._power_downs.going.values(),
                self._job_queue,
                [(row.machine, row.board) for row in self._health.out_of_service()],
            )
        finally:
            self._lock.release()

    # --- boards out of service ---

    def out_of_service(self) -> list[OutOfService]:
        """Return the boards that are not handed out because something is wrong with them."""
        with self._lock:
            return self._health.out_of_service()

    def waiting_jobs(self) -> list[tuple[int, str, frozenset[Board]]]:
        """Return which queued jobs wait for boards out of service: (id, machine, boards)."""
        with self._lock:
            return [
                (job_id, name, boards)
                for job_id, machines in sorted(self._job_queue.blocked().items())
                for name, boards in machines.items()
            ]
