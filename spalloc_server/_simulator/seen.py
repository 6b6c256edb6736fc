"""Packets that the simulator saw: counted per frame, and one log of all frames in order.

Must not decide anything; `frame` writes, `simulation` reads.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from spalloc_server._simulator.faults import command_word
from spalloc_server._simulator.packets import Command, Request, Result

_LOG_LENGTH = 10_000  # entries; about 6 MB, of any number of frames


class Entry(NamedTuple):
    """One datagram that arrived.

    Attributes
    ----------
    number : int
        Counts all datagrams of all frames, from 1.
    at : float
        Seconds since the first one.
    frame : str
        Host name of the frame.
    request : Request or None
        None if it was malformed.
    outcome : str
        Its outcome: ``ok``, ``error 0x84``, ``repeat``, ``request lost``, ``reply lost``,
        ``silent`` or ``malformed``.
    """

    number: int
    at: float
    frame: str
    request: Request | None
    outcome: str

    def boards(self) -> list[int]:
        """Boards that it is about."""
        if self.request is None:
            return []
        if self.request.command == Command.POWER:
            return mask_boards(self.request.args[1])
        return [self.request.board]

    def plain(self) -> dict[str, Any]:
        """As builtins for JSON."""
        request = self.request
        return {
            "number": self.number,
            "seconds": round(self.at, 6),
            "frame": self.frame,
            "command": "" if request is None else command_word(request.command),
            "boards": self.boards(),
            "detail": "" if request is None else _detail(request),
            "outcome": self.outcome,
        }

    def __str__(self) -> str:
        if self.request is None:
            return f"{self.number:6} {self.at:10.3f} {self.frame}: {self.outcome}"
        what = f"{command_word(self.request.command)} {_detail(self.request)}".rstrip()
        boards = ",".join(map(str, self.boards()))
        return (
            f"{self.number:6} {self.at:10.3f} {self.frame} board {boards}: {what}: {self.outcome}"
        )


def mask_boards(mask: int) -> list[int]:
    """Boards of a bit mask, in order."""
    return [board for board in range(32) if mask >> board & 1]


def _detail(request: Request) -> str:
    first, _, third = request.args
    if request.command == Command.POWER:
        delay = f" delay {first >> 16} ms" if first >> 16 else ""
        return ("on" if first & 1 else "off") + delay
    if request.command == Command.LINK_READ:
        return f"FPGA {third} {first:#x}"
    if request.command == Command.LINK_WRITE:
        return f"FPGA {third} {first:#x} = {int.from_bytes(request.data[:4], 'little')}"
    return ""


class Log:
    """The last datagrams of all frames, in order of arrival."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=_LOG_LENGTH)
        self._number = 0
        self._start: float | None = None

    def add(self, at: float, frame: str, request: Request | None, outcome: str) -> None:
        """Note a datagram that arrived `at` (monotonic seconds)."""
        if self._start is None:
            self._start = at
        self._number += 1
        self._entries.append(Entry(self._number, at - self._start, frame, request, outcome))

    def entries(self, wanted: Callable[[Entry], bool]) -> list[Entry]:
        """Those entries that are wanted, oldest first."""
        return [entry for entry in self._entries if wanted(entry)]

    def forget(self, frames: frozenset[str]) -> None:
        """Drop the entries of these frames; numbers go on."""
        self._entries = deque((e for e in self._entries if e.frame not in frames), _LOG_LENGTH)


class Seen:
    """Datagrams of one frame, counted.

    Attributes
    ----------
    packets : Counter of str
        By command.
    outcomes : Counter of str
        By their outcomes, see `Entry.outcome`.
    """

    def __init__(self, frame: str, log: Log) -> None:
        self._frame = frame
        self._log = log
        self.packets: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()

    def add(self, now: float, request: Request | None, outcome: str) -> None:
        """Count a datagram and log it."""
        if request is not None:
            self.packets[command_word(request.command)] += 1
        self.outcomes[outcome] += 1
        self._log.add(now, self._frame, request, outcome)

    def forget(self) -> None:
        """Start counting anew."""
        self.packets.clear()
        self.outcomes.clear()


def outcome_of(result: int) -> str:
    """Word for a result in `Entry.outcome`."""
    return "ok" if result == Result.OK else f"error {result:#x}"
