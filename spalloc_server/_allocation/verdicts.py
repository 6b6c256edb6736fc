"""Findings about a machine's boards, for as long as they hold.

Owns remembered verdicts, which go stale with the dead boards and links.  Must not
know which blocks are taken, for no verdict depends on that.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any, TypeVar

from spalloc_server._allocation.candidate_filter import _CandidateFilter

#: Verdicts kept at most, about four megabytes; arbitrary.
_MOST_VERDICTS = 16_384

_Key = tuple[object, ...]
_Found = TypeVar("_Found")


class Verdicts:
    """Remembers answers that depend on dead boards and links only."""

    def __init__(self) -> None:
        self._verdicts: dict[_Key, bool] = {}
        self._found: dict[_Key, Any] = {}

    def __len__(self) -> int:
        return len(self._verdicts)

    def forget(self) -> None:
        """Forget all findings: the dead boards or links have changed."""
        self._verdicts.clear()
        self._found.clear()

    def find(self, key: _Key, find_out: Callable[[], _Found]) -> _Found:
        """Find something out that is no verdict, unless it is remembered.

        Parameters
        ----------
        key : tuple
            Names the question, and the type of its answer.
        find_out : callable
            Called without arguments.
        """
        if key not in self._found:
            found = find_out()
            if len(self._found) >= _MOST_VERDICTS:
                self._found.clear()
            self._found[key] = found
        answer: _Found = self._found[key]
        return answer

    def answer(self, key: _Key, find_out: Callable[[], bool]) -> bool:
        """Answer a question, from memory if it was answered before.

        Parameters
        ----------
        key : tuple
            Names the question.
        find_out : callable
            Called without arguments.

        Returns
        -------
        bool
        """
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = find_out()
            self._remember(key, verdict)
        return verdict

    def accepts(
        self, judge: _CandidateFilter, x: int, y: int, width: int, height: int
    ) -> bool:
        """Verdict of a filter on a block, remembered or not.

        Parameters
        ----------
        judge : _CandidateFilter
            Need not hold the boards of the block afterwards.
        x, y, width, height : int
            The block.

        Returns
        -------
        bool
        """
        return self.answer(
            (x, y, width, height, *limits_of(judge)), lambda: judge(x, y, width, height)
        )

    def known(
        self, judge: _CandidateFilter, x: int, y: int, width: int, height: int
    ) -> bool | None:
        """Verdict of a filter on a block, None if it is not remembered."""
        return self._verdicts.get((x, y, width, height, *limits_of(judge)))

    def sparing(self, judge: _CandidateFilter) -> Callable[[int, int, int, int], bool]:
        """Spare a filter the blocks that it is known to refuse.

        Parameters
        ----------
        judge : _CandidateFilter
            Holds the boards of the block that is accepted.

        Returns
        -------
        callable
            To be used in its place, until dead boards or links may change.
        """
        limits = limits_of(judge)

        def accept(x: int, y: int, width: int, height: int) -> bool:
            key = (x, y, width, height, *limits)
            if self._verdicts.get(key) is False:
                return False
            verdict = judge(x, y, width, height)
            self._remember(key, verdict)
            return verdict

        return accept

    def _remember(self, key: _Key, verdict: bool) -> None:
        if len(self._verdicts) >= _MOST_VERDICTS:
            # The oldest, lest a search that goes on later begins anew for ever.
            for oldest in list(islice(self._verdicts, _MOST_VERDICTS // 4)):
                del self._verdicts[oldest]
        self._verdicts[key] = verdict


def limits_of(judge: _CandidateFilter) -> _Key:
    """Return the parts of a filter on which its verdicts depend, beside the faults."""
    return (
        judge.max_dead_boards,
        judge.max_dead_links,
        judge.require_torus,
        judge.expected_boards,
    )
