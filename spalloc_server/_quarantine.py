"""Which boards of one machine are out of service, why, and when to try them again.

Pure: knows no hardware, no queue and no clock.  Times passed in as `now` are
monotonic seconds; `wall` is Unix time and only for people.

::

    fault --> out, tried again after 1, 5, 15, 60 minutes, then hourly
       |         |                       |
       |    third fault in a day     test passed --> back in service
       |         v
       |      locked -------- operator's release --> back in service
    operator's add --> held --^
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Board = tuple[int, int, int]
Frame = tuple[int, int]

#: Seconds from a fault, or a failed test, to the next test; the last one repeats.
TEST_AFTER = (60.0, 300.0, 900.0, 3600.0)
#: So many faults within so many seconds keep a board out for an operator.
FAULTS_TO_LOCK, FAULT_WINDOW = 3, 86400.0


@dataclass
class Case:
    """A board that is out of service.

    Attributes
    ----------
    board : (x, y, z)
    kind : str
        "power_on", "fpga", "link", "power_off" or "operator".
    what : str
        What happened last, or the operator's reason.
    since : float
        Unix time at which it was taken out.
    tests : int
        How many tests it has failed since.
    due : float or None
        When it is tested next; None if only an operator can release it.
    testing : bool
        Whether a test is under way.
    """

    board: Board
    kind: str
    what: str
    since: float
    tests: int = 0
    due: float | None = None
    testing: bool = False


class Quarantine:
    """The boards and frames of one machine that are out of service."""

    def __init__(self) -> None:
        self.cases: dict[Board, Case] = {}
        # Frames that do not answer: {(cabinet, frame): Unix time since when}.
        self.silent: dict[Frame, float] = {}
        # When each board failed in the last day, also those that came back.
        self._faults: dict[Board, list[float]] = {}

    def __bool__(self) -> bool:
        return bool(self.cases or self.silent or self._faults)

    def fault(self, board: Board, kind: str, what: str, now: float, wall: float) -> Case:
        """Take a board out because of what a user's job met; returns its case.

        What else goes wrong with a board that is out already is no new fault.
        """
        case = self.cases.get(board)
        if case is None:
            recent = [time for time in self._faults.get(board, ()) if now - time < FAULT_WINDOW]
            self._faults[board] = [*recent, now]
            case = self.cases[board] = Case(board, kind, what, wall)
        elif case.kind != "operator":
            case.kind, case.what = kind, what
        locked = self.faults_of(board, now) >= FAULTS_TO_LOCK
        case.due = None if locked or case.kind == "operator" else now + TEST_AFTER[0]
        case.tests = 0
        return case

    def hold(self, board: Board, reason: str, wall: float) -> Case:
        """Take a board out until the operator releases it; returns its case."""
        case = self.cases.get(board)
        since = wall if case is None else case.since
        self.cases[board] = Case(board, "operator", reason, since)
        return self.cases[board]

    def release(self, board: Board) -> bool:
        """Put a board back and forget its faults; returns whether it was out."""
        self._faults.pop(board, None)
        return self.cases.pop(board, None) is not None

    def due(self, now: float) -> list[Case]:
        """Return the cases whose test is due and not under way."""
        return [
            case
            for case in self.cases.values()
            if case.due is not None and case.due <= now and not case.testing
        ]

    def next_due(self) -> float | None:
        """Return when the next test is due; None if there is none to come."""
        times = (c.due for c in self.cases.values() if c.due is not None and not c.testing)
        return min(times, default=None)

    def passed(self, board: Board) -> bool:
        """Note that a test succeeded; returns whether the board is back in service."""
        case = self.cases.get(board)
        if case is None or case.due is None:
            return False
        del self.cases[board]
        return True

    def failed(self, board: Board, what: str, now: float) -> None:
        """Note that a test failed, and when the next is."""
        case = self.cases.get(board)
        if case is None:
            return
        case.testing = False
        if case.due is not None:
            case.tests += 1
            case.what = what
            case.due = now + TEST_AFTER[min(case.tests, len(TEST_AFTER) - 1)]

    def postpone(self, board: Board, now: float) -> None:
        """Try a board that could not be tested again at the same distance."""
        case = self.cases.get(board)
        if case is not None:
            case.testing = False
            if case.due is not None:
                case.due = now + TEST_AFTER[min(case.tests, len(TEST_AFTER) - 1)]

    def faults_of(self, board: Board, now: float) -> int:
        """Return how often a board failed in the last day."""
        return sum(now - time < FAULT_WINDOW for time in self._faults.get(board, ()))

    # --- plain builtins, for the book ---

    def to_plain(self, now: float) -> dict[str, Any]:
        """Return all of it as plain builtins; times as distances from now."""
        return {
            "cases": [
                {
                    "board": list(case.board),
                    "kind": case.kind,
                    "what": case.what,
                    "since": case.since,
                    "tests": case.tests,
                    "due_in": None if case.due is None else case.due - now,
                }
                for case in self.cases.values()
            ],
            "silent": [[list(frame), since] for frame, since in self.silent.items()],
            "faults": [
                [list(board), [now - time for time in times if now - time < FAULT_WINDOW]]
                for board, times in self._faults.items()
            ],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any], now: float) -> Quarantine:
        """Return what `to_plain` described."""
        quarantine = cls()
        for case in plain["cases"]:
            board = _board(case["board"])
            due = None if case["due_in"] is None else now + case["due_in"]
            quarantine.cases[board] = Case(
                board, case["kind"], case["what"], case["since"], case["tests"], due
            )
        for (cabinet, frame), since in plain["silent"]:
            quarantine.silent[(cabinet, frame)] = since
        for where, ages in plain["faults"]:
            quarantine._faults[_board(where)] = [now - age for age in ages]
        return quarantine


def _board(where: Iterable[int]) -> Board:
    x, y, z = where
    return x, y, z
