"""How a stop waits for hardware: not for ever, and less when told to hurry.

Knows frames only by their methods; a stand-in has no more than ``stop`` and ``join``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from spalloc_server import _clock
from spalloc_server._jobs.stand_in_frames import has_ended

log = logging.getLogger(__name__)

#: Between two looks at whether to hurry: a signal handler may only set a flag.
_SLICE = 0.05
#: How long frames that were given up may take to end.
_SECONDS_TO_GIVE_UP = 2.0


class Hurry:
    """Whether to wait for hardware no longer; set from signal handlers."""

    def __init__(self) -> None:
        self._hurry = False

    def __bool__(self) -> bool:
        return self._hurry

    def up(self) -> None:
        """Wait no longer."""
        self._hurry = True


def join_frames(frames: Iterable[Any], timeout: float, hurry: Hurry) -> bool:
    """Wait for stopped frames to finish their requests, within limits.

    Parameters
    ----------
    frames : iterable of AsyncBMPController
        All stopped.
    timeout : float
        Seconds for all of them together; frames that are left then are given up.
    hurry : Hurry
        Ends the waiting earlier.

    Returns
    -------
    bool
        Whether all have finished.
    """
    waiting = list(frames)
    deadline = _clock.monotonic() + timeout
    while waiting := [frame for frame in waiting if not has_ended(frame)]:
        left = deadline - _clock.monotonic()
        if hurry or left <= 0:
            break
        # One stands for all: waiting for each in turn would add up.
        waiting[0].join(min(_SLICE, left))
    for frame in waiting:
        frame.abandon()
    if waiting:
        names = ", ".join(str(frame.hostname) for frame in waiting)
        # A failed start waits for none.
        level = logging.WARNING if timeout > 0 else logging.DEBUG
        log.log(level, "frames given up with requests unfinished: %s", names)
    deadline = _clock.monotonic() + _SECONDS_TO_GIVE_UP
    for frame in waiting:
        frame.join(max(0.0, deadline - _clock.monotonic()))
    return not waiting
