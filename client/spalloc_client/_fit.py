"""Why a request for boards suits a machine or not, worked out on our side.

The server says only that no machine suits; this looks at each machine's size, tags, dead
boards and links and finds the limit to blame. Pure: machines and requests in, words out.
It judges the machine as if it were idle, as the server does.
"""

import math
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


class _Block(NamedTuple):
    """A rectangle of triads on a machine."""

    x: int
    y: int
    width: int
    height: int


def why_not(machine: MachineRow, request: Request) -> str | None:
    """Return what keeps the request off the machine; None if it fits.

    Examples of answers: ``--tags: lacks fast`` and ``--max-dead-boards 0: 2 of 12 boards
    are dead or cut off``.
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
    return _why_not_block(machine, request)


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


def _why_not_block(machine: MachineRow, request: Request) -> str | None:
    size = f"{machine.width} x {machine.height} triads"
    if len(request.args) == 2:
        width, height = request.args
        if width > machine.width or height > machine.height:
            return f"is too small for {width} x {height} triads: it is of {size}"
    else:
        shape = _shape(machine, request.args[0], 0.0)
        if shape is None:
            boards = machine.width * machine.height * 3
            return f"is too small for {request.args[0]} boards: it is of {size}, {boards} boards"
        shape = _shape(machine, request.args[0], request.min_ratio)
        if shape is None:
            return (
                f"--min-ratio {request.min_ratio:g}: {request.args[0]} boards would need a "
                f"longer block on its {size}"
            )
        width, height = shape
    if request.require_torus and (width, height) != (machine.width, machine.height):
        return f"--require-torus: only its whole {size} wrap around, not {width} x {height}"
    return _why_not_alive(machine, request, width, height)


def _why_not_alive(
    machine: MachineRow, request: Request, width: int, height: int
) -> str | None:
    """Blame dead boards, dead links or the torus; the block at all four corners counts."""
    blocks = {
        _Block(x, y, width, height)
        for x in (0, machine.width - width)
        for y in (0, machine.height - height)
    }
    dead = both_ends(machine.dead_links, machine.width, machine.height)
    surveys = [_survey(machine, block, dead) for block in sorted(blocks)]
    wanted = request.boards
    reached = [survey for survey in surveys if survey.boards]
    if not reached:
        return f"the bottom-left board of every {width} x {height} block is dead"
    whole = reached
    if request.max_dead_boards is not None:
        whole = [s for s in reached if wanted - s.boards <= request.max_dead_boards]
    if not whole:
        best = max(survey.boards for survey in reached)
        return (
            f"--max-dead-boards {request.max_dead_boards}: at least {wanted - best} of "
            f"{wanted} boards are dead or cut off"
        )
    linked = whole
    if request.max_dead_links is not None:
        linked = [s for s in whole if s.dead_links(request) <= request.max_dead_links]
    if not linked:
        best = min(survey.dead_links(request) for survey in whole)
        return f"--max-dead-links {request.max_dead_links}: at least {best} links are dead"
    if request.require_torus and not any(survey.wraps for survey in linked):
        return "--require-torus: its wrap-around links are dead"
    return None


class _Survey(NamedTuple):
    """What is alive in a block."""

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


def _shape(machine: MachineRow, boards: int, min_ratio: float) -> tuple[int, int] | None:
    """Return the block of triads that the server would take for so many boards.

    It prefers exact rectangles that are not too long, else ones with a few triads too
    many, turned and squashed to fit the machine.
    """
    area = -(-boards // 3)
    bound_width, bound_height = machine.width, machine.height
    if area < 1 or area > bound_width * bound_height:
        return None
    ratio = 1 / min_ratio if min_ratio > 1 else min_ratio
    height = next(side for side in range(math.isqrt(area), 0, -1) if area % side == 0)
    width = area // height
    if height / width < ratio:
        height = math.ceil(area / math.sqrt(area / ratio))
        width = max(-(-area // height), height)
    if bound_width > bound_height:
        width, height = height, width
    if width <= bound_width and height <= bound_height:
        return width, height
    if width > bound_width:
        width, height = bound_width, -(-area // bound_width)
    else:
        width, height = -(-area // bound_height), bound_height
    return (width, height) if min(width, height) / max(width, height) >= ratio else None
