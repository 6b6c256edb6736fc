"""Judge whether a block of triads is good enough for a request.

Owns what is reachable inside a block and which links leave it.  Must not know
which blocks are taken, nor remember anything: dead boards and links may change
from one question to the next.
"""

from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.grid import STEPS, Link, Network, edge, uncollected
from spalloc_server._places import Board
from spalloc_server.coordinates import WrapAround, board_down_link


class _CandidateFilter:
    """Accepts blocks of triads that keep to given limits.

    Parameters
    ----------
    width, height : int
        Size of the machine, triads.
    dead_boards : container of (x, y, z)
        Boards that do not work.
    dead_links : container of (x, y, z, link)
        Links that do not work.  A cable is dead if either of its ends is in there.
    max_dead_boards, max_dead_links : int or None
        At most this many dead or unreachable boards, and dead cables.
    require_torus : bool
        Whether there must be a live wrap-around link.
    expected_boards : int, optional
        Number that dead boards are weighed against; all of the block if None.

    Attributes
    ----------
    boards : set of (x, y, z) or None
        Reachable boards of the block accepted last.
    periphery : set of (x, y, z, Links) or None
        Links that leave these boards, and both ends of dead cables between them:
        all links that have to be stopped.
    torus : WrapAround or None
        Directions of the live links around the machine between them.
    """

    def __init__(  # noqa: PLR0917 - the signature is fixed by spec
        self,
        width: int,
        height: int,
        dead_boards: DeadSet,
        dead_links: DeadSet,
        max_dead_boards: int | None,
        max_dead_links: int | None,
        require_torus: bool,
        expected_boards: int | None = None,
    ) -> None:
        self.width = width
        self.height = height
        self.dead_boards = dead_boards
        self.dead_links = dead_links
        self.max_dead_boards = max_dead_boards
        self.max_dead_links = max_dead_links
        self.require_torus = require_torus
        self.expected_boards = expected_boards
        self.boards: set[Board] | None = None
        self.periphery: set[Link] | None = None
        self.torus: WrapAround | None = None

    def __call__(self, x: int, y: int, width: int, height: int) -> bool:
        """Whether a block is good enough.

        Parameters
        ----------
        x, y : int
            Bottom-left triad of the block.
        width, height : int
            Size of the block, triads.

        Returns
        -------
        bool
            If True, `boards`, `periphery` and `torus` tell of this block.
        """
        with uncollected(width * height):
            return self._judge(x, y, width, height)

    def _judge(self, x: int, y: int, width: int, height: int) -> bool:
        boards = self._enumerate_boards(x, y, width, height)
        if not boards or self._too_few(boards, 3 * width * height):
            return False
        if len(boards) == 3 * width * height and not len(self.dead_links):
            periphery, torus = edge((x, y, width, height), (self.width, self.height))
        else:
            _, wrap, dead, dead_wrap, periphery, torus = self._classify_links(boards)
            if dead or dead_wrap:
                broken, broken_wrap = self._both_ends(dead), self._both_ends(dead_wrap)
                cables = len(broken) + (len(broken_wrap) if self.require_torus else 0)
                if self.max_dead_links is not None and cables // 2 > self.max_dead_links:
                    return False
                periphery |= broken | broken_wrap
                torus = self._directions(wrap - broken_wrap)
        if self.require_torus and torus is WrapAround.none:
            return False
        self.boards, self.periphery, self.torus = boards, periphery, torus
        return True

    def _too_few(self, boards: set[Board], all_boards: int) -> bool:
        """Whether more boards are missing than may be."""
        if self.max_dead_boards is None:
            return False
        expected = all_boards if self.expected_boards is None else self.expected_boards
        return expected - len(boards) > self.max_dead_boards

    def hand_over(self) -> Network:
        """Return `boards`, `periphery` and `torus`, which belong to somebody else from now on."""
        boards, periphery, torus = self.boards, self.periphery, self.torus
        assert boards is not None
        assert periphery is not None
        assert torus is not None
        self.boards = self.periphery = self.torus = None
        return boards, periphery, torus

    def _both_ends(self, links: set[Link]) -> set[Link]:
        """Return the links and the other ends of their cables."""
        far_ends = set()
        for x, y, z, link in links:
            far_x, far_y, far_z, _ = board_down_link(x, y, z, link, self.width, self.height)
            far_ends.add((far_x, far_y, far_z, link.opposite))
        return links | far_ends

    def _directions(self, wrap: set[Link]) -> WrapAround:
        """Return the directions in which some links go around the machine."""
        torus = 0
        for x, y, z, link in wrap:
            torus |= board_down_link(x, y, z, link, self.width, self.height)[3]
        return WrapAround(torus)

    def _enumerate_boards(self, x: int, y: int, width: int, height: int) -> set[Board]:
        """Boards of a block that can be reached from its bottom-left one.

        Parameters
        ----------
        x, y : int
            Bottom-left triad of the block.
        width, height : int
            Size of the block, triads.

        Returns
        -------
        set of (x, y, z)
            Reachable over live boards and cables inside the block, those
            around the machine included.
        """
        dead_boards = self.dead_boards
        everything = [
            (board_x, board_y, z)
            for board_x in range(x, x + width)
            for board_y in range(y, y + height)
            for z in range(3)
        ]
        if len(dead_boards):
            live = {board for board in everything if board not in dead_boards}
        else:
            live = set(everything)
        start = (x, y, 0)
        if start not in live:
            return set()
        if len(live) == len(everything) and not len(self.dead_links):
            # The links inside the block alone connect all of it.
            return live
        return live - self._unreachable(start, live)

    def _unreachable(self, start: Board, live: set[Board]) -> set[Board]:
        """Those of some live boards that no live links lead to."""
        machine_width, machine_height = self.width, self.height
        dead_links = self.dead_links
        remaining = live - {start}
        frontier = [start]
        # No function is called for a link, for there are six to a board.
        while frontier and remaining:
            x, y, z = frontier.pop()
            for link, back, dx, dy, dz in STEPS[z]:
                board = ((x + dx) % machine_width, (y + dy) % machine_height, z + dz)
                if (
                    board in remaining
                    and (x, y, z, link) not in dead_links
                    and (*board, back) not in dead_links
                ):
                    remaining.remove(board)
                    frontier.append(board)
        return remaining

    def _classify_links(
        self, boards: set[Board]
    ) -> tuple[set[Link], set[Link], set[Link], set[Link], set[Link], WrapAround]:
        """Sort the links of some boards by where they lead.

        Parameters
        ----------
        boards : set of (x, y, z)
            Boards of one job.

        Returns
        -------
        alive, wrap, dead, dead_wrap : set of (x, y, z, Links)
            Links from one of these boards to another: working, working around
            the machine, dead, dead around the machine.
        periphery : set of (x, y, z, Links)
            Links to any other board, dead ones too.
        torus : WrapAround
            Directions of all links around the machine between these boards,
            dead ones too.

        Notes
        -----
        A link is dead here only if this very end of it is in `dead_links`.
        """
        machine_width, machine_height = self.width, self.height
        dead_links = self.dead_links
        alive: set[Link] = set()
        wrap: set[Link] = set()
        dead: set[Link] = set()
        dead_wrap: set[Link] = set()
        periphery: set[Link] = set()
        torus = 0
        # No function is called for a link, for there are six to a board.
        for x, y, z in boards:
            for link, _, dx, dy, dz in STEPS[z]:
                far_x, far_y, far_z = x + dx, y + dy, z + dz
                here = (x, y, z, link)
                if (far_x, far_y, far_z) in boards:
                    (dead if here in dead_links else alive).add(here)
                elif (far_x % machine_width, far_y % machine_height, far_z) in boards:
                    torus |= (not 0 <= far_x < machine_width) | (
                        not 0 <= far_y < machine_height
                    ) << 1
                    (dead_wrap if here in dead_links else wrap).add(here)
                else:
                    periphery.add(here)
        return alive, wrap, dead, dead_wrap, periphery, WrapAround(torus)
