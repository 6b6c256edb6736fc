"""Why jobs wait: one sentence for each job and machine, and each job's place in line.

Owns the sentences that users read, in commands, pages and the protocol alike.  Takes the tables
of a controller under its lock; changes nothing.

The sentence is the first that is true::

    behind job 17, which keeps a region ...     with its boards enough would be free
    behind job 17, which is first in line       jobs of the machine do not overtake
    boards (0, 0, 1) ... are out of service ... without them the request cannot be met
    frame c0 f1 does not answer                 likewise
    12 boards are free, but no place for ...    enough are free, but not side by side
    6 boards rest until 14:03                   with them enough would be free
    jobs have 20 of 24 boards                   nothing better to say
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from spalloc_server import _clock
from spalloc_server._allocation.kinds import Request, _AllocationType
from spalloc_server._jobs.board_states import (
    DEAD,
    FREE,
    OUT,
    UNKNOWN,
    USED,
    MachineBoards,
    clock_time,
)
from spalloc_server._jobs.job import JobState, _Job
from spalloc_server._jobs.job_power import MAX_MOVES
from spalloc_server._places import Board, Frame

if TYPE_CHECKING:
    from spalloc_server._jobs.board_states import BoardStates
    from spalloc_server._jobs.health import Health
    from spalloc_server._jobs.quarantine import Case
    from spalloc_server._jobs.records import Records
    from spalloc_server._jobs.waits import ExpectedWaits
    from spalloc_server.job_queue import JobQueue

#: Ids of jobs ahead that are told of each job (protocol).
MOST_AHEAD = 10
#: Seconds for which a list of the queue is told again as it is (protocol).
SECONDS_FRESH = 1.0
#: Share of the loop's time that lists of the queue may take.
_SHARE_OF_LOOP = 0.05
#: Seconds of one list for finding out what requests wait for, and answers that are kept.
_SECONDS_TO_FIND_OUT, _MOST_ANSWERS = 0.01, 10_000
#: Boards named in a sentence. # arbitrary
_MOST_NAMED = 3


class Reason(NamedTuple):
    """Why a job waits for a machine, and until when at least (Unix time or None)."""

    why: str
    until: float | None = None


class Reasons:
    """The reasons why jobs wait.

    Parameters
    ----------
    records : Records
    queue : JobQueue
        Knows the line of each machine.
    boards : BoardStates
        Knows each board's state.
    health : Health
        Knows why boards are out of service.
    waits : ExpectedWaits
        Knows how long similar requests waited.
    """

    def __init__(
        self,
        records: Records,
        queue: JobQueue,
        boards: BoardStates,
        health: Health,
        waits: ExpectedWaits,
    ) -> None:
        self._records = records
        self._queue = queue
        self._boards = boards
        self._health = health
        self._waits = waits
        self._made: dict[str, Any] = {}
        self._fresh_until: float | None = None
        self._awaited = AwaitedBoards(queue)

    # --- the answers of the protocol ---

    def list_queue(self) -> dict[str, Any]:
        """Return the answer of ``list_queue``; the same object for a second or more.

        Returns
        -------
        dict
            made: Unix time at which it was made; jobs: a dict for each waiting job, by
            arrival: job_id, position (from 1), ahead (number of jobs that came earlier and
            wait for the same machine), first_ahead (ids of at most 10 of them), machines
            (name, why, until for each machine that it waits for; until is the Unix time
            until which the reason holds, or None), expected (low, high: seconds that 80 %
            of similar requests waited lately, made: the Unix time at which that was worked
            out; None without enough history).
        """
        begun = _clock.monotonic()
        if self._fresh_until is None or begun >= self._fresh_until:
            self._made = {"made": _clock.wall(), "jobs": self._outlooks()}
            # A long list is made less often: it must not keep the loop busy.
            cost = _clock.monotonic() - begun
            self._fresh_until = begun + max(SECONDS_FRESH, cost / _SHARE_OF_LOOP)
        return self._made

    def outlook(self, job_id: int) -> dict[str, Any] | None:
        """Return ``get_job_outlook``'s answer.

        Returns
        -------
        dict or None
            The job's object of `list_queue`.  A moved job has one, too, while its new boards
            are being switched on; None for every other job.
        """
        job = self._records.jobs.get(job_id)
        if job is None:
            return None
        if job.state is JobState.queued:
            listed: list[dict[str, Any]] = self.list_queue()["jobs"]
            found = (each for each in listed if each["job_id"] == job_id)
            # One that is younger than the list is not in it.
            return next(found, None) or next(iter(self._outlooks(only=job_id)), None)
        if job.state is JobState.power and job.fault is not None and not job.was_ready:
            machine = {"name": job.allocated_machine_name, "why": _moved(job), "until": None}
            return _outlook(job_id, 0, [], [machine])
        return None

    def _outlooks(self, only: int | None = None) -> list[dict[str, Any]]:
        """Return the objects of all waiting jobs, or of one."""
        line = Line()
        self._awaited.begin(self._records.maps)
        wall = _clock.wall()
        firsts = {name: self._queue.first_in_line(name) for name in self._records.maps}
        memo: dict[tuple[str, Request, bool], Reason] = {}
        outlooks = []
        for job_id, request, machines in self._queue.waiting():
            ahead, first_ahead = line.join(job_id, machines)
            if only not in (None, job_id):
                continue
            job = self._records.jobs[job_id]
            told = []
            for name in machines:
                first = firsts[name]
                key = (name, request, self._is_special(job_id, name, first))
                if key not in memo:
                    memo[key] = self._reason(job_id, request, name, first)
                why, until = memo[key]
                if job.fault is not None:
                    why = f"{_moved(job)}; {why}"
                told.append({"name": name, "why": why, "until": until})
            expected = self._expected(job, request, machines, wall)
            outlooks.append(_outlook(job_id, ahead, first_ahead, told, expected))
        return outlooks

    def _expected(
        self, job: _Job, request: Request, machines: tuple[str, ...], wall: float
    ) -> dict[str, float] | None:
        """Return the span of similar waits lately; None without enough history."""
        if not self._waits:
            return None
        boards = _boards_wanted(request, 0)
        span = self._waits.span(job.id, machines, boards, wall - job.start_time, wall)
        return None if span is None else span._asdict()

    # --- one job, one machine ---

    def _reason(self, job_id: int, request: Request, name: str, first: int | None) -> Reason:
        if first is not None and first != job_id:
            return Reason(f"behind job {first}, which is first in line")
        awaited = self._awaited.of(name, request)
        if awaited:
            return self._out_of_service(name, awaited)
        boards = self._boards.of(name)
        if request.kind is _AllocationType.board and request.numbers:
            x, y, z = request.numbers
            return self._one_board(name, (x, y, z), boards)
        return self._behind_a_region(job_id, request, name) or self._no_room(request, name, boards)

    def _is_special(self, job_id: int, name: str, first: int | None) -> bool:
        """Whether a job waits for another reason than others that ask for the same."""
        region = self._queue.region_on(name)
        return job_id == first or (region is not None and region[0] == job_id)

    def _behind_a_region(self, job_id: int, request: Request, name: str) -> Reason | None:
        """Say that enough boards are free, but some are kept for another job."""
        region, boards = self._queue.region_on(name), self._boards.of(name)
        if region is None or region[0] == job_id:
            return None
        wanted = _boards_wanted(request, boards.counts[DEAD])
        if boards.idle < wanted or boards.counts[FREE] >= wanted:
            return None
        return Reason(f"behind job {region[0]}, which keeps a region for itself")

    def _no_room(self, request: Request, name: str, boards: MachineBoards) -> Reason:
        """Say why there is no room for a request, by the boards that would be enough."""
        wanted = _boards_wanted(request, boards.counts[DEAD])
        free, resting = boards.idle, len(boards.resting)
        if free >= wanted:
            text = f"{_boards_are(free)} free, but no place for {_described(request)}"
            return Reason(text, _latest(boards))
        if resting and (free + resting >= wanted or not boards.counts[USED]):
            return _resting(boards)
        out = boards.counts[OUT] + boards.counts[UNKNOWN]
        if free + resting + out >= wanted:
            return self._out_of_service(name, boards.out_of_service)
        live = len(boards.rows) - boards.counts[DEAD]
        return Reason(f"jobs have {boards.counts[USED]} of {live} boards, {free} are free")

    def _one_board(self, name: str, board: Board, boards: MachineBoards) -> Reason:
        """Say why a given board is not to be had."""
        if board in boards.resting:
            until = boards.resting[board]
            if until is None:
                return Reason(f"board {board} is being switched off")
            return Reason(f"board {board} rests until {clock_time(until)}", until)
        holder = self._records.maps[name].job_ids.get(board)
        if holder is not None:
            return Reason(f"job {holder} has board {board}")
        return Reason(f"board {board} is free, but other boards of its triad are in a block")

    def _out_of_service(self, name: str, boards: Iterable[Board]) -> Reason:
        """Say why boards are out of service."""
        quarantine = self._health.quarantine_of(name)
        where = self._records.maps[name]
        out = sorted(boards)
        cases = [quarantine.cases[board] for board in out if board in quarantine.cases]
        if not cases:
            frames = sorted({where.in_frame(board)[0] for board in out})
            return Reason(_silent(frames))
        named = [case.board for case in cases]
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        texts = ", ".join(str(board) for board in named[:_MOST_NAMED])
        first = min(cases, key=lambda case: case.since)
        what = f"since {clock_time(first.since)} ({first.what})"
        if len(named) == 1:
            return Reason(f"board {texts} is out of service {what}", _next_test(cases))
        return Reason(f"boards {texts}{more} are out of service {what}", _next_test(cases))


class AwaitedBoards:
    """The boards in quarantine that requests wait for, found out a few at a time.

    Parameters
    ----------
    queue : JobQueue
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        # By machine: the boards that were in quarantine, and the answers for requests.
        self._known: dict[str, tuple[frozenset[Board], dict[Request, frozenset[Board]]]] = {}
        self._end = 0.0

    def begin(self, names: Iterable[str]) -> None:
        """Forget answers that may have changed, and begin a list."""
        before, self._known = self._known, {}
        for name in names:
            out = self._queue.quarantined_on(name)
            known = before.get(name)
            answers = known[1] if known is not None and known[0] == out else {}
            self._known[name] = out, answers if len(answers) < _MOST_ANSWERS else {}
        self._end = _clock.monotonic() + _SECONDS_TO_FIND_OUT

    def of(self, name: str, request: Request) -> frozenset[Board]:
        """Return the boards that a request waits for; none where that is not known yet."""
        out, answers = self._known[name]
        if not out:
            return out
        if request not in answers and _clock.monotonic() < self._end:
            found = self._queue.awaited_boards(name, request)
            if found is not None:
                answers[request] = found
        return answers.get(request, frozenset())


class Line:
    """Counts the jobs ahead of each, as they come by in order of arrival.

    A job is ahead of another if it came earlier and they wait for the same machine.
    """

    def __init__(self) -> None:
        # By the machines that jobs wait for: how many there are, and the first.
        self._groups: dict[frozenset[str], tuple[int, list[tuple[int, int]]]] = {}
        self._joined = 0

    def join(self, job_id: int, machines: Iterable[str]) -> tuple[int, list[int]]:
        """Return the number of jobs ahead of the next job, and the ids of the first."""
        wanted = frozenset(machines)
        groups = [group for names, group in self._groups.items() if names & wanted]
        ahead = sum(count for count, _ in groups)
        if len(groups) == 1:
            first = list(groups[0][1])
        else:
            first = sorted(each for _, ids in groups for each in ids)[:MOST_AHEAD]
        count, ids = self._groups.get(wanted, (0, []))
        if len(ids) < MOST_AHEAD:
            ids.append((self._joined, job_id))
        self._groups[wanted] = count + 1, ids
        self._joined += 1
        return ahead, [each for _, each in first]


def _outlook(
    job_id: int,
    ahead: int,
    first_ahead: list[int],
    machines: list[dict[str, Any]],
    expected: dict[str, float] | None = None,
) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "position": ahead + 1,
        "ahead": ahead,
        "first_ahead": first_ahead,
        "machines": machines,
        "expected": expected,
    }


def _moved(job: _Job) -> str:
    """Name the fault that a job met, and its present try."""
    return f"try {job.attempts + 1} of {MAX_MOVES + 1}, as boards failed ({job.fault})"


def _boards_wanted(request: Request, dead: int) -> int:
    """Return the least number of boards for a request, on a machine with so many dead ones."""
    if request.kind is _AllocationType.triads:
        width, height = request.numbers
        allowed = request.limits.max_dead_boards
        missing = dead if allowed is None else min(dead, allowed)
        return max(1, width * height * 3 - missing)
    return request.numbers[0] if request.kind is _AllocationType.boards else 1


def _described(request: Request) -> str:
    if request.kind is _AllocationType.triads:
        width, height = request.numbers
        return f"{width} x {height} triads"
    if request.kind is _AllocationType.boards:
        return f"{request.numbers[0]} boards side by side"
    return "one board"


def _boards_are(count: int) -> str:
    return f"{count} board is" if count == 1 else f"{count} boards are"


def _resting(boards: MachineBoards) -> Reason:
    until = _latest(boards)
    count = len(boards.resting)
    if until is None:
        return Reason(f"{_boards_are(count)} being switched off")
    rest = "1 board rests" if count == 1 else f"{count} boards rest"
    return Reason(f"{rest} until {clock_time(until)}", until)


def _latest(boards: MachineBoards) -> float | None:
    """Return when the last board has rested; None if that is not known, or none rests."""
    times = list(boards.resting.values())
    known = [time for time in times if time is not None]
    return max(known) if known and len(known) == len(times) else None


def _next_test(cases: Iterable[Case]) -> float | None:
    """Return when the first of some boards is tested next (Unix time); None if never, or now."""
    left = min((case.due for case in cases if case.due is not None), default=0.0)
    left -= _clock.monotonic()
    return _clock.wall() + left if left > 0 else None


def _silent(frames: list[Frame]) -> str:
    names = [f"c{cabinet} f{frame}" for cabinet, frame in frames]
    if len(names) == 1:
        return f"frame {names[0]} does not answer"
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"frames {', '.join(names[:_MOST_NAMED])}{more} do not answer"
