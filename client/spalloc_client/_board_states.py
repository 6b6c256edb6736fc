"""Boards by state: signs on a map, counts, and the reasons that the server gives.

Older servers tell dead boards and those of jobs; all others then count as free.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.style import Style

from spalloc_client._answers import Board, JobRow, MachineRow
from spalloc_client._extensions import BoardRow
from spalloc_client._geometry import all_boards
from spalloc_client._hexagons import Mark
from spalloc_client._palette import word
from spalloc_client._text import clean

#: The signs on a map of boards that no job has; a dead board has none. No sign is a letter.
SIGNS = {
    "free": ".",
    "resting": "~",
    "out": "!",
    "unknown": "?",
    "draining": "-",
    "reserved": "+",
    "used": "*",
}

#: States in the order in which they are counted; used boards are called "in use".
_COUNTED = ("used", "free", "out", "unknown", "resting", "draining", "reserved")


def board_rows(machine: MachineRow, jobs: Iterable[JobRow]) -> list[BoardRow]:
    """Work out the states of a machine's boards from the answers of an older server."""
    users = {
        board: job.job_id
        for job in jobs
        if job.machine == machine.name
        for board in job.boards or ()
    }
    return [
        BoardRow(board, _old_state(machine, board, users), users.get(board), None)
        for board in all_boards(machine.width, machine.height)
    ]


def _old_state(machine: MachineRow, board: Board, users: Mapping[Board, int]) -> str:
    if board in machine.dead_boards:
        return "dead"
    return "used" if board in users else "free"


def sign_of(state: str) -> Mark:
    """Return the sign of a state, in its colour."""
    return Mark(SIGNS[state], _style(state))


def _style(state: str) -> Style:
    return {"out": word("dead"), "unknown": word("lost"), "resting": word("queued")}.get(
        state, Style()
    )


def count_states(rows: Iterable[BoardRow]) -> dict[str, int]:
    """Count the boards in each state; states without boards are left out, but not these two.

    ``used`` and ``free`` are always there.
    """
    counts = Counter(row.state for row in rows)
    return {
        state: counts[state] for state in _COUNTED if counts[state] or state in {"used", "free"}
    } | ({"dead": counts["dead"]} if counts["dead"] else {})


def counts_text(counts: Mapping[str, int], with_used: bool = True) -> str:
    """Tell counts in words, as in ``6 in use, 17 free, 3 resting``; dead boards left out."""
    return ", ".join(
        f"{number} {'in use' if state == 'used' else state}"
        for state, number in counts.items()
        if state != "dead" and (with_used or state != "used")
    )


def reasons(rows: Sequence[BoardRow]) -> list[str]:
    """Tell the server's remarks on boards and the boards they are about, a line each.

    Boards with the same remark share a line.
    """
    by_reason: dict[tuple[str, str], list[Board]] = {}
    for row in rows:
        if row.text is not None and row.state not in {"dead", "free"}:
            state = f"job {row.job_id}" if row.state == "used" else row.state
            by_reason.setdefault((state, row.text), []).append(row.board)
    return [
        f"{state}: {_places(boards)}: {clean(text)}" for (state, text), boards in by_reason.items()
    ]


def _places(boards: Sequence[Board], most: int = 6) -> str:
    shown = [f"({x},{y},{z})" for x, y, z in sorted(boards)[:most]]
    more = len(boards) - len(shown)
    return " ".join([*shown, f"and {more} more"] if more else shown)
