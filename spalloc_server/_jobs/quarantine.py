"""Which boards of one machine are out of service, why, and when to try them again.

Pure: knows no hardware, no queue and no clock.  Times passed in as `now` are
monotonic seconds; `wall` is Unix time, for people and for the book.

::

    fault --> out, tried again after 1, 5, 15, 60 minutes, then hourly
       |         |                       |
       |    third fault in a day     test passed --> back in service
       |         v                                      ^
       |      locked -------- operator's release -------+
    operator's add --> held --------^                   |
    suspicion --> out, tried at once -- test passed ----+
                         +-- test failed --> as a fault

A power command for several boards that is refused does not name the
faulty one: all of them are suspects.  Only a board that is suspected again within a day
counts as if it had failed itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from spalloc_server._jobs.reports import Reports
from spalloc_server._places import Board, Frame

#: Seconds from a fault, or a failed test, to the next test; the last one repeats.
TEST_AFTER = (60.0, 300.0, 900.0, 3600.0)
#: So many faults within so many seconds keep a board out for an operator.
FAULTS_TO_LOCK, FAULT_WINDOW = 3, 86400.0

#: An operator took the board out.
OPERATOR = "operator"
#: A board that was not switched off; it is out until it is, never for longer.
POWER_OFF = "power_off"
#: Links of a board could not be set.
LINK = "link"
#: A board that users reported.
REPORTED = "reported"
_SUSPECTED = "suspected"
_LOCKING = ("power_on", "fpga", LINK, REPORTED)


@dataclass
class Case:
    """A board that is out of service.

    Attributes
    ----------
    board : (x, y, z)
    kind : str
        "power_on", "fpga", "link", "power_off", "reported" or "operator".
    what : str
        The last event, or the operator's reason.
    since : float
        Unix time at which it was taken out.
    tests : int
        How many tests it has failed since.
    due : float or None
        When it is tested next; None if only an operator can release it.
    sure : bool
        False for a mere suspect.
    testing : bool
        Whether a test is under way.
    """

    board: Board
    kind: str
    what: str
    since: float
    tests: int = 0
    due: float | None = None
    sure: bool = True
    testing: bool = False


class Quarantine:
    """The boards and frames of one machine that are out of service."""

    def __init__(self) -> None:
        self.cases: dict[Board, Case] = {}
        # Frames that do not answer: {(cabinet, frame): Unix time since when}.
        self.silent: dict[Frame, float] = {}
        # Faults of each board in the last day, also of those that came back: (when, kind).
        self._faults: dict[Board, list[tuple[float, str]]] = {}
        self.reports = Reports()

    def __bool__(self) -> bool:
        return bool(self.cases or self.silent or self._faults or self.reports)

    @property
    def known(self) -> set[Board]:
        """Boards that are out, or that failed or were reported not long ago."""
        return {*self.cases, *self._faults, *self.reports.known()}

    # --- faults ---

    def fault(
        self,
        board: Board,
        kind: str,
        what: str,
        now: float,
        wall: float,
        *,
        sure: bool = True,
        blamed: bool = True,
    ) -> bool:
        """Take a board out because of a fault that a job met; returns whether that is news.

        A further fault of a board that is out already is no news.

        Parameters
        ----------
        board : (x, y, z)
        kind, what : str
            As of `Case`.
        now, wall : float
            Monotonic and Unix time, seconds.
        sure : bool
            False if it may have been another board.
        blamed : bool
            Whether the suspicion is remembered, should the board be not to blame.
        """
        case = self.cases.get(board)
        if case is not None and (case.sure or not sure):
            return False
        sure = sure or (blamed and bool(self._recent(board, now)))
        since = wall if case is None else case.since
        case = self.cases[board] = Case(board, kind, what, since, due=now, sure=sure)
        if sure:
            self._begin(case, now)
        elif blamed:
            self._note(board, _SUSPECTED, now)
        return True

    def _begin(self, case: Case, now: float) -> None:
        """Count a fault, and put its board on the way of tests from the beginning."""
        self._note(case.board, case.kind, now)
        kinds = [kind for _, kind in self._recent(case.board, now)]
        locked = case.kind in _LOCKING and sum(k in _LOCKING for k in kinds) >= FAULTS_TO_LOCK
        case.sure = True
        case.due = None if locked else now + TEST_AFTER[0]
        case.tests = 0

    def faults_of(self, board: Board, now: float) -> int:
        """Return how often a board failed in the last day."""
        return sum(kind != _SUSPECTED for _, kind in self._recent(board, now))

    def _note(self, board: Board, kind: str, now: float) -> None:
        self._faults[board] = [*self._recent(board, now), (now, kind)]

    def _recent(self, board: Board, now: float) -> list[tuple[float, str]]:
        faults = self._faults.get(board, ())
        return [(time, kind) for time, kind in faults if now - time < FAULT_WINDOW]

    # --- the operator ---

    def hold(self, board: Board, reason: str, wall: float) -> None:
        """Take a board out until the operator releases it."""
        case = self.cases.get(board)
        since = wall if case is None else case.since
        self.cases[board] = Case(board, OPERATOR, reason, since)

    def release(self, board: Board) -> bool:
        """Put a board back and forget its faults and reports; returns whether it was out."""
        self._faults.pop(board, None)
        self.reports.forget(board)
        return self.cases.pop(board, None) is not None

    # --- tests ---

    def due(self, now: float) -> list[Case]:
        """Return the cases with a test that is due and not under way."""
        return [
            case
            for case in self.cases.values()
            if case.due is not None and case.due <= now and not case.testing
        ]

    def next_due(self) -> float | None:
        """Return when the next test is due; None if there is none to come."""
        times = (c.due for c in self.cases.values() if c.due is not None and not c.testing)
        return min(times, default=None)

    def hasten(self, board: Board, now: float) -> bool:
        """Have a board tested next; False if it is in service."""
        case = self.cases.get(board)
        if case is None:
            return False
        case.due = now
        return True

    def passed(self, board: Board, wall: float) -> None:
        """Put a board back that passed its test."""
        case = self.cases.pop(board)
        if case.kind == REPORTED:
            self.reports.passed(board, wall)

    def lock(self, board: Board, kind: str, what: str, wall: float) -> None:
        """Take a board out until an operator decides."""
        self.cases[board] = Case(board, kind, what, wall)

    def count(self, kind: str) -> int:
        """Return how many boards are out because of one kind of fault."""
        return sum(case.kind == kind for case in self.cases.values())

    def failed(self, board: Board, what: str, now: float) -> None:
        """Note that a test failed, and when the next is."""
        case = self.cases[board]
        case.testing = False
        case.what = what
        if not case.sure:
            self._begin(case, now)
        else:
            case.tests += 1
            case.due = now + _interval(case.tests)

    def postpone(self, board: Board, now: float, seconds: float | None = None) -> None:
        """Try a board that could not be tested again later, else at the same distance."""
        case = self.cases[board]
        case.testing = False
        case.due = now + (_interval(case.tests) if seconds is None else seconds)

    # --- boards that are taken along to another machine ---

    def part(self, board: Board, other: Quarantine, other_board: Board) -> None:
        """Copy all about a board to the machine that has it from now on."""
        case = self.cases.get(board)
        if case is not None:
            other.cases[other_board] = Case(
                **{**case.__dict__, "board": other_board, "testing": False}
            )
        if board in self._faults:
            other._faults[other_board] = list(self._faults[board])
        self.reports.part(board, other.reports, other_board)

    # --- plain builtins, for the book ---

    def to_plain(self, now: float, wall: float) -> dict[str, Any]:
        """Return all of it as plain builtins; all times are Unix times."""
        offset = wall - now
        return {
            "cases": [
                {
                    "board": list(case.board),
                    "kind": case.kind,
                    "what": case.what,
                    "since": case.since,
                    "tests": case.tests,
                    "due": None if case.due is None else case.due + offset,
                    "sure": case.sure,
                }
                for case in self.cases.values()
            ],
            "silent": [[list(frame), since] for frame, since in self.silent.items()],
            "faults": [
                [list(board), [[time + offset, kind] for time, kind in recent]]
                for board in self._faults
                if (recent := self._recent(board, now))
            ],
            "reports": self.reports.to_plain(wall),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any], now: float, wall: float) -> Quarantine:
        """Return the quarantine that `to_plain` described.

        Nothing is put off by a wall clock that was stepped meanwhile: no test
        beyond its interval, no fault into the future.
        """
        quarantine = cls()
        for case in plain["cases"]:
            board = _board(case["board"])
            due = case["due"]
            if due is not None:
                due = now + min(max(0.0, due - wall), _interval(case["tests"]))
            quarantine.cases[board] = Case(
                board, case["kind"], case["what"], case["since"], case["tests"], due, case["sure"]
            )
        for (cabinet, frame), since in plain["silent"]:
            quarantine.silent[Frame((cabinet, frame))] = since
        for where, faults in plain["faults"]:
            quarantine._faults[_board(where)] = [
                (now - max(0.0, wall - time), kind) for time, kind in faults
            ]
        if "reports" in plain:  # since format 2
            quarantine.reports = Reports.from_plain(plain["reports"])
        return quarantine


def _interval(tests: int) -> float:
    """Seconds to the next test after so many failed ones."""
    return TEST_AFTER[min(tests, len(TEST_AFTER) - 1)]


def _board(where: Iterable[int]) -> Board:
    x, y, z = where
    return x, y, z
