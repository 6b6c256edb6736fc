"""The state of every board, in the words of the protocol.

Takes the tables of a controller under its lock and gives rows; changes nothing.  Times in
texts are local, with their zone.

A board's state is the first of `STATES` that holds::

    dead        the configuration says so, or has no such board
    used        a job has it
    resting     it is being switched off, or rests after use
    out         out of service: it failed, or an operator took it out
    unknown     its frame does not answer
    draining, reserved      no longer, or not yet, given to everybody
    free        it may be given to the next job
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from spalloc_server import _clock

if TYPE_CHECKING:
    from spalloc_server._jobs.health import Health
    from spalloc_server._jobs.machine_map import MachineMap
    from spalloc_server._jobs.power_downs import PowerDowns
    from spalloc_server._jobs.quarantine import Case, Quarantine
    from spalloc_server._jobs.records import Records
    from spalloc_server._places import Board, Frame
    from spalloc_server.job_queue import JobQueue

STATES = ("dead", "used", "resting", "out", "unknown", "draining", "reserved", "free")
DEAD, USED, RESTING, OUT, UNKNOWN, DRAINING, RESERVED, FREE = STATES

#: A board of ``list_boards``: x, y, z, state, job id, text.
Row = tuple[int, int, int, str, "int | None", "str | None"]


class MachineBoards(NamedTuple):
    """The boards of one machine at one moment.

    Attributes
    ----------
    rows : list of Row
        By x, y, z; every place of the machine's block.
    counts : dict
        {state: number of boards} for all of `STATES`.
    resting : dict
        {board: Unix time until which it rests; None while it is being switched off}.
    """

    rows: list[Row]
    counts: dict[str, int]
    resting: dict[Board, float | None]


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
            made = self._made[name] = self._make(name)
        return made

    def _make(self, name: str) -> MachineBoards:
        where = self._records.maps[name]
        resting = self._resting(name)
        quarantine = self._health.quarantine_of(name)
        out = {board: _about(case) for board, case in quarantine.cases.items()}
        unknown = _unknown(where, quarantine)
        dead, job_ids = where.machine.dead_boards, where.job_ids
        rows: list[Row] = []
        for board in block(0, 0, where.machine.width, where.machine.height):
            job_id: int | None = None
            about: str | None = None
            if board in dead:
                state = DEAD
            elif board in job_ids:
                state, job_id = USED, job_ids[board]
                about = _trouble(board, out, unknown)
            elif board in resting:
                state, about = RESTING, _rest(resting[board])
            elif board in out:
                state, about = OUT, out[board]
            elif board in unknown:
                state, about = UNKNOWN, unknown[board]
            else:
                state = FREE
            rows.append((*board, state, job_id, about))
        counts = Counter(row[3] for row in rows)
        return MachineBoards(rows, {state: counts[state] for state in STATES}, resting)

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


def _trouble(board: Board, out: Mapping[Board, str], unknown: Mapping[Board, str]) -> str | None:
    """Name the later states that apply to a used board."""
    texts = [f"{OUT} {out[board]}"] if board in out else []
    texts += [f"{UNKNOWN} {unknown[board]}"] if board in unknown else []
    return "; ".join(texts) or None


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
