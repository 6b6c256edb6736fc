"""Reports: users say that a board of theirs misbehaves.

Owns the consequences of the reports that count, for one machine::

    first report --> noted
    second, from another host --> suspect, tested when it is free
    test passed, reported again within 7 days --> out until an operator decides

It also owns the ration of reports that one computer may make.

Pure: `wall` is Unix time, passed in.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import Any

from spalloc_server._places import Board

#: Seconds for which a job's user may report a board that the job was ready on (protocol).
SECONDS_TO_REPORT = 86400.0
#: Seconds for which a report waits for a second one. # arbitrary
SECONDS_KEPT = 7 * 86400.0
#: Seconds for which a passed test makes the next report count for an operator (protocol).
SECONDS_AFTER_TEST = 7 * 86400.0
#: Reports that one computer may make within some seconds: each is an event and a line in the log,
#: which others read. # arbitrary
MOST_REPORTS, SECONDS_OF_REPORTS = 30, 60.0
#: Computers of which the latest reports are remembered. # arbitrary
_MOST_HOSTS = 1024
#: Share of a machine's boards that may be out by reports, and the least number (protocol).
MOST_OUT, LEAST_OUT = 0.02, 1


class Verdict(Enum):
    """The consequence of a report that counts."""

    noted = "noted; a second report, from another computer, will have the board tested"
    suspect = "the board is tested as soon as it is free, and given to nobody until then"
    locked = (
        "the board passed a test and was reported again: "
        "it is out of service until an operator decides"
    )


class Ration:
    """So many reports within a minute from each computer."""

    def __init__(self) -> None:
        # {host: monotonic time at which its minute ends, reports in it}; earliest end first.
        self._minutes: dict[str | None, tuple[float, int]] = {}

    def has_one_more(self, host: str | None, now: float) -> bool:
        """Count a report; False if a computer has made too many within its minute.

        Parameters
        ----------
        host : str or None
            IP address.
        now : float
            Monotonic time, seconds.
        """
        end, count = self._minutes.get(host, (now, 0))
        if end <= now:
            self._minutes.pop(host, None)
            end, count = now + SECONDS_OF_REPORTS, 0
            if len(self._minutes) >= _MOST_HOSTS:
                del self._minutes[next(iter(self._minutes))]
        if count >= MOST_REPORTS:
            return False
        self._minutes[host] = end, count + 1
        return True


class Reports:
    """The reports of one machine's boards that count."""

    def __init__(self) -> None:
        # {board: {host: Unix time}}
        self._hosts: dict[Board, dict[str, float]] = {}
        # When each board passed a test that reports had led to.
        self._passed: dict[Board, float] = {}

    def __bool__(self) -> bool:
        return bool(self._hosts or self._passed)

    def known(self) -> set[Board]:
        """Return the boards of which something is known."""
        return {*self._hosts, *self._passed}

    def add(self, board: Board, host: str, wall: float) -> Verdict:
        """Count a report, and return its consequence."""
        passed = self._passed.get(board)
        if passed is not None and wall - passed < SECONDS_AFTER_TEST:
            self.forget(board)
            return Verdict.locked
        before = self._hosts.get(board, {})
        hosts = {other: time for other, time in before.items() if wall - time < SECONDS_KEPT}
        self._hosts[board] = {**hosts, host: wall}
        if not hosts.keys() - {host}:
            return Verdict.noted
        del self._hosts[board]
        return Verdict.suspect

    def passed(self, board: Board, wall: float) -> None:
        """Note that a board passed the test that reports had led to."""
        self._passed[board] = wall

    def forget(self, board: Board) -> None:
        """Forget all about a board."""
        self._hosts.pop(board, None)
        self._passed.pop(board, None)

    def forget_before(self, wall: float) -> bool:
        """Forget the reports of before a moment; returns whether there were any."""
        old = [
            (board, host)
            for board, hosts in self._hosts.items()
            for host, time in hosts.items()
            if time < wall
        ]
        for board, host in old:
            del self._hosts[board][host]
            if not self._hosts[board]:
                del self._hosts[board]
        return bool(old)

    def part(self, board: Board, other: Reports, other_board: Board) -> None:
        """Copy all about a board to another machine that has it from now on."""
        if board in self._hosts:
            other._hosts[other_board] = dict(self._hosts[board])
        if board in self._passed:
            other._passed[other_board] = self._passed[board]

    # --- plain builtins, for the book ---

    def to_plain(self, wall: float) -> dict[str, Any]:
        """Return the reports that still count as plain builtins."""
        return {
            "hosts": [
                [list(board), [[host, time] for host, time in hosts.items()]]
                for board, hosts in self._hosts.items()
                if any(wall - time < SECONDS_KEPT for time in hosts.values())
            ],
            "passed": [
                [list(board), time]
                for board, time in self._passed.items()
                if wall - time < SECONDS_AFTER_TEST
            ],
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Reports:
        """Return the reports that `to_plain` described."""
        reports = cls()
        for board, hosts in plain["hosts"]:
            reports._hosts[_board(board)] = {host: float(time) for host, time in hosts}
        for board, time in plain["passed"]:
            reports._passed[_board(board)] = float(time)
        return reports


def most_out(boards: int) -> int:
    """Return how many of so many boards may be out by reports."""
    return max(LEAST_OUT, int(boards * MOST_OUT))


def _board(numbers: Iterable[int]) -> Board:
    x, y, z = numbers
    return x, y, z
