"""Boards that fail: taken out of service, tried in the background, put back.

Stands between the frames' answers and the queue: a fault takes the board out of
the allocator (`Quarantine` says for how long), a test that passes puts it back.
Everything here runs under the controller's lock; knows no jobs, clients or files.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from spalloc_server import _clock
from spalloc_server._bmp.failures import FailureReason
from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server._checks.values import escaped
from spalloc_server._jobs.board_tests import Round
from spalloc_server._jobs.out_of_service import OutOfService, counted, rows
from spalloc_server._jobs.quarantine import (
    LINK,
    OPERATOR,
    POWER_OFF,
    REPORTED,
    Case,
    Quarantine,
)
from spalloc_server._jobs.reports import Verdict, most_out
from spalloc_server._places import Board, Frame, Place, frame_of, place_in
from spalloc_server.links import Links

if TYPE_CHECKING:
    from spalloc_server._jobs.records import MachineMap, Records
    from spalloc_server.job_queue import JobQueue

__all__ = ("Health", "OutOfService")

log = logging.getLogger(__name__)

#: So many jobs meeting faults on a frame within so many seconds make all its free
#: boards suspects, lest a job meet one bad board after the other. # arbitrary
_TROUBLES_OF_A_FRAME, _TROUBLE_WINDOW = 2, 900.0
#: Until a test that gave way to a job is tried again. # arbitrary
_SECONDS_AFTER_GIVING_WAY = 5.0


class KnownFailure(FailureReason):
    """A failure in the words of users.

    Attributes
    ----------
    board, place : (x, y, z) and (cabinet, frame, board), or None
        The first board at fault; None if the frame does not answer.
    """

    board: Board | None
    place: Place | None


class Health:
    """Health of all machines' boards.

    Parameters
    ----------
    records : Records
        The machines' maps; takes the requests.
    queue : JobQueue
        Its allocators are told which boards not to hand out.

    Attributes
    ----------
    next_due : float or None
        When `tend` next has something to do (monotonic); None if never.
    """

    def __init__(self, records: Records, queue: JobQueue) -> None:
        self.next_due: float | None = None
        self._records = records
        self._lock = records.lock
        self._maps = records.maps
        self._queue = queue
        self._ask = records.ask
        self._tell = records.tell
        self._quarantines: dict[str, Quarantine] = {}
        # When jobs met faults on each frame.
        self._troubles: dict[tuple[str, Frame], list[float]] = {}
        # Machines that a change of the configuration has taken down.
        self._parted: list[tuple[MachineMap, Quarantine]] = []

    # --- faults ---

    def note(
        self,
        name: str,
        frame: Frame,
        reason: object,
        kind: str | None = None,
        *,
        job_id: int | None = None,
    ) -> None:
        """Take out the boards that a failed request blames.

        Parameters
        ----------
        name, frame
            Which frame of which machine failed.
        reason : object
            A `FailureReason`; anything else tells nothing.
        kind : str, optional
            The action that failed, if faults do not say so themselves.
        job_id : int, optional
            The job that met the failure.
        """
        if not isinstance(reason, FailureReason) or name not in self._maps:
            return
        if reason.silent:
            self.fall_silent(name, frame, job_id=job_id)
            return
        # One power command for several boards has one answer, which may be any one's fault.
        switched = {fault.board for fault in reason.faults if fault.during.startswith("power")}
        news = False
        for fault in reason.faults:
            board = self._maps[name].at(place_in(frame, fault.board))
            sure = fault.board not in switched or len(switched) == 1
            if board is not None:
                news |= self._take_out(name, board, kind or fault.during, fault.what, sure=sure)
        if news and kind is None:
            self._doubt(name, frame, reason.faults[0].during)
        if news:
            self._changed(name, job=job_id)

    def _take_out(
        self, name: str, board: Board, kind: str, what: str, *, sure: bool, blamed: bool = True
    ) -> bool:
        """Have a board out because of a fault; returns whether that is news."""
        quarantine = self._of(name)
        now, wall = _clock.monotonic(), _clock.wall()
        if not quarantine.fault(board, kind, what, now, wall, sure=sure, blamed=blamed):
            return False
        suspected = "" if quarantine.cases[board].sure else " on suspicion"
        log.error("machine %s: board %s out of service%s: %s", name, board, suspected, what)
        return True

    def _doubt(self, name: str, frame: Frame, kind: str) -> None:
        """Suspect all free boards of a frame on which one job after the other meets faults."""
        now = _clock.monotonic()
        recent = [t for t in self._troubles.get((name, frame), ()) if now - t < _TROUBLE_WINDOW]
        self._troubles[name, frame] = [*recent, now]
        if len(recent) + 1 < _TROUBLES_OF_A_FRAME:
            return
        where = self._maps[name]
        for board in sorted(where.frame_boards(frame)):
            if board not in where.job_ids:
                what = "other boards of its frame failed"
                self._take_out(name, board, kind, what, sure=False, blamed=False)

    def explain(self, where: MachineMap, frame: Frame, reason: object) -> str | None:
        """Return a failure's reason with the names that users know boards by.

        A `FailureReason` becomes a `KnownFailure`; None stays None.
        """
        if not isinstance(reason, FailureReason):
            return None if reason is None else str(reason)
        boards: list[Board] = []
        if reason.silent:
            names = f"cabinet {frame[0]}, frame {frame[1]}"
        else:
            found = (where.at(place_in(frame, fault.board)) for fault in reason.faults)
            boards = [board for board in dict.fromkeys(found) if board is not None]
            names = ", ".join(f"board {board}" for board in boards)
        text = f"{reason} ({names or 'a board'} of machine {where.machine.name})"
        failure = KnownFailure(text, reason.faults, reason.silent)
        failure.board = boards[0] if boards else None
        failure.place = None if failure.board is None else where.locate(failure.board)
        return failure

    def fall_silent(self, name: str, frame: Frame, *, job_id: int | None = None) -> None:
        """Take out all boards of a frame that does not answer."""
        silent = self._of(name).silent
        if frame not in silent:
            where = self._maps[name]
            owners = (where.job_ids.get(board) for board in where.frame_boards(frame))
            jobs = sorted({job for job in owners if job is not None})
            log.error(
                "machine %s: frame %s does not answer, its boards are out; %s",
                name,
                frame,
                f"jobs on it: {', '.join(map(str, jobs))}"
                if jobs
                else "no job has any of them",
            )
            silent[frame] = _clock.wall()
            self._changed(name, job=job_id)

    # --- trying again ---

    def tend(self, now: float) -> None:
        """Test the boards that are due."""
        for name, quarantine in self._quarantines.items():
            if not quarantine.cases:
                continue  # of a machine that is gone, too, if a late answer asked for it
            where = self._maps[name]
            due: dict[Frame, list[Case]] = {}
            for case in quarantine.due(now):
                place = where.locate(case.board)
                used = case.board in where.job_ids
                if place is None or used or frame_of(place) in quarantine.silent:
                    quarantine.postpone(case.board, now)
                else:
                    case.testing = True
                    due.setdefault(frame_of(place), []).append(case)
            for frame, cases in due.items():
                round_ = Round(name, frame, {case.board for case in cases})
                for case in cases:
                    self._test(where, case, round_, frame)
        self._times_changed()

    def _test(self, where: MachineMap, case: Case, round_: Round, frame: Frame) -> None:
        """Switch a board on, check it and switch it off.

        One that was not switched off has only that to prove; one with links that
        could not be set has to show that, too.
        """
        name, place = where.machine.name, where.locate(case.board)
        assert place is not None
        request = AtomicRequests(partial(self._tested, where, case, round_))
        request.background = True
        if case.kind != POWER_OFF:
            request.power(place[2], True)
        for link in Links if case.kind == LINK else ():
            request.link(place[2], link, False)
        request.power(place[2], False)
        self._ask(name, {frame: request})

    def _tested(
        self,
        where: MachineMap,
        case: Case,
        round_: Round,
        success: bool,
        reason: str | None = None,
    ) -> None:
        """Put a board back, or keep it for longer (a frame's thread)."""
        name, board = where.machine.name, case.board
        with self._lock:
            # Of a machine that is gone nothing must be made anew.
            if self._maps.get(name) is not where:
                return
            quarantine = self._of(name)
            if quarantine.cases.get(board) is not case:
                round_.postponed(board)
                return
            now = _clock.monotonic()
            if success:
                quarantine.passed(board, _clock.wall())
                round_.passed(board)
            elif not isinstance(reason, FailureReason) or reason.faults:
                quarantine.failed(board, _what(reason), now)
                round_.failed(board, case.what)
            elif reason.silent:
                quarantine.postpone(board, now)
                round_.postponed(board)
                place = where.locate(board)
                assert place is not None
                self.fall_silent(name, frame_of(place))
            else:
                quarantine.postpone(board, now, _SECONDS_AFTER_GIVING_WAY)
                round_.postponed(board)
                self._times_changed()
                return
            self._changed(name, how="test passed")

    def welcome(self, name: str, frame: Frame) -> None:
        """Have all that nobody has of a frame that answers again switched off; then it is back.

        Where jobs have all of it there is nothing to hand out, and nothing to ask.
        """
        if frame not in self._of(name).silent:
            return
        where = self._maps[name]
        request = AtomicRequests(partial(self._welcomed, where, frame))
        for board, number in where.by_frame(where.unowned()).get(frame, ()):
            if board not in where.machine.dead_boards:
                request.power(number, False)
        self._ask(name, {frame: request})

    def _welcomed(
        self, where: MachineMap, frame: Frame, success: bool, reason: str | None = None
    ) -> None:
        """Put a frame's boards back, but those that were not switched off (its thread)."""
        name = where.machine.name
        with self._lock:
            if self._maps.get(name) is not where or frame not in self._of(name).silent:
                return
            quarantine = self._of(name)
            if not success:
                if isinstance(reason, FailureReason) and reason.silent:
                    return  # its thread will tell when it answers
                self.note(name, frame, reason, POWER_OFF)
            del quarantine.silent[frame]
            log.info("machine %s: frame %s answers again", name, frame)
            self._changed(name, how="answers")

    # --- the operator ---

    def hold(self, name: str, boards: Collection[Board], reason: str) -> None:
        """Take boards out of service until they are released; their jobs go on.

        Raises
        ------
        ValueError
            If there is no such machine or board.
        """
        for board in boards:
            self.check(name, board)
        for board in boards:
            self._of(name).hold(board, reason, _clock.wall())
        log.info("machine %s: %s taken out of service: %s", name, counted(boards), escaped(reason))
        self._changed(name)

    def release_all(self, name: str, boards: Collection[Board]) -> list[Board]:
        """Put back those of some boards that are out, but for silent frames; returns them."""
        quarantine = self._of(name)
        released = [board for board in boards if quarantine.release(board)]
        if released:
            log.info("machine %s: %s released", name, counted(released))
            self._changed(name, how="released")
        return released

    def test_now(self, name: str, board: Board) -> None:
        """Test a board that is out of service soon, whatever its turn was.

        Raises
        ------
        ValueError
            If there is no such machine or board, or it is in service.
        """
        where = self.check(name, board)
        quarantine = self._of(name)
        place = where.locate(board)
        if place is not None and frame_of(place) in quarantine.silent:
            self.welcome(name, frame_of(place))
        elif not quarantine.hasten(board, _clock.monotonic()):
            raise ValueError(f"board {board} of machine {name!r} is not out of service")
        self._times_changed()

    def report(self, name: str, board: Board, host: str, text: str) -> str:
        """Count a user's report of a board; returns its consequence, in words."""
        quarantine, where = self._of(name), self._maps[name]
        place = where.locate(board)
        if board in quarantine.cases or (place and frame_of(place) in quarantine.silent):
            return "the board is out of service already; noted for the operator"
        wall = _clock.wall()
        verdict = quarantine.reports.add(board, host, wall)
        if verdict is not Verdict.noted:
            if quarantine.count(REPORTED) >= most_out(where.live_count):
                self._changed(name)
                return (
                    "noted for the operator: as many boards as may be are out of service "
                    "because of reports"
                )
            what = f"reported by users: {text}"
            if verdict is Verdict.locked:
                quarantine.lock(board, REPORTED, what, wall)
            else:
                now = _clock.monotonic()
                quarantine.fault(board, REPORTED, what, now, wall, sure=False, blamed=False)
            log.warning("machine %s: board %s out: %s", name, board, escaped(what))
        self._changed(name)
        return verdict.value

    def check(self, name: str, board: Board) -> MachineMap:
        """Return the map of a machine that has a board.

        Raises
        ------
        ValueError
            If there is no such machine or board.
        """
        where = self._maps.get(name)
        if where is None:
            known = ", ".join(sorted(self._maps)) or "none"
            raise ValueError(f"no machine {name!r}; there are {known}")
        if where.locate(board) is None:
            raise ValueError(f"machine {name!r} has no board {board}")
        return where

    def out_of_service(self) -> list[OutOfService]:
        """Return every board that is not handed out, by machine and board."""
        now = _clock.monotonic()
        return [
            row
            for name, quarantine in self._quarantines.items()
            for row in rows(self._maps[name], quarantine, now)
        ]

    # --- machines come and go ---

    def forget(self, name: str) -> None:
        """Forget a machine that is removed; others may adopt its boards' cases."""
        quarantine = self._quarantines.pop(name, None)
        for key in [key for key in self._troubles if key[0] == name]:
            del self._troubles[key]
        if quarantine is not None:
            self._parted.append((self._maps[name], quarantine))
            self._times_changed()

    def adopt(self, names: Iterable[str]) -> None:
        """Have new machines take over the cases of the same hardware.

        A board is the same if it has the same number behind the same BMP; its
        place and its machine's name are the configuration's business.
        """
        for name in names:
            for old, quarantine in self._parted:
                self._adopt(name, old, quarantine)
            if name in self._quarantines:
                self.reconfigured(name)
                self.ask_silent_frames(name)
        self._parted.clear()

    def _adopt(self, name: str, old: MachineMap, known: Quarantine) -> None:
        frames_at: dict[str, list[Frame]] = {}
        for frame, host in self._maps[name].hosts.items():
            frames_at.setdefault(host, []).append(frame)
        for old_frame, host in old.hosts.items():
            for frame in frames_at.get(host, ()):
                if old_frame in known.silent:
                    self._of(name).silent[frame] = known.silent[old_frame]
                for old_board, number in old.by_frame(known.known).get(old_frame, ()):
                    board = self._maps[name].at(place_in(frame, number))
                    if board is not None:
                        known.part(old_board, self._of(name), board)

    def reconfigured(self, name: str) -> None:
        """Notice which boards the configuration calls dead: that is the operator's word."""
        quarantine = self._quarantines.get(name)
        if quarantine is None:
            return
        dead_boards = self._maps[name].machine.dead_boards
        for case in list(quarantine.cases.values()):
            if case.kind != OPERATOR and case.board in dead_boards:
                quarantine.release(case.board)
        self._changed(name)

    def forget_reports(self, wall: float) -> None:
        """Forget the reports of before a moment: they tell which computers they came from."""
        for name, quarantine in self._quarantines.items():
            if quarantine.reports.forget_before(wall):
                self._changed(name)

    def to_plain(self) -> dict[str, Any]:
        """Return all of it for the book."""
        now, wall = _clock.monotonic(), _clock.wall()
        return {name: each.to_plain(now, wall) for name, each in self._quarantines.items() if each}

    def impose(self, plain: Mapping[str, Any]) -> None:
        """Take over a book's cases; machines are there, frames are not asked yet."""
        now, wall = _clock.monotonic(), _clock.wall()
        for name, each in plain.items():
            self._quarantines[name] = Quarantine.from_plain(each, now, wall)
            self._apply(name)

    def ask_silent_frames(self, *names: str) -> None:
        """Find out whether silent frames answer by now; of all machines if none is named."""
        for name in names or list(self._quarantines):
            for frame in list(self._of(name).silent):
                self.welcome(name, frame)

    # --- helpers ---

    def quarantine_of(self, name: str) -> Quarantine:
        """Return the quarantine of a machine; an empty one if nothing is out."""
        return self._quarantines.get(name) or Quarantine()

    def _of(self, name: str) -> Quarantine:
        if name not in self._maps:
            # An answer for a machine that is gone: nothing of it is kept.
            return Quarantine()
        return self._quarantines.setdefault(name, Quarantine())

    def _changed(self, name: str, job: int | None = None, how: str = "removed") -> None:
        """Tell, and give to the queue, which boards are out.

        Parameters
        ----------
        name : str
            Of the machine.
        job : int or None
            The job that met the fault of boards that are newly out.
        how : str
            The way in which boards came back.
        """
        quarantine = self._of(name)
        plain = quarantine.to_plain(_clock.monotonic(), _clock.wall())
        self._tell("quarantine", name, plain if quarantine else None, {"job": job, "how": how})
        self._apply(name)

    def _apply(self, name: str) -> None:
        quarantine, where = self._of(name), self._maps[name]
        out = {board for board in quarantine.cases if board not in where.machine.dead_boards}
        for frame in quarantine.silent:
            out |= where.frame_boards(frame)
        self._queue.set_quarantine(name, out)
        self._times_changed()

    def _times_changed(self) -> None:
        """Work out anew when the next test is due; boards rarely fail, the loop asks often."""
        times = (each.next_due() for each in self._quarantines.values() if each.cases)
        self.next_due = min((time for time in times if time is not None), default=None)
        self._records.due_is_stale = True


def _what(reason: object) -> str:
    """Return the finding of a failed test."""
    if isinstance(reason, FailureReason):
        return "; ".join(dict.fromkeys(fault.what for fault in reason.faults))
    return "its test failed" if reason is None else str(reason)
