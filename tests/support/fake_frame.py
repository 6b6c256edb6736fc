"""Frames without hardware or threads, with only what a stand-in has to have (spec 3)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest

from spalloc_server import controller
from spalloc_server.async_bmp_controller import AtomicRequests


class FakeFrame:
    """Keeps what it is asked for until the test has it answer."""

    def __init__(self, rack: Rack, hostname: str, on_thread_start: Callable[[], object] | None):
        self.hostname = hostname
        self.on_thread_start = on_thread_start
        self.requests: list[AtomicRequests] = []
        self.waiting: deque[AtomicRequests] = deque()
        self.stops = 0
        self.joins = 0
        self.holds = 0
        self._rack = rack

    def add_requests(self, requests: AtomicRequests) -> None:
        self.requests.append(requests)
        if self._rack.at_once:
            requests.on_done(True)
        else:
            self.waiting.append(requests)

    def answer(self, success: bool = True, *reason: object) -> None:
        """Answer what was asked first; without a reason unless there is one."""
        self.waiting.popleft().on_done(success, *reason)

    def stop(self) -> None:
        self.stops += 1

    def join(self) -> None:
        self.joins += 1

    def __enter__(self) -> FakeFrame:
        self.holds += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.holds -= 1

    @property
    def power(self) -> list[tuple[list[int], list[int]]]:
        """Boards asked to be on, and off, by request."""
        return [(r.power_on_boards, r.power_off_boards) for r in self.requests]


class Rack:
    """Takes the place of the class `AsyncBMPController` in the controller's module.

    Attributes
    ----------
    frames : list of FakeFrame
        All that were made, in order.
    at_once : bool
        Whether they answer within `add_requests`.
    broken : str or None
        Host whose frame cannot be made.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames: list[FakeFrame] = []
        self.at_once = False
        self.broken: str | None = None
        monkeypatch.setattr(controller, "AsyncBMPController", self)

    def __call__(
        self, hostname: str, on_thread_start: Callable[[], object] | None = None
    ) -> FakeFrame:
        if hostname == self.broken:
            raise OSError(f"no frame at {hostname}")
        frame = FakeFrame(self, hostname, on_thread_start)
        self.frames.append(frame)
        return frame

    def answer_all(self) -> None:
        """Have every frame answer all that it was asked, and what follows from that."""
        while busy := [frame for frame in self.frames if frame.waiting]:
            for frame in busy:
                frame.answer()

    def __getitem__(self, hostname: str) -> FakeFrame:
        """The newest frame of that host."""
        return next(frame for frame in reversed(self.frames) if frame.hostname == hostname)
