"""Why a request for boards suits a machine or not, worked out on our side.

The server says only that no machine suits; this looks at each machine's size, tags, dead
boards and links and finds the limit to blame. Pure: machines and requests in, words out.
It judges the machine as if it were idle, as the server does.
"""

from collections.abc import Iterable
from typing import NamedTuple

from spalloc_client._answers import JobRow, MachineRow
from spalloc_client._geometry import (
    LINKS,
    Board,
    all_boards,
    both_ends,
    cell_of,
    neighbour,
    opposite,
    wrap,
)
from spalloc_client._request import Request, request_of
from spalloc_client._shapes import Size, anchors, sizes_for, triads_for

#: Boards looked at, one by one, before an explanation is given: about two seconds.  # arbitrary
_MOST_FLOODED = 400_000


class _Block(NamedTuple):
    """A rectangle of triads on a machine."""

    x: int
    y: int
    width: int
    height: int


def why_not(machine: MachineRow, request: Request, scheduling: str | None = None) -> str | None:
    """Return the limit that keeps the request off the machine; None if it fits.

    Examples of answers: ``--tags: lacks fast`` and ``--max-dead-boards 0: at least 2 of 12
    boards are dead or cut off``.

    Parameters
    ----------
    machine, request
        To be brought together; the machine is taken as idle.
    scheduling
        As the server says, since it decides which blocks are tried; None: an older server.
    """
    if request.machine is not None:
        if request.machine != machine.name:
            return f"--machine {request.machine}: it is another one"
    elif missing := sorted(request.tags - machine.tags):
        return f"--tags: lacks {', '.join(missing)}"
    if len(request.args) == 3:
        return _why_not_board(machine, request.args)
    if request.args in ((), (1,)):
        alive = machine.width * machine.height * 3 - len(machine.dead_boards)
        return None if alive > 0 else "all of its boards are dead"
    return _why_not_block(machine, request, scheduling)


def jobs_ahead(job_id: int, machine: MachineRow, jobs: Iterable[JobRow]) -> int:
    """Count the queued jobs older than `job_id` that may run on the machine."""
    return sum(
        job.job_id < job_id
        and job.boards is None
        and why_not(machine, request_of(job.args, job.kwargs)) is None
        for job in jobs
    )


def _why_not_board(machine: MachineRow, args: tuple[int, ...]) -> str | None:
    x, y, z = args
    if not (0 <= x < machine.width and 0 <= y < machine.height and 0 <= z < 3):
        return f"is of {machine.width} x {machine.height} triads and has no board {args}"
    return f"its board {args} is dead" if (x, y, z) in machine.dead_boards else None


def _why_not_block(machine: MachineRow, request: Request, scheduling: str | None) -> str | None:
    size = f"{machine.width} x {machine.height} triads"
    whole = machine.width * machine.height
    if len(request.args) == 2:
        return _why_not_triads(machine, request, scheduling)
    boards = request.args[0]
    if triads_for(boards) > whole:
        return f"is too small for {boards} boards: it is of {size}, {3 * whole} boards"
    if request.require_torus and triads_for(boards) != whole:
        return (
            f"--require-torus: only its whole {size} wrap around; {3 * whole - 2} to {3 * whole} "
            f"boards make it, not {boards}"
        )
    sizes = sizes_for(boards, machine.width, machine.height, request.min_ratio, scheduling)
    if not sizes:
        return (
            f"--min-ratio {request.min_ratio:g}: {boards} boards would need a longer block on "
            f"its {size}"
        )
    return _why_not_alive(machine, request, sizes, scheduling)


def _why_not_triads(
    machine: MachineRow, request: Request, scheduling: str | None
) -> str | None:
    size = f"{machine.width} x {machine.height} triads"
    width, height = request.args
    if width > machine.width or height > machine.height:
        return f"is too small for {width} x {height} triads: it is of {size}"
    if request.require_torus and (width, height) != (machine.width, machine.height):
        return f"--require-torus: only its whole {size} wrap around, not {width} x {height}"
    return _why_not_alive(machine, request, [(width, height)], scheduling)


def _why_not_alive(
    machine: MachineRow, request: Request, sizes: list[Size], scheduling: str | None
) -> str | None:
    """Blame dead boards, dead links or the torus; one good block is enough."""
    surveys = _Surveys(machine, request)
    for size in sizes:
        for x, y in anchors(size, machine.width, machine.height, scheduling):
            if surveys.fits(_Block(x, y, *size)):
                return None
            if surveys.spent():
                return surveys.reason()
    return surveys.reason()


class _Surveys:
    """Looks at blocks, and remembers the best of those that do not do.

    Parameters
    ----------
    machine, request
        To be brought together.
    """

    def __init__(self, machine: MachineRow, request: Request) -> None:
        self._machine = machine
        self._request = request
        self._dead_links = both_ends(machine.dead_links, machine.width, machine.height)
        self._dead_below = _sums(machine)
        self._flooded = 0
        self._reached = 0  # boards of the best block, if any has a live bottom-left board
        self._whole = False  # whether any block has enough boards
        self._links: int | None = None  # dead links of the best block of those
        self._sizes: set[Size] = set()

    def fits(self, block: _Block) -> bool:
        """Whether a block does."""
        self._sizes.add((block.width, block.height))
        limit = self._request.max_dead_boards
        wanted = self._request.boards
        if (block.x, block.y, 0) in self._machine.dead_boards:
            return False
        live = 3 * block.width * block.height - self._dead_in(block)
        if limit is not None and wanted - live > limit:  # needs no closer look
            self._reached = max(self._reached, live)
            return False
        survey = _survey(self._machine, block, self._dead_links)
        self._flooded += live
        self._reached = max(self._reached, survey.boards)
        if limit is not None and wanted - survey.boards > limit:
            return False
        self._whole = True
        links = survey.dead_links(self._request)
        self._links = links if self._links is None else min(self._links, links)
        if self._request.max_dead_links is not None and links > self._request.max_dead_links:
            return False
        return not self._request.require_torus or survey.wraps > 0

    def spent(self) -> bool:
        """Whether enough blocks have been looked at for an explanation."""
        return self._flooded > _MOST_FLOODED

    def reason(self) -> str:
        """Tell why none of the blocks did."""
        request = self._request
        if not self._reached:
            sizes = " or ".join(f"{width} x {height}" for width, height in sorted(self._sizes))
            return f"the bottom-left board of every {sizes} block is dead"
        if not self._whole:
            missing = request.boards - self._reached
            return (
                f"--max-dead-boards {request.max_dead_boards}: at least {missing} of "
                f"{request.boards} boards are dead or cut off"
            )
        links = self._links or 0
        if request.max_dead_links is not None and links > request.max_dead_links:
            count = f"{links} link{'s are' if links != 1 else ' is'} dead"
            return f"--max-dead-links {request.max_dead_links}: at least {count}"
        return "--require-torus: its wrap-around links are dead"

    def _dead_in(self, block: _Block) -> int:
        sums = self._dead_below
        right, top = block.x + block.width, block.y + block.height
        return (
            sums[top][right] - sums[top][block.x] - sums[block.y][right] + sums[block.y][block.x]
        )


def _sums(machine: MachineRow) -> list[list[int]]:
    """Count dead boards: sums[y][x] is the number of those left of x and below y."""
    sums = [[0] * (machine.width + 1) for _ in range(machine.height + 1)]
    for y in range(machine.height):
        for x in range(machine.width):
            dead = sum((x, y, z) in machine.dead_boards for z in range(3))
            sums[y + 1][x + 1] = dead + sums[y][x + 1] + sums[y + 1][x] - sums[y][x]
    return sums


class _Survey(NamedTuple):
    """The boards and links that are alive in a block."""

    boards: int
    dead_inside: int
    dead_wraps: int
    wraps: int

    def dead_links(self, request: Request) -> int:
        """Count the dead links that matter."""
        return self.dead_inside + (self.dead_wraps if request.require_torus else 0)


def _survey(
    machine: MachineRow, block: _Block, dead: set[tuple[int, int, int, int]]
) -> _Survey:
    """Flood the block from its bottom-left board over boards and links that live."""
    inside = {
        (block.x + x, block.y + y, z) for x, y, z in all_boards(block.width, block.height)
    } - machine.dead_boards
    start = (block.x, block.y, 0)
    reached: set[Board] = {start} & inside
    waiting = list(reached)
    while waiting:
        board = waiting.pop()
        for link in LINKS:
            other = wrap(neighbour(board, link), machine.width, machine.height)
            if (*board, link) not in dead and other in inside and other not in reached:
                reached.add(other)
                waiting.append(other)
    counts = {(False, False): 0, (True, False): 0, (False, True): 0, (True, True): 0}
    for board in reached:
        for link in LINKS:
            straight = neighbour(board, link)
            other = wrap(straight, machine.width, machine.height)
            if other in reached and _counted_here(board, link, other):
                counts[(*board, link) in dead, straight != other] += 1
    return _Survey(
        len(reached), counts[True, False], counts[True, True], counts[False, True]
    )


def _counted_here(board: Board, link: int, other: Board) -> bool:
    """Pick one of the two ends of a link to count it at."""
    return (cell_of(board), link) < (cell_of(other), opposite(link))
