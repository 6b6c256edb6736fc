"""The state of every board, in the words of the protocol.

Takes the tables of a controller under its lock and gives rows; changes nothing.  Times in
texts are local, with their zone.

A board's state is the first of `STATES` that holds::

    dead        the configuration says so, or has no such board
    used        a job has it
    resting     it is being switched off, or rests after use
    out         out of service: it failed, or an operator took it out
    unknown     its frame does not answer
    draining    an operator has it go out of service
    reserved    it is in the region that is kept for a waiting job
    free        it may be given to the next job

A board without a user goes out of service at once, so that one that is draining is used: its text
tells that.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from spalloc_server import _clock
from spalloc_server._jobs.quarantine import OPERATOR

if TYPE_CHECKING:
    from spalloc_server._jobs.health import Health
    from spalloc_server._jobs.power_downs import PowerDowns
    from spalloc_server._jobs.quarantine import Case, Quarantine
    from spalloc_server._jobs.records import MachineMap, Records
    from spalloc_server._places import Board, Frame
    from spalloc_server.job_queue import JobQueue

STATES = ("dead", "used", "resting", "out", "unknown", "draining", "reserved", "free")
DEAD, USED, RESTING, OUT, UNKNOWN, DRAINING, RESERVED, FREE = STATES

#: A board of ``list_boards``: x, y, z, state, job id, text.
Row = tuple[int, int, int, str, "int | None", "str | None"]


class MachineBoards:
    """The boards of one machine at one moment.

    Attributes
    ----------
    resting : dict
        {board: Unix time until which it rests; None while it is being switched off}.
    reserved : dict
        {board: id of the waiting job for which it is kept}, in any state.
    """

    def __init__(
        self,
        where: MachineMap,
        resting: dict[Board, float | None],
        quarantine: Quarantine,
        reserved: dict[Board, int] | None = None,
    ) -> None:
        self.resting = resting
        self.reserved = reserved or {}
        self._draining = {b for b, case in quarantine.cases.items() if case.kind == OPERATOR}
        self._machine = where.machine
        self._job_ids = dict(where.job_ids)
        self._out = {board: _about(case) for board, case in quarantine.cases.items()}
        self._unknown = _unknown(where, quarantine)

    @cached_property
    def counts(self) -> dict[str, int]:
        """{state: number of boards}, for all of `STATES`."""
        width, height = self._machine.width, self._machine.height
        dead = {b for b in self._machine.dead_boards if _is_within(b, width, height)}
        seen = set(dead)
        counts = dict.fromkeys(STATES, 0)
        counts[DEAD] = len(dead)
        for state, boards in (
            (USED, self._job_ids),
            (RESTING, self.resting),
            (OUT, self._out),
            (UNKNOWN, self._unknown),
            (RESERVED, self.reserved),
        ):
            before = len(seen)
            seen.update(boards)
            counts[state] = len(seen) - before
        counts[FREE] = width * height * 3 - len(seen)
        return counts

    @property
    def idle(self) -> int:
        """Number of boards that nobody has, kept for a job or not."""
        return self.counts[RESERVED] + self.counts[FREE]

    @cached_property
    def rows(self) -> list[Row]:
        """A row for every place of the machine's block, by x, y and z."""
        dead = self._machine.dead_boards
        return [
            (*board, DEAD, None, None) if board in dead else self._row(board)
            for board in block(0, 0, self._machine.width, self._machine.height)
        ]

    @cached_property
    def out_of_service(self) -> frozenset[Board]:
        """The boards that are out or unknown."""
        return frozenset((x, y, z) for x, y, z, state, *_ in self.rows if state in (OUT, UNKNOWN))

    def _row(self, board: Board) -> Row:
        if board in self._job_ids:
            return (*board, USED, self._job_ids[board], self._trouble(board))
        if board in self.resting:
            return (*board, RESTING, None, _rest(self.resting[board]))
        if board in self._out:
            return (*board, OUT, None, self._out[board])
        if board in self._unknown:
            return (*board, UNKNOWN, None, self._unknown[board])
        if board in self.reserved:
            return (*board, RESERVED, None, f"kept for job {self.reserved[board]}")
        return (*board, FREE, None, None)

    def _trouble(self, board: Board) -> str | None:
        """Name the later states that apply to a used board."""
        word = DRAINING if board in self._draining else OUT
        texts = [f"{word} {self._out[board]}"] if board in self._out else []
        texts += [f"{UNKNOWN} {self._unknown[board]}"] if board in self._unknown else []
        return "; ".join(texts) or None


class BoardStates:
    """The states of all machines' boards; made anew only if something has changed.

    Parameters
    ----------
    records : Records
    queue : JobQueue
        Knows the boards that rest.
    power_downs : PowerDowns
        Knows the boards that are being switched off.
    health : Health
        Knows the boards out of service, and the silent frames.
    """

    def __init__(
        self, records: Records, queue: JobQueue, power_downs: PowerDowns, health: Health
    ) -> None:
        self._records = records
        self._queue = queue
        self._power_downs = power_downs
        self._health = health
        self._made: dict[str, MachineBoards] = {}
        self._made_at = -1

    def of(self, name: str) -> MachineBoards:
        """Return the boards of a machine; the same object until an outcome is told."""
        if self._made_at != self._records.outcomes_told:
            self._made.clear()
            self._made_at = self._records.outcomes_told
        made = self._made.get(name)
        if made is None:
            where, quarantine = self._records.maps[name], self._health.quarantine_of(name)
            made = self._made[name] = MachineBoards(
                where, self._resting(name), quarantine, self._reserved(name)
            )
        return made

    def _reserved(self, name: str) -> dict[Board, int]:
        """Return the boards of the region that is kept for a job."""
        region = self._queue.region_on(name)
        if region is None:
            return {}
        job_id, place = region
        kind = "board" if len(place) == 3 else "triads"
        return dict.fromkeys(boards_in((kind, *place)), job_id)

    def _resting(self, name: str) -> dict[Board, float | None]:
        resting: dict[Board, float | None] = {}
        now, seconds = _clock.wall(), self._queue.seconds_before_free
        for footprint, rested in self._queue.resting().get(name, {}).values():
            until = now + max(0.0, seconds - rested)
            resting.update(dict.fromkeys(boards_in(footprint), until))
        for release in self._power_downs.going.values():
            if release.machine_name == name:
                resting.update(dict.fromkeys(release.boards))
        return resting


def _unknown(where: MachineMap, quarantine: Quarantine) -> dict[Board, str]:
    texts = {frame: _silence(where, frame, since) for frame, since in quarantine.silent.items()}
    return {board: text for frame, text in texts.items() for board in where.frame_boards(frame)}


def _silence(where: MachineMap, frame: Frame, since: float) -> str:
    return f"since {clock_time(since)}: BMP {where.hosts[frame]} does not answer"


def _rest(until: float | None) -> str:
    return "being switched off" if until is None else f"until {clock_time(until)}"


def _about(case: Case) -> str:
    return f"since {clock_time(case.since)}: {case.what}"


def clock_time(moment: float) -> str:
    """Return a Unix time as local time with its zone, and the date unless that is today's."""
    local = time.localtime(moment)
    today = time.localtime(_clock.wall())[:3] == local[:3]
    return time.strftime("%H:%M %Z" if today else "%Y-%m-%d %H:%M %Z", local)


def _is_within(board: Board, width: int, height: int) -> bool:
    x, y, z = board
    return 0 <= x < width and 0 <= y < height and 0 <= z <= 2


def boards_in(footprint: Sequence[Any]) -> Iterator[Board]:
    """Yield the boards of an allocation's footprint, see `Allocator.describe`."""
    kind, *numbers = footprint
    if kind == "board":
        x, y, z = numbers
        return iter([(x, y, z)])
    return block(*numbers)


def block(x: int, y: int, width: int, height: int) -> Iterator[Board]:
    """Yield the boards of a block of triads, by x, y and z."""
    return ((i, j, z) for i in range(x, x + width) for j in range(y, y + height) for z in range(3))
