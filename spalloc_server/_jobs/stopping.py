"""How a stop waits for hardware: not for ever, and less when told to hurry.

Knows frames only by their methods; see spec 3 for what a stand-in has.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from spalloc_server import _clock

log = logging.getLogger(__name__)

#: Between two looks at whether to hurry: a signal handler may only set a flag.
_SLICE = 0.05
#: How long frames that were given up may take to end.
_SECONDS_TO_GIVE_UP = 2.0


class Hurry:
    """Whether somebody who waits is to wait no longer; set from signal handlers."""

    def __init__(self) -> None:
        self._hurry = False

    def __bool__(self) -> bool:
        return self._hurry

    def up(self) -> None:
        """Wait no longer."""
        self._hurry = True


def join_frames(frames: Iterable[Any], timeout: float, hurry: Hurry) -> bool:
    """Wait for stopped frames to finish what they were asked, within limits.

    Parameters
    ----------
    frames : iterable of AsyncBMPController
        All stopped.
    timeout : float
        Seconds for all of them together; what is left then is given up.
    hurry : Hurry
        Ends the waiting earlier.

    Returns
    -------
    bool
        Whether all have finished.
    """
    waiting = list(frames)
    deadline = _clock.monotonic() + timeout
    while waiting:
        waiting = [frame for frame in waiting if not _ended(frame, _SLICE)]
        if waiting and (hurry or _clock.monotonic() >= deadline):
            break
    for frame in waiting:
        log.warning("frame %s: given up with requests unfinished", frame.hostname)
        frame.abandon()
    deadline = _clock.monotonic() + _SECONDS_TO_GIVE_UP
    for frame in waiting:
        frame.join(max(0.0, deadline - _clock.monotonic()))
    return not waiting


def _ended(frame: Any, seconds: float) -> bool:
    """Wait for one frame; a stand-in that knows no limits is waited for to its end."""
    if not hasattr(frame, "abandon"):
        frame.join()
        return True
    frame.join(seconds)
    return frame.is_alive() is not True  # a stand-in may answer anything
