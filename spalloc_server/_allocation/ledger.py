"""The taken boards of one machine: allocated, resting after use, or in quarantine.

Owns the records that both kinds of allocator keep, and their way from and to a
saved state; notices that the dead boards and links have changed, of which their
owner says no word.  Must not know how a place is found, nor jobs, queues or
hardware.  Time is read through `_clock`.

An allocation's life::

    allocate() --> in use --free()--> resting --check_free()--> free again

Beside asking for a place there is imposing one (`restore`), which puts back the
decisions of an earlier run.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spalloc_server._allocation.dead_sets import DeadSet, plain_places
from spalloc_server._allocation.room import Room
from spalloc_server._allocation.single_boards import SingleBoards
from spalloc_server._allocation.verdicts import Verdicts
from spalloc_server._allocation.waiting_list import Footprint, WaitingList
from spalloc_server._places import Block, Board, Triad
from spalloc_server.links import Links


class Watch:
    """Notices that sets were replaced or changed in place.

    Sets and frozensets are compared with a copy, which costs no Python code
    for each member.  Other containers can only be asked for membership, so
    they count as changed each time.
    """

    def __init__(self) -> None:
        self._copies: tuple[frozenset[object] | None, ...] = ()

    def same(self, *sets: DeadSet) -> bool:
        """Whether the sets have the same members as at the last question.

        Parameters
        ----------
        *sets : container
            As many as the other times.

        Returns
        -------
        bool
            False the first time.
        """
        if self._copies and all(map(_is_copy, self._copies, sets)):
            return True
        self._copies = tuple(map(_copy, sets))
        return False


class Ledger(ABC):
    """The records of an allocator.

    Parameters
    ----------
    width, height : int
        Size of the machine, triads.
    dead_boards : container of (x, y, z), optional
        Boards that do not work.  May be changed or replaced at any time.
    dead_links : container of (x, y, z, link), optional
        Links that do not work.  May be changed or replaced at any time.
    next_id : int
        Identifier of the next allocation.
    seconds_before_free : float
        Seconds that boards rest after use.

    Attributes
    ----------
    full_measure : bool
        Whether a request for n boards that does not say how many dead ones
        will do waits for n live ones, in a larger block if need be, where the
        idle machine has them; else for as many as any block has.  If not, it
        gets the first block of the right size.
    on_rested : callable or None
        Called with the list of identifiers of allocations that have rested.
    """

    def __init__(  # noqa: PLR0917 - the signature is fixed by spec
        self,
        width: int,
        height: int,
        dead_boards: DeadSet | None = None,
        dead_links: DeadSet | None = None,
        next_id: int = 1,
        seconds_before_free: float = 30,
    ) -> None:
        self.width = width
        self.height = height
        self.dead_boards: DeadSet = set() if dead_boards is None else dead_boards
        self.dead_links: DeadSet = set() if dead_links is None else dead_links
        self.next_id = next_id
        self.seconds_before_free = seconds_before_free
        self.full_measure = False
        self.on_rested: Callable[[list[int]], None] | None = None
        self._in_use: dict[int, Footprint] = {}
        self._waiting_list = WaitingList()
        self._single_boards = SingleBoards()
        self._verdicts = Verdicts()
        self._watch = Watch()
        self._faults_version = 0

    @property
    @abstractmethod
    def room(self) -> Room:
        """The free triads."""

    @property
    def single_board_triads(self) -> dict[Triad, set[int]]:
        """Opened triads with spare boards: {(x, y): {z}}."""
        return self._single_boards.spare

    @single_board_triads.setter
    def single_board_triads(self, spare: dict[Triad, set[int]]) -> None:
        self._single_boards.spare = spare

    @property
    def full_single_board_triads(self) -> set[Triad]:
        """Opened triads without spare boards: {(x, y)}."""
        return self._single_boards.full

    @full_single_board_triads.setter
    def full_single_board_triads(self, full: set[Triad]) -> None:
        self._single_boards.full = full

    def _use(self, footprint: Footprint) -> int:
        allocation_id = self.next_id
        self.next_id += 1
        self._in_use[allocation_id] = footprint
        return allocation_id

    def _is_on_machine(self, board: Board) -> bool:
        x, y, z = board
        return 0 <= x < self.width and 0 <= y < self.height and 0 <= z <= 2

    def _all_boards(self) -> Iterable[Board]:
        return ((x, y, z) for x in range(self.width) for y in range(self.height) for z in range(3))

    def _look_at_faults(self) -> int:
        """Notice that the dead boards or links have changed, and forget all that is stale.

        To be called first by each method that uses a remembered finding, or single
        boards.

        Returns
        -------
        int
            A number that changes with the dead boards and links.
        """
        if not self._watch.same(self.dead_boards, self.dead_links):
            self._faults_version += 1
            self._verdicts.forget()
            self._single_boards.look_again()
        return self._faults_version

    # --- give boards back ---

    def free(self, allocation_id: int) -> None:
        """Give boards back; they rest before they are used again.

        Parameters
        ----------
        allocation_id : int
            From `alloc`.

        Raises
        ------
        KeyError
            If there is no such allocation.
        """
        self._waiting_list.add(allocation_id, self._in_use.pop(allocation_id))

    def check_free(self) -> bool:
        """Use boards again that have rested long enough.

        Returns
        -------
        bool
            Whether there were any.
        """
        if not self._waiting_list.entries:
            return False
        due = self._waiting_list.take_due(self.seconds_before_free)
        for _, footprint in due:
            self._return(footprint)
        if due and self.on_rested is not None:
            self.on_rested([allocation_id for allocation_id, _ in due])
        return bool(due)

    def _return(self, footprint: Footprint) -> None:
        """Make the boards of an allocation free at once."""
        single_boards, room = self._single_boards, self.room
        if len(footprint) == 4:
            single_boards.give_back(footprint[1:], room, self.dead_boards)
        else:
            self._free_block(footprint[1:])
            single_boards.withdraw(footprint[1:], room, self.dead_boards)

    def _take_block(self, block: Block) -> None:
        """Take one given block; ValueError if it is not wholly free and inside."""
        self.room.take(*block)

    def _free_block(self, block: Block) -> None:
        """Free a block."""
        self.room.free(*block[:2])

    # --- quarantine ---

    @property
    def quarantined(self) -> frozenset[Board]:
        """Boards that are not handed out until released."""
        return frozenset(self._single_boards.quarantined)

    def quarantine(self, board: Board) -> None:
        """Hand out a board no more; a present job keeps it.

        It counts as taken, not as dead: possible requests stay possible.  Its
        triad serves single boards as soon as it is free, so that blocks are
        packed around it and its neighbours are of use.

        Parameters
        ----------
        board : (x, y, z)
            Which one.

        Raises
        ------
        ValueError
            If it is not on the machine.
        """
        if not self._is_on_machine(board):
            raise ValueError(
                f"board {board} is not on a machine of {self.width} x {self.height} triads"
            )
        self._single_boards.quarantine(board, self.room, self.dead_boards)

    def release(self, board: Board) -> None:
        """End the quarantine of a board; harmless if it is not in it.

        Parameters
        ----------
        board : (x, y, z)
            Which one.
        """
        self._single_boards.release(board, self.room, self.dead_boards)

    # --- tell and impose ---

    @property
    def allocations(self) -> dict[int, Footprint]:
        """The footprints of all allocations, those resting left out."""
        return dict(self._in_use)

    def in_use(self) -> Mapping[int, Footprint]:
        """Return the allocations that are in use, not to be changed: {identifier: footprint}."""
        return self._in_use

    @property
    def resting(self) -> list[tuple[int, Footprint, float]]:
        """Allocation_id, footprint and seconds rested, longest first."""
        return self._waiting_list.listing()

    @property
    def next_rested(self) -> float | None:
        """When the next boards will have rested, monotonic seconds."""
        resting = self._waiting_list
        return resting.next_due(self.seconds_before_free) if resting.entries else None

    def describe(self, allocation_id: int) -> Footprint:
        """Return the footprint of an allocation.

        Parameters
        ----------
        allocation_id : int
            Held or resting.

        Returns
        -------
        ("triads" or "boards", x, y, width, height) or ("board", x, y, z)

        Raises
        ------
        KeyError
            If there is no such allocation.
        """
        footprint = self._in_use.get(allocation_id) or self._waiting_list.find(allocation_id)
        if footprint is None:
            raise KeyError(allocation_id)
        return footprint

    def restore(
        self,
        allocation_id: int,
        footprint: Sequence[Any],
        resting_for: float | None = None,
    ) -> None:
        """Impose an allocation that was decided earlier.

        Dead boards, limits and quarantine are not asked.

        Parameters
        ----------
        allocation_id : int
            Not known yet; `next_id` is raised above it.
        footprint : sequence
            From `describe`, as a list if it has been through JSON.
        resting_for : float, optional
            If given, the boards have been resting for so many seconds.

        Raises
        ------
        ValueError
            If it is known, lies outside or overlaps another; nothing changes.
        """
        if allocation_id in self._in_use or self._waiting_list.find(allocation_id):
            raise ValueError(f"allocation {allocation_id} is known already")
        footprint = _footprint(footprint)
        self._impose(footprint)
        if resting_for is None:
            self._in_use[allocation_id] = footprint
        else:
            self._waiting_list.add(allocation_id, footprint, resting_for)
        self.next_id = max(self.next_id, allocation_id + 1)

    def take_over(self, other: "Ledger") -> None:
        """Impose all that another allocator of the same machine has; this one has nothing.

        Parameters
        ----------
        other : Ledger
            Not to be used any more.
        """
        self.full_measure, self.on_rested = other.full_measure, other.on_rested
        for allocation_id, footprint in other.allocations.items():
            self.restore(allocation_id, footprint)
        for allocation_id, footprint, rested in other.resting:
            self.restore(allocation_id, footprint, rested)
        for board in sorted(other.quarantined):
            self.quarantine(board)
        self.next_id = other.next_id

    def _impose(self, footprint: Footprint) -> None:
        single_boards, room = self._single_boards, self.room
        if len(footprint) == 4:
            board = footprint[1:]
            if not self._is_on_machine(board):
                raise ValueError(f"board {board} is not on the machine")
            single_boards.impose(board, room, self.dead_boards)
            return
        block = footprint[1:]
        single_boards.make_way(block, room)
        try:
            self._take_block(block)
        finally:
            # Where the block could not be taken, all is as it was.
            single_boards.withdraw(block, room, self.dead_boards)

    # --- pickling: plain builtins only ---

    def __getstate__(self) -> dict[str, Any]:
        links = ((*board, link) for board in self._all_boards() for link in Links)
        return {
            "width": self.width,
            "height": self.height,
            "dead_boards": plain_places(self.dead_boards, self._all_boards()),
            "dead_links": plain_places(self.dead_links, links),
            "next_id": self.next_id,
            "seconds_before_free": self.seconds_before_free,
            "full_measure": self.full_measure,
            "taken": [tuple(block) for block in self.room.taken()],
            "held": dict(self._in_use),
            "resting": self.resting,
            "single_boards": self._single_boards.state(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            state["width"],
            state["height"],
            state["dead_boards"],
            state["dead_links"],
            state["next_id"],
            state["seconds_before_free"],
        )
        self.full_measure = state["full_measure"]
        self.room.take_all(state["taken"])
        self._in_use.update(state["held"])
        for allocation_id, footprint, rested in state["resting"]:
            self._waiting_list.add(allocation_id, footprint, rested)
        self._single_boards.restore(state["single_boards"])


def _footprint(told: Sequence[Any]) -> Footprint:
    """Read a footprint."""
    footprint = tuple(told)
    kinds = {4: ("board",), 5: ("triads", "boards")}
    if not footprint or footprint[0] not in kinds.get(len(footprint), ()):
        raise ValueError(f"{told!r} is not the footprint of an allocation")
    return footprint


def _copy(container: DeadSet) -> frozenset[object] | None:
    # Exactly these types: a subclass may answer otherwise than it iterates.
    if type(container) is set or type(container) is frozenset:
        return frozenset(container)
    return None


def _is_copy(copy: frozenset[object] | None, container: DeadSet) -> bool:
    if copy is None or copy is container:
        return copy is not None
    return type(container) in {set, frozenset} and copy == container
