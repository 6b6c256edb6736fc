"""`Faults`: which faults are in force at one frame and its boards, and how often they struck.

Must not know the effects of faults: `frame` asks and acts.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TypeVar

from spalloc_server._simulator.faults import KINDS, Fault

AnyFault = TypeVar("AnyFault", bound=Fault)


class _InForce:
    """A fault and how often it has struck, in all (None) or per board."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.used: Counter[int | None] = Counter()

    def strikes(self, board: int | None, *, count: bool) -> bool:
        """Whether it is not used up; counts this time if asked."""
        key = board if self.fault.per_board else None
        if self.fault.times is not None and self.used[key] >= self.fault.times:
            return False
        if count and self.fault.times is not None:
            self.used[key] += 1
        return True


class Faults:
    """The faults in force at one frame: of the whole frame (None) and of its boards."""

    def __init__(self) -> None:
        self._in_force: dict[int | None, dict[str, _InForce]] = {}

    def __bool__(self) -> bool:
        return bool(self._in_force)

    def inject(self, board: int | None, fault: Fault) -> None:
        """Put a fault in force; it takes the place of the one of its kind there."""
        self._in_force.setdefault(board, {})[fault.kind] = _InForce(fault)

    def copy(self) -> "Faults":
        """Make a table of the same faults, none of which has struck yet."""
        same = Faults()
        for board, here in self._in_force.items():
            for entry in here.values():
                same.inject(board, entry.fault)
        return same

    def clear(self, board: int | None = None, kinds: Iterable[str] = ()) -> None:
        """Remove faults.

        Parameters
        ----------
        board : int or None
            Those of this board; None for those of the frame and of all of its boards.
        kinds : iterable of str
            Only of these kinds; all if empty.
        """
        wanted = frozenset(kinds) or frozenset(KINDS)
        for where in list(self._in_force) if board is None else [board]:
            here = self._in_force.get(where, {})
            left = {kind: fault for kind, fault in here.items() if kind not in wanted}
            if left:
                self._in_force[where] = left
            else:
                self._in_force.pop(where, None)

    def of(
        self,
        where: int | None,
        kind: type[AnyFault],
        board: int | None = None,
        *,
        count: bool = False,
    ) -> AnyFault | None:
        """Find the fault of one place: a board, or the frame itself (None).

        Parameters
        ----------
        where : int or None
            The place.
        kind : type
            Which kind.
        board : int or None
            Board that it would strike, if that is counted.
        count : bool
            Whether it strikes now.

        Returns
        -------
        Fault or None
            None if there is none or it is used up.
        """
        entry = self._in_force.get(where, {}).get(kind.kind)
        if entry is None or not entry.strikes(board, count=count):
            return None
        assert isinstance(entry.fault, kind)
        return entry.fault

    def find(self, board: int, kind: type[AnyFault], *, count: bool = False) -> AnyFault | None:
        """Find the fault that holds for a board: its own, else the frame's; see `of`."""
        if not self._in_force:
            return None
        own = self.of(board, kind, board, count=count)
        return own if own is not None else self.of(None, kind, board, count=count)

    def list(self) -> list[tuple[int | None, str]]:
        """(board or None, text) of all in force, the frame's first; without those used up."""
        places = sorted(self._in_force, key=lambda board: -1 if board is None else board)
        return [
            (place, str(entry.fault))
            for place in places
            for entry in self._in_force[place].values()
            if entry.fault.per_board or entry.strikes(None, count=False)
        ]
