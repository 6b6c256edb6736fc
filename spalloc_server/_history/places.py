"""Places told of by their boards, and words for jobs that were lost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: The reason of jobs that a server forgot.
FORGOTTEN = "The server started anew and forgot its jobs."


def place_of(boards: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return the place, the number of boards, and those in the place that are not among them.

    Parameters
    ----------
    boards : sequence of [x, y, z]
        At least one.  A block that reaches across the machine's edge is told as all between.
    """
    if len(boards) == 1:
        return {"place": list(boards[0]), "boards": 1}
    xs, ys = {board[0] for board in boards}, {board[1] for board in boards}
    x, y = min(xs), min(ys)
    w, h = max(xs) - x + 1, max(ys) - y + 1
    has = {tuple(board) for board in boards}
    within = [(a, b, c) for a in range(x, x + w) for b in range(y, y + h) for c in range(3)]
    without = [list(board) for board in within if board not in has]
    return {"place": [x, y, w, h], "boards": len(has), "without": without}
