"""A frame's thread without a thread, on hardware whose FPGAs take their time to configure."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from spalloc_server._bmp.frame_hardware import FrameHardware, FrameStatistics
from spalloc_server._bmp.interface import BMPAnswerError
from spalloc_server._bmp.requests import LinkRequest
from spalloc_server._bmp.transceiver import FPGAWait
from spalloc_server.async_bmp_controller import AsyncBMPController
from tests.support.fake_bmp import FakeTransceiver
from tests.support.fake_clock import FakeClock

SECONDS_TO_CONFIGURE = 5.0
SECONDS_TO_SWITCH = 0.5
SECONDS_TO_ASK = 0.001


class Command(NamedTuple):
    """One command to the hardware: "on", "check", "link" or "off"."""

    when: float
    what: str
    boards: tuple[int, ...]


class ConfiguringHardware(FrameHardware):
    """Boards that are on after half a second, and usable 5 s later.

    Attributes
    ----------
    commands : list of Command
    on, checked : set of int
        Boards that are on, and those whose FPGAs were found right since.
    waits : dict
        {board: its last wait}.
    refuse, wrong, bad_links : Counter
        By board: how often the next such command fails.
    touched_too_early : list of Command
        Commands to boards whose FPGAs were still configuring.
    """

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(FakeTransceiver, threading.Event(), FrameStatistics(), _ignore, _ignore)
        self.commands: list[Command] = []
        self.on: set[int] = set()
        self.checked: set[int] = set()
        self.waits: dict[int, FPGAWait] = {}
        self.refuse: Counter[int] = Counter()
        self.wrong: Counter[int] = Counter()
        self.bad_links: Counter[int] = Counter()
        self.touched_too_early: list[Command] = []
        self._clock = clock

    def power(self, on: bool, boards: list[int]) -> FPGAWait | None:
        self._note("on" if on else "off", boards, SECONDS_TO_SWITCH)
        if [board for board in boards if _fails(self.refuse, board)]:
            raise BMPAnswerError("refused")
        self.checked -= set(boards)
        if not on:
            self.on -= set(boards)
            return None
        self.on |= set(boards)
        wait = FPGAWait(self._clock.now + SECONDS_TO_CONFIGURE)
        self.waits.update(dict.fromkeys(boards, wait))
        return wait

    def wrong_fpgas(self, board: int) -> str | None:
        self._note("check", [board], SECONDS_TO_ASK)
        if _fails(self.wrong, board):
            return "FPGA 2 says 0"
        self.checked.add(board)
        return None

    def set_link(self, link: LinkRequest) -> None:
        self._note("link", [link.board], SECONDS_TO_ASK)
        if _fails(self.bad_links, link.board):
            raise BMPAnswerError("RC_CMD")

    def take_late_answers(self) -> None:
        """None are late unless a test says so."""

    def _note(self, what: str, boards: list[int], seconds: float) -> None:
        command = Command(self._clock.now, what, tuple(boards))
        self.commands.append(command)
        for board in boards:
            wait = self.waits.get(board)
            if wait is not None and wait.over_at > self._clock.now:
                self.touched_too_early.append(command)
        self._clock.advance(seconds)


class SteppedController(AsyncBMPController):
    """Works when it is told to, on a clock that a test moves."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__("frame0")
        self._thread.join()
        self.hardware = ConfiguringHardware(clock)
        self._frame = self.hardware
        self._hand_clock = clock

    def _run(self) -> None:
        """Nothing is done by the thread."""

    def work(self, until: float) -> None:
        """Do everything that there is to do up to a time, and let the time pass."""
        clock = self._hand_clock
        idle_since = clock.now
        while clock.now < until:
            self._drop_overtaken()
            if (work := self._work_at(clock.now, idle_since)) is not None:
                work()
                idle_since = clock.now
                continue
            due = self._next_time(idle_since)
            clock.now = until if due is None else min(max(due, clock.now), until)


def _fails(counter: Counter[int], board: int) -> bool:
    if counter[board] <= 0:
        return False
    counter[board] -= 1
    return True


def _ignore(_: object) -> None:
    """Nobody listens."""
