"""The named points at which a test kills the server.

They lie between two steps of saving, where a crash hurts most.  The hook is
given to the store's constructor; nothing in the environment sets it.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

#: Name of each point and what has just happened there.
POINTS = {
    "before-write": "outcomes are decided, nothing of them is in the journal",
    "mid-write": "half of the record is in the journal",
    "before-reply": "the record is written, no reply has gone out",
    "mid-snapshot": "half of the new snapshot is in its temporary file",
    "before-rename": "new snapshot and new journal lie complete under temporary names",
    "after-rename": "the new snapshot has its name, the directory is not yet fsynced",
    "during-rotation": "the new snapshot is safe, the old journal still has its name",
}

Hook = Callable[[str], None]


def kill_at(text: str) -> Hook:
    """Return a hook that ends this process with SIGKILL at one of the points.

    Parameters
    ----------
    text : str
        ``name`` or ``name:n``: at the n-th time that the point is passed (1-based).

    Raises
    ------
    ValueError
        If there is no such point, or n is not a positive number.
    """
    name, _, number = text.partition(":")
    if name not in POINTS:
        raise ValueError(f"no crash point {name!r}; there are {', '.join(POINTS)}")
    left = int(number or "1")
    if left < 1:
        raise ValueError(f"crash point {text!r}: the number must be at least 1")

    def hook(passed: str) -> None:
        nonlocal left
        if passed == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook
