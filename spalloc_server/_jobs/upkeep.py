"""The operators' and users' hands on boards: out of service, back, tested, reported.

Also forgets names past their day.  Owns no state: `Health` keeps the boards that are out, and
decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spalloc_server._jobs.report_desk import asked_board, asked_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from spalloc_server._jobs.parts import Parts
    from spalloc_server._jobs.pseudonyms import Forgetter
    from spalloc_server._places import Board


class Upkeep:
    """Takes boards out of service and puts them back, in any thread.

    Parameters
    ----------
    parts : Parts
        The objects behind the controller's lock.
    """

    def __init__(self, parts: Parts) -> None:
        self._records = parts.records
        self._health = parts.health
        self._desk = parts.desk

    def hold_boards(self, machine_name: str, boards: Collection[Board], reason: str) -> None:
        """Take boards out of service after their present jobs, until they are released.

        Raises
        ------
        ValueError
            If there is no such machine, or a board is not of it; nothing is done.
        """
        with self._records.lock:
            self._health.hold(machine_name, boards, reason)

    def release_boards(self, machine_name: str, boards: Collection[Board]) -> list[Board]:
        """Put back in service those of some boards that are out; returns them.

        Boards of a frame that does not answer are not among them: they come back by themselves.
        """
        with self._records.lock:
            return self._health.release_all(machine_name, boards)

    def test_board(self, machine_name: str, board: Board) -> None:
        """Test a board that is out of service as soon as no job has it.

        Raises
        ------
        ValueError
            If there is no such machine or board, or it is in service.
        """
        with self._records.lock:
            self._health.test_now(machine_name, board)

    def report_problem(
        self, host: str | None, job_id: int, board: str | Sequence[int], text: str
    ) -> str:
        """Take a user's report of a board that misbehaves; see `ReportDesk.report`."""
        where, text = asked_board(board), asked_text(text)
        with self._records.lock:
            return self._desk.report(host, job_id, where, text)

    def forget_names(self, words: Forgetter) -> None:
        """Put pseudonyms in the place of names of ended jobs, and forget old reports."""
        with self._records.lock:
            changed = self._records.ended.forget_names(words)
            if changed:
                self._records.tell("names", changed)
            self._health.forget_reports(words.until)
