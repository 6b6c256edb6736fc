"""One round of tests on one frame: the boards out of service that are tried at the same time.

Owns the line in the log that tells the results once all of them are there.
"""

from __future__ import annotations

import logging

from spalloc_server._jobs.out_of_service import counted
from spalloc_server._places import Board, Frame

log = logging.getLogger(__name__)


class Round:
    """The tests of one frame's boards that began at the same time.

    Parameters
    ----------
    machine : str
    frame : (cabinet, frame)
    boards : set of (x, y, z)
        The boards that are tested.
    """

    def __init__(self, machine: str, frame: Frame, boards: set[Board]) -> None:
        self._machine = machine
        self._frame = frame
        self._awaited = boards
        self._passed: list[Board] = []
        self._failed: dict[str, list[Board]] = {}

    def passed(self, board: Board) -> None:
        """Note a test that succeeded."""
        self._passed.append(board)
        self._end(board)

    def failed(self, board: Board, what: str) -> None:
        """Note a test that found a fault."""
        self._failed.setdefault(what, []).append(board)
        self._end(board)

    def postponed(self, board: Board) -> None:
        """Note a test that did not take place."""
        self._end(board)

    def _end(self, board: Board) -> None:
        self._awaited.discard(board)
        if self._awaited or not (self._passed or self._failed):
            return
        failed = self._failed.items()
        results = [f"{counted(boards)} failed again ({what})" for what, boards in failed]
        if self._passed:
            results.append(f"{counted(self._passed)} passed and may be given out again")
        log.log(
            logging.WARNING if self._failed else logging.INFO,
            "machine %s, cabinet %d, frame %d: tests of boards out of service: %s",
            self._machine,
            *self._frame,
            "; ".join(results),
        )
