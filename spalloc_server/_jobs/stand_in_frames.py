"""Frames' threads that other programs put in the place of ours.

A class put in the place of `AsyncBMPController` has ``hostname``, ``add_requests``, ``stop``,
``join`` and the context manager; it may lack all else, and answer anything.  Everything that is
done for such frames is here, so that the modules beside this one need not know them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def watch_answering(frame: Any, on_change: Callable[[bool], object]) -> None:
    """Have a frame tell when it falls silent or answers again, if it can."""
    if hasattr(frame, "on_answering_change"):
        frame.on_answering_change = on_change


def abandon(frame: Any) -> None:
    """Have a frame drop the requests that have not begun, if it can."""
    if hasattr(frame, "abandon"):
        frame.abandon()


def is_known_to_have_ended(frame: Any) -> bool:
    """Whether a stopped frame's thread has ended; False if it cannot tell."""
    is_alive = getattr(frame, "is_alive", None)
    return is_alive is not None and not is_alive()


def has_ended(frame: Any) -> bool:
    """Whether a stopped frame has ended; one that cannot be abandoned is waited for to its end."""
    if not hasattr(frame, "abandon"):
        frame.join()
        return True
    return frame.is_alive() is not True


def figure(frame: Any, name: str) -> Any:
    """Return a figure that a frame keeps; None if it does not."""
    return getattr(frame, name, None)
