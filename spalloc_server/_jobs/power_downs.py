"""Boards on their way to off.

Owns three kinds of power-off: boards of ended and moved jobs, which then go back to the queue;
boards that no job has; and boards of machines that are gone.  Guarded by the controller's
lock; the frames' answers take it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server._jobs import job_log
from spalloc_server._jobs.release import Release
from spalloc_server._places import Board, Frame

if TYPE_CHECKING:
    from spalloc_server._jobs.fleet import Fleet
    from spalloc_server._jobs.health import Health
    from spalloc_server._jobs.job import _Job
    from spalloc_server._jobs.records import MachineMap, Records
    from spalloc_server.job_queue import JobQueue

log = logging.getLogger(__name__)


class PowerDowns:
    """The boards that are being switched off.

    Parameters
    ----------
    records : Records
        The machines' maps; takes the requests.
    queue : JobQueue
        Takes boards back.
    fleet : Fleet
        Switches off the boards of machines that are gone.
    health : Health
        Told of boards that could not be switched off.

    Attributes
    ----------
    going : dict
        {(machine name, allocation id): Release}, boards of ended jobs.
    orphans : dict
        {BMP's host: numbers of boards}, of machines that are gone.
    """

    def __init__(self, records: Records, queue: JobQueue, fleet: Fleet, health: Health) -> None:
        self.going: dict[tuple[str, int], Release] = {}
        self.orphans: dict[str, set[int]] = {}
        self._lock = records.lock
        self._maps = records.maps
        self._records = records
        self._queue = queue
        self._fleet = fleet
        self._health = health

    # --- boards of ended jobs ---

    def take_back(self, job: _Job, machine_name: str, allocation_id: int) -> None:
        """Switch off the boards that a job has no more; its record may be gone."""
        job_ids = self._maps[machine_name].job_ids
        boards = job.boards or set()
        for board in boards:
            job_ids.pop(board, None)
        self._records.changed_machines.add(machine_name)
        self.begin(Release(job.id, machine_name, allocation_id, boards))

    def begin(self, release: Release) -> None:
        """Ask the frames to switch a release's boards off."""
        where = self._maps[release.machine_name]
        frames = self._records.frames[release.machine_name]
        self.going[release.key] = release
        requests: dict[Frame, AtomicRequests] = {}
        by_frame = where.by_frame(release.boards)
        for frame, boards in by_frame.items():
            release.expect(frame, frames[frame].hostname, [number for _, number in boards])
            done = partial(self._boards_off, release, frame)
            requests[frame] = _off(done, (number for _, number in boards))
            requests[frame].job_id = release.job_id
        off = job_log.Where(release.machine_name, where.hosts, by_frame)
        self._records.log(release.job_id, partial(job_log.powered, off, False))
        self._records.ask(release.machine_name, requests)

    def _boards_off(
        self, release: Release, frame: Frame, success: bool, reason: str | None = None
    ) -> None:
        """Give a release's boards back once all its frames have answered (a frame's thread)."""
        with self._lock:
            host, boards = release.answered(frame)
            if not success:
                log.error(
                    "boards of job %d not powered off: %s",
                    release.job_id,
                    reason,
                    extra={"job_id": release.job_id},
                )
                if not release.orphaned:
                    self._health.note(
                        release.machine_name, frame, reason, "power_off", job_id=release.job_id
                    )
            if release.orphaned:
                self._orphan_off(host, boards)
            elif release.done:
                self._give_back(release)

    def _give_back(self, release: Release) -> None:
        del self.going[release.key]
        if release.allocation_id > 0:
            self._records.tell("returned", release.machine_name, release.allocation_id)
        held = self._queue.allocation_of(release.job_id)
        if release.allocation_id <= 0 or held == release.key:
            self._queue.free(release.job_id)
        else:
            # The job was moved, or its record went with an earlier life of the server.
            self._queue.free_boards(*release.key)

    # --- boards that no job has ---

    def switch_off(self, where: MachineMap, boards: Collection[Board]) -> None:
        """Switch off boards that no job has."""
        requests = {
            frame: _off(
                partial(self._switched_off, where, frame), (number for _, number in its_boards)
            )
            for frame, its_boards in where.by_frame(boards).items()
        }
        self._records.ask(where.machine.name, requests)

    def _switched_off(
        self, where: MachineMap, frame: Frame, success: bool, reason: str | None = None
    ) -> None:
        if success:
            return
        name = where.machine.name
        with self._lock:
            log.error("machine %s, frame %s: boards not switched off: %s", name, frame, reason)
            if self._maps.get(name) is where:
                self._health.note(name, frame, reason, "power_off")

    # --- boards of machines that are gone ---

    def orphan(self, name: str) -> dict[str, list[int]]:
        """Leave a machine; returns {host: boards} that its frames have yet to switch off."""
        orphans: dict[str, list[int]] = {}
        for key in [key for key in self.going if key[0] == name]:
            release = self.going.pop(key)
            release.orphaned = True
            for host, boards in release.outstanding():
                orphans.setdefault(host, []).extend(boards)
                self.orphans.setdefault(host, set()).update(boards)
        return orphans

    def _orphan_off(self, host: str, boards: Collection[int]) -> None:
        left = self.orphans.pop(host, set()) - set(boards)
        if left:
            self.orphans[host] = left
        self._records.tell("orphan_off", host, sorted(boards))

    def _orphan_answered(
        self, host: str, boards: list[int], success: bool, reason: str | None = None
    ) -> None:
        with self._lock:
            if not success:
                log.error("boards %s of %s not powered off: %s", boards, host, reason)
            self._orphan_off(host, boards)

    # --- the book ---

    def plain_going(self) -> dict[str, dict[int, Any]]:
        """Return the boards of ended jobs for the book."""
        going: dict[str, dict[int, Any]] = {}
        for release in self.going.values():
            going.setdefault(release.machine_name, {})[release.allocation_id] = {
                "job": release.job_id,
                "outcome": list(self._queue.outcome_of(*release.key)),
                "boards": sorted(list(board) for board in release.boards),
            }
        return going

    def plain_orphans(self) -> dict[str, list[int]]:
        """Return the boards of machines that are gone for the book."""
        return {host: sorted(boards) for host, boards in self.orphans.items()}

    def impose(
        self, going: Mapping[str, Mapping[int, Any]], orphans: Mapping[str, list[int]]
    ) -> None:
        """Impose a book's boards on their way to off, and ask the frames for all of it again."""
        for host, boards in orphans.items():
            self.orphans[host] = set(boards)
            done = partial(self._orphan_answered, host, boards)
            self._fleet.finish(host, _off(done, boards))
        for name, allocations in going.items():
            for allocation_id, plain in allocations.items():
                self._queue.restore_boards(name, allocation_id, tuple(plain["outcome"]))
                held = [(x, y, z) for x, y, z in plain["boards"]]
                self.begin(Release(plain["job"], name, allocation_id, held))


def _off(done: Callable[..., None], numbers: Iterable[int]) -> AtomicRequests:
    """Return a request to switch boards of one frame off."""
    request = AtomicRequests(done)
    for number in numbers:
        request.power(number, False)
    return request
