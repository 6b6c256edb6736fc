"""What was found out about blocks, for as long as it holds.

Owns remembered verdicts of `_CandidateFilter` and the one rule by which they
go stale: the dead boards or dead links are not what they were.  Must not know
which blocks are taken, for no verdict depends on that.
"""

from collections.abc import Callable

from spalloc_server._candidate_filter import DeadSet, _CandidateFilter

#: Verdicts kept at most, about a megabyte; arbitrary.
_MOST_VERDICTS = 4096


class Watch:
    """Notices that sets were replaced or changed in place by their owner.

    Sets and frozensets are compared with a copy, which costs no Python code
    for each member.  Other containers can only be asked for membership, so
    they count as changed each time.
    """

    def __init__(self) -> None:
        self._copies: tuple[frozenset[object] | None, ...] = ()

    def same(self, *sets: DeadSet) -> bool:
        """Whether the sets hold what they held when last asked about.

        Parameters
        ----------
        *sets : container
            As many as the other times.

        Returns
        -------
        bool
        """
        if self._copies and all(map(_equal, self._copies, sets)):
            return True
        self._copies = tuple(map(_copy, sets))
        return False


def _copy(container: DeadSet) -> frozenset[object] | None:
    # A subclass may answer otherwise than its members tell.
    if type(container) is set or type(container) is frozenset:
        return frozenset(container)
    return None


def _equal(copy: frozenset[object] | None, container: DeadSet) -> bool:
    if copy is None or copy is container:
        return copy is not None
    return type(container) in {set, frozenset} and copy == container


class Verdicts:
    """Remembers what filters said of blocks."""

    def __init__(self) -> None:
        self._watch = Watch()
        self._verdicts: dict[tuple[object, ...], bool] = {}

    def __len__(self) -> int:
        return len(self._verdicts)

    def accepts(
        self, candidate_filter: _CandidateFilter, x: int, y: int, width: int, height: int
    ) -> bool:
        """Verdict of a filter on a block, remembered or not.

        Parameters
        ----------
        candidate_filter : _CandidateFilter
            Need not hold the boards of the block afterwards.
        x, y, width, height : int
            The block.

        Returns
        -------
        bool
        """
        self._forget_stale(candidate_filter)
        key = (x, y, width, height, *_limits_of(candidate_filter))
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._remember(key, candidate_filter(x, y, width, height))
        return verdict

    def sparing(
        self, candidate_filter: _CandidateFilter
    ) -> Callable[[int, int, int, int], bool]:
        """Spare a filter the blocks that it is known to refuse.

        Parameters
        ----------
        candidate_filter : _CandidateFilter
            Holds the boards of the block that is accepted.

        Returns
        -------
        callable
            To be used in its place until dead boards or links may change.
        """
        self._forget_stale(candidate_filter)
        limits = _limits_of(candidate_filter)

        def judge(x: int, y: int, width: int, height: int) -> bool:
            key = (x, y, width, height, *limits)
            if self._verdicts.get(key) is False:
                return False
            return self._remember(key, candidate_filter(x, y, width, height))

        return judge

    def _forget_stale(self, candidate_filter: _CandidateFilter) -> None:
        if not self._watch.same(candidate_filter.dead_boards, candidate_filter.dead_links):
            self._verdicts.clear()

    def _remember(self, key: tuple[object, ...], verdict: bool) -> bool:
        if len(self._verdicts) >= _MOST_VERDICTS:
            self._verdicts.clear()
        self._verdicts[key] = verdict
        return verdict


def _limits_of(candidate_filter: _CandidateFilter) -> tuple[object, ...]:
    return (
        candidate_filter.max_dead_boards,
        candidate_filter.max_dead_links,
        candidate_filter.require_torus,
        candidate_filter.expected_boards,
    )
