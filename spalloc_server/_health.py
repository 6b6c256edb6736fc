"""Boards that fail: taken out of service, tried in the background, put back.

Stands between the frames' answers and the queue: a fault takes the board out of
the allocator (`Quarantine` says for how long), a test that passes puts it back.
Everything here runs under the controller's lock; knows no jobs, clients or files.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from spalloc_server import _clock
from spalloc_server._bmp_requests import AtomicRequests, FailureReason
from spalloc_server._quarantine import Board, Case, Frame, Quarantine

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from spalloc_server._machine_map import MachineMap
    from spalloc_server.job_queue import JobQueue

log = logging.getLogger(__name__)

Send = Callable[[str, Mapping[Frame, AtomicRequests]], None]
Tell = Callable[..., None]

#: What is said of a board whose whole frame does not answer.
SILENT = "silent"


class OutOfService(NamedTuple):
    """A board that is not handed out, for the operator.

    Attributes
    ----------
    machine : str
    board : (x, y, z)
    physical : (cabinet, frame, board)
    bmp : str
        Host of its frame's BMP.
    address : str or None
        The board's own host.
    kind : str
        "power_on", "fpga", "link", "power_off", "silent" or "operator".
    what : str
        What happened.
    since : float
        Unix time.
    faults : int
        How often it failed in the last day.
    tests : int
        How many tests it failed since it was taken out.
    next_test : float or None
        Seconds until the next test; None if an operator has to release it.
    job_id : int or None
        The job that still has it.
    """

    machine: str
    board: Board
    physical: Board
    bmp: str
    address: str | None
    kind: str
    what: str
    since: float
    faults: int
    tests: int
    next_test: float | None
    job_id: int | None


class Health:
    """Health of all machines' boards.

    Parameters
    ----------
    lock : context manager
        The controller's; taken by what comes from the frames' threads.
    maps : mapping
        {machine name: MachineMap}, the controller's own.
    queue : JobQueue
        Whose allocators are told what not to hand out.
    send : callable
        (machine name, {frame: AtomicRequests}) → to the frames.
    tell : callable
        Told outcomes, see `_book`.
    """

    def __init__(
        self,
        *,
        lock: AbstractContextManager[bool],
        maps: Mapping[str, MachineMap],
        queue: JobQueue,
        send: Send,
        tell: Tell,
    ) -> None:
        self._lock = lock
        self._maps = maps
        self._queue = queue
        self._send = send
        self._tell = tell
        self._quarantines: dict[str, Quarantine] = {}

    # --- what was found ---

    def note(
        self, name: str, frame: Frame, reason: object, kind: str | None = None
    ) -> list[Board]:
        """Take out what a failed request tells to be at fault.

        Parameters
        ----------
        name, frame
            Which frame of which machine failed.
        reason : object
            A `FailureReason`; anything else tells nothing.
        kind : str, optional
            What was being done, if faults do not say so themselves.

        Returns
        -------
        list of (x, y, z)
            The boards at fault.
        """
        if not isinstance(reason, FailureReason) or name not in self._maps:
            return []
        if reason.silent:
            self._fall_silent(name, frame)
            return sorted(self._maps[name].frame_boards(frame))
        now, wall = _clock.monotonic(), _clock.wall()
        boards = []
        for fault in reason.faults:
            board = self._maps[name].at((*frame, fault.board))
            if board is not None:
                boards.append(board)
                self._of(name).fault(board, kind or fault.during, fault.what, now, wall)
                self._queue.quarantine(name, board)
                log.error("machine %s: board %s out of service: %s", name, board, fault.what)
        if boards:
            self._save(name)
        return boards

    def explain(self, where: MachineMap, frame: Frame, reason: object) -> str | None:
        """Return a failure's reason with the names that users know boards by.

        A `FailureReason` stays one, with its facts; None stays None.
        """
        if not isinstance(reason, FailureReason):
            return None if reason is None else str(reason)
        if reason.silent:
            names = f"cabinet {frame[0]}, frame {frame[1]}"
        else:
            boards = (where.at((*frame, fault.board)) for fault in reason.faults)
            names = ", ".join(f"board {board}" for board in dict.fromkeys(boards))
        text = f"{reason} ({names or 'a board'} of machine {where.machine.name})"
        return FailureReason(text, reason.faults, reason.silent)

    def frame_answers(self, where: MachineMap, frame: Frame, answering: bool) -> None:
        """Hear from a frame's thread that the frame went silent, or answers again."""
        name = where.machine.name
        with self._lock:
            if self._maps.get(name) is not where:
                return
            if not answering:
                self._fall_silent(name, frame)
            elif frame in self._of(name).silent:
                self._test_frame(name, frame)

    def _fall_silent(self, name: str, frame: Frame) -> None:
        quarantine = self._of(name)
        if frame in quarantine.silent:
            return
        log.error("machine %s: frame %s does not answer, its boards are out", name, frame)
        quarantine.silent[frame] = _clock.wall()
        for board in self._maps[name].frame_boards(frame):
            self._queue.quarantine(name, board)
        self._save(name)

    # --- trying again ---

    def next_due(self) -> float | None:
        """Return when `tend` next has something to do (monotonic); None if never."""
        times = (each.next_due() for each in self._quarantines.values() if each.cases)
        return min((time for time in times if time is not None), default=None)

    def tend(self, now: float) -> None:
        """Test the boards whose time has come."""
        for name, quarantine in self._quarantines.items():
            for case in quarantine.due(now):
                self._test(name, quarantine, case, now)

    def _test(self, name: str, quarantine: Quarantine, case: Case, now: float) -> None:
        """Have a board switched on, checked and switched off, if nobody has it."""
        where = self._maps[name]
        place = where.locate(case.board)
        frame = None if place is None else place[:2]
        if place is None or frame in quarantine.silent or case.board in where.job_ids:
            quarantine.postpone(case.board, now)
            return
        case.testing = True
        request = AtomicRequests(partial(self._tested, where, case))
        request.background = True
        request.power(place[2], True)
        request.power(place[2], False)
        self._send(name, {place[:2]: request})

    def _tested(
        self, where: MachineMap, case: Case, success: bool, reason: str | None = None
    ) -> None:
        """Put a board back, or keep it for longer (a frame's thread)."""
        name = where.machine.name
        with self._lock:
            if self._maps.get(name) is not where:
                return
            quarantine = self._of(name)
            if quarantine.cases.get(case.board) is not case:
                return
            if success and quarantine.passed(case.board):
                log.info("machine %s: board %s works again", name, case.board)
                self._save(name)
                self._put_back(name, case.board)
                return
            quarantine.failed(case.board, str(reason), _clock.monotonic())
            if isinstance(reason, FailureReason) and reason.silent:
                place = where.locate(case.board)
                assert place is not None
                self._fall_silent(name, place[:2])
            self._save(name)

    def _test_frame(self, name: str, frame: Frame) -> None:
        """Have all that nobody has of a frame switched off; then it is back."""
        where = self._maps[name]
        request = AtomicRequests(partial(self._frame_tested, where, frame))
        for board in sorted(where.frame_boards(frame)):
            place = where.locate(board)
            if board not in where.job_ids and place is not None:
                request.power(place[2], False)
        self._send(name, {frame: request})

    def _frame_tested(
        self, where: MachineMap, frame: Frame, success: bool, reason: str | None = None
    ) -> None:
        name = where.machine.name
        with self._lock:
            quarantine = self._of(name)
            if self._maps.get(name) is not where or frame not in quarantine.silent:
                return
            if not success:
                if not isinstance(reason, FailureReason) or reason.silent:
                    return  # its thread will tell when it answers
                self.note(name, frame, reason, "power_off")
            del quarantine.silent[frame]
            log.info("machine %s: frame %s answers again", name, frame)
            self._save(name)
            for board in sorted(where.frame_boards(frame)):
                self._put_back(name, board)

    def _put_back(self, name: str, board: Board) -> None:
        """Hand a board out again, unless something else is still wrong with it."""
        quarantine = self._of(name)
        place = self._maps[name].locate(board)
        if board not in quarantine.cases and (place is None or place[:2] not in quarantine.silent):
            self._queue.release(name, board)

    # --- the operator ---

    def hold(self, name: str, board: Board, reason: str) -> None:
        """Take a board out of service until it is released; its present job goes on.

        Raises
        ------
        ValueError
            If there is no such machine or board.
        """
        self._check(name, board)
        self._of(name).hold(board, reason, _clock.wall())
        self._queue.quarantine(name, board)
        self._save(name)

    def release(self, name: str, board: Board) -> None:
        """Put a board back whatever kept it out, a silent frame excepted.

        Raises
        ------
        ValueError
            If there is no such machine or board, or it is in service.
        """
        self._check(name, board)
        if not self._of(name).release(board):
            raise ValueError(f"board {board} of machine {name!r} is not in quarantine")
        self._save(name)
        self._put_back(name, board)

    def _check(self, name: str, board: Board) -> None:
        where = self._maps.get(name)
        if where is None:
            known = ", ".join(sorted(self._maps)) or "none"
            raise ValueError(f"no machine {name!r}; there are {known}")
        if where.locate(board) is None:
            raise ValueError(f"machine {name!r} has no board {board}")

    def out_of_service(self) -> list[OutOfService]:
        """Return every board that is not handed out, by machine and board."""
        now = _clock.monotonic()
        rows = []
        for name, quarantine in self._quarantines.items():
            where = self._maps[name]
            cases = dict(quarantine.cases)
            for frame, since in quarantine.silent.items():
                for board in where.frame_boards(frame):
                    cases.setdefault(
                        board, Case(board, SILENT, "its frame does not answer", since)
                    )
            for board, case in sorted(cases.items()):
                rows.append(_row(where, case, quarantine.faults_of(board, now), now))
        return rows

    # --- machines come and go ---

    def forget(self, name: str) -> None:
        """Drop all about a machine that is removed."""
        self._quarantines.pop(name, None)

    def to_plain(self) -> dict[str, Any]:
        """Return all of it for the book."""
        now = _clock.monotonic()
        return {name: each.to_plain(now) for name, each in self._quarantines.items() if each}

    def impose(self, plain: Mapping[str, Any]) -> None:
        """Take over what a book says; machines are there, frames are not asked yet."""
        now = _clock.monotonic()
        for name, each in plain.items():
            quarantine = self._quarantines[name] = Quarantine.from_plain(each, now)
            out = set(quarantine.cases)
            for frame in quarantine.silent:
                out |= self._maps[name].frame_boards(frame)
            for board in sorted(out):
                self._queue.quarantine(name, board)

    def test_silent_frames(self) -> None:
        """Ask again those frames that were silent when the state was saved."""
        for name, quarantine in self._quarantines.items():
            for frame in list(quarantine.silent):
                self._test_frame(name, frame)

    def _of(self, name: str) -> Quarantine:
        return self._quarantines.setdefault(name, Quarantine())

    def _save(self, name: str) -> None:
        quarantine = self._of(name)
        plain = quarantine.to_plain(_clock.monotonic())
        self._tell("quarantine", name, plain if quarantine else None)


def _row(where: MachineMap, case: Case, faults: int, now: float) -> OutOfService:
    place = where.locate(case.board)
    assert place is not None
    machine = where.machine
    return OutOfService(
        machine.name,
        case.board,
        place,
        machine.bmp_ips[place[:2]],
        machine.spinnaker_ips.get(case.board),
        case.kind,
        case.what,
        case.since,
        faults,
        case.tests,
        None if case.due is None else max(0.0, case.due - now),
        where.job_ids.get(case.board),
    )
