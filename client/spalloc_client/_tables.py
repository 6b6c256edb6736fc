"""Rows of jobs and machines made into tables and maps, ready to be printed.

It knows the words for things (a number of seconds, a job's letter), neither where they come
from nor where they are shown.
"""

import string
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spalloc_client import _hexagons
from spalloc_client._answers import Board, JobRow, MachineRow
from spalloc_client._board_states import count_states, counts_text, sign_of
from spalloc_client._extensions import BoardRow, Queue
from spalloc_client._geometry import LINKS, both_ends, neighbour
from spalloc_client._hexagons import Mark, dead_link_sign
from spalloc_client._outlook import place_text, span, why_text
from spalloc_client._palette import STRONG, field, word
from spalloc_client._request import request_of
from spalloc_client._terminal import draws_unicode, map_width, plain
from spalloc_client._text import clean, when
from spalloc_client.states import JobState

_LETTERS = string.ascii_uppercase + string.ascii_lowercase

#: From this width on, times are told in full.
_ROOMY = 100

#: Columns that give way keep so many characters.
_LEAST = 6


def letters(number: int) -> str:
    """Return the name of the `number`-th job on a map: A to z, then AA, AB ..."""
    name = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, len(_LETTERS))
        name = _LETTERS[letter] + name
    return name


class Lettering:
    """Gives each job a letter that it keeps while it is there, also on a live screen."""

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def assign(self, job_ids: Iterable[int]) -> dict[int, int]:
        """Return each job's number among the letters; letters of others become free."""
        present = sorted(job_ids)
        self._numbers = {i: n for i, n in self._numbers.items() if i in set(present)}
        used = set(self._numbers.values())
        free = (number for number in range(len(present) + len(used)) if number not in used)
        for job_id in present:
            if job_id not in self._numbers:
                self._numbers[job_id] = next(free)
        return dict(self._numbers)


# --- words ---


def seconds(number: float | None) -> str:
    """Tell a keepalive period."""
    return "never" if number is None else f"{number:g} s"


def on_off(power: bool | None) -> str:
    """Tell whether boards are on."""
    return {None: "", True: "on", False: "off"}[power]


def state_text(state: JobState) -> Text:
    """Tell a state, in its colour."""
    return Text(state.name, word(state.name))


def boards_wanted(job: JobRow) -> int:
    """Return how many boards a job has, or asks for."""
    if job.boards is not None:
        return len(job.boards)
    return request_of(job.args, job.kwargs).boards


def owner_text(job: JobRow) -> str:
    """Tell a job's owner and the host that keeps it alive."""
    host = f" ({job.keepalive_host})" if job.keepalive_host else ""
    return clean(f"{job.owner}{host}")


# --- tables ---


class Column(NamedTuple):
    """A column of a table; an elastic one gives way down to `least` where there is no room.

    If that is not enough, columns are left out: those with a number at `spare`, the
    highest first.
    """

    name: str
    side: Literal["left", "right"] = "left"
    elastic: bool = False
    spare: int = 0
    least: int = _LEAST


def make_table(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str | Text]]
) -> Table:
    """Make a table without lines that fits the width, if at all possible."""
    texts = [[plain(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    widths = [
        max([len(column.name), *(row[index].cell_len for row in texts)])
        for index, column in enumerate(columns)
    ]
    kept = _kept(columns, widths, console.width)
    columns = [columns[index] for index in kept]
    widths = [widths[index] for index in kept]
    texts = [[row[index] for index in kept] for row in texts]
    gap = 2 if sum(widths) + 2 * len(widths) <= console.width else 1
    room = console.width - gap * (len(widths) - 1)
    # The widest elastic column gives way first, down to the part by which a name can be guessed.
    elastic = [index for index, column in enumerate(columns) if column.elastic]
    while sum(widths) > room and any(widths[i] > columns[i].least for i in elastic):
        widest = max(elastic, key=lambda index: widths[index] - columns[index].least)
        widths[widest] -= 1
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False, header_style=STRONG)
    # The sign for "cut here" is no ASCII.
    overflow: Literal["crop", "ellipsis"] = "crop" if console.options.ascii_only else "ellipsis"
    for column, width in zip(columns, widths, strict=True):
        table.add_column(
            column.name, justify=column.side, no_wrap=True, overflow=overflow, width=width
        )
    for row in texts:
        table.add_row(*row)
    return table


def _kept(columns: Sequence[Column], widths: Sequence[int], room: int) -> list[int]:
    """Choose the columns that fit when they have given way and the gaps are narrow."""
    least = [
        min(width, column.least) if column.elastic else width
        for column, width in zip(columns, widths, strict=True)
    ]
    kept = list(range(len(columns)))
    while sum(least[index] + 1 for index in kept) - 1 > room:
        most_spare = max(kept, key=lambda index: columns[index].spare)
        if not columns[most_spare].spare:
            break
        kept.remove(most_spare)
    return kept


_JOB_COLUMNS = (
    Column("ID", "right"),
    Column("State", spare=1),
    Column("Power", spare=6),
    Column("Boards", "right", spare=2),
    Column("Machine", elastic=True, spare=4),
    Column("Created at", spare=7),
    Column("Keepalive", "right", spare=8),
    Column("Owner (Host)", elastic=True),
)

#: Further columns, of servers that tell of waiting jobs.
_WAITING_COLUMNS = (
    Column("Waiting", "right", spare=5),
    Column("Why", elastic=True, spare=3, least=30),
)


def jobs_table(console: Console, jobs: Iterable[JobRow], queue: Queue | None = None) -> Table:
    """Make the table of spalloc-ps."""
    brief = console.width < _ROOMY
    rows = [
        (
            str(job.job_id),
            state_text(job.state),
            on_off(job.power),
            str(boards_wanted(job)),
            job.machine or "",
            when(job.start_time, brief),
            seconds(job.keepalive),
            owner_text(job),
            *(() if queue is None else _waiting(job, queue)),
        )
        for job in jobs
    ]
    columns = _JOB_COLUMNS if queue is None else _JOB_COLUMNS + _WAITING_COLUMNS
    return make_table(console, columns, rows)


def _waiting(job: JobRow, queue: Queue) -> tuple[str, str]:
    """Tell how long a job has waited, and why it does."""
    outlook = queue.outlooks.get(job.job_id)
    if outlook is None:
        return "", ""
    waited = ""
    if queue.made is not None and job.start_time is not None:
        waited = span(queue.made - job.start_time)
    parts = [why_text(outlook), place_text(outlook)]  # the end may be cut off
    return waited, "; ".join(filter(None, parts))


def jobs_on(machine: MachineRow, jobs: Iterable[JobRow]) -> list[JobRow]:
    """Return the jobs that have boards of a machine."""
    return [job for job in jobs if job.machine == machine.name and job.boards]


def boards_in_use(jobs: Iterable[JobRow]) -> int:
    """Count the boards that jobs have."""
    return sum(len(job.boards or ()) for job in jobs)


_MACHINE_COLUMNS = (
    Column("Name", elastic=True),
    Column("Num boards", "right", spare=2),
    Column("In-use", "right"),
    Column("Jobs", "right", spare=1),
    Column("Tags", elastic=True, spare=3),
)

#: A further column, of servers that tell the state of each board.
_OTHERS_COLUMN = Column("Other boards", elastic=True, spare=4)


def machines_table(
    console: Console,
    machines: Iterable[MachineRow],
    jobs: Sequence[JobRow],
    boards: Mapping[str, Sequence[BoardRow]] | None = None,
) -> Table:
    """Make the table of spalloc-machine."""
    rows: list[Sequence[str]] = []
    for machine in machines:
        here = jobs_on(machine, jobs)
        alive = 3 * machine.width * machine.height - len(machine.dead_boards)
        counts = alive, boards_in_use(here), len(here)
        cells = [machine.name, *map(str, counts), ", ".join(sorted(machine.tags))]
        if boards is not None:
            states = count_states(boards.get(machine.name, ()))
            cells.append(counts_text(states, with_used=False))
        rows.append(cells)
    columns = _MACHINE_COLUMNS if boards is None else (*_MACHINE_COLUMNS, _OTHERS_COLUMN)
    return make_table(console, columns, rows)


def facts(rows: Iterable[tuple[str, str | Text]]) -> Table:
    """Make a list of named facts, the names right-aligned."""
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", style=STRONG, no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(f"{name}:", plain(value) if isinstance(value, str) else value)
    return table


# --- maps ---


def dead_link_key(console: Console) -> Text:
    """Make the entry of a map's key for dead links."""
    sign = dead_link_sign(draws_unicode(console))
    return Text.assemble((sign, word("dead")), "  dead link")


def machine_map(
    console: Console,
    machine: MachineRow,
    boards: Iterable[BoardRow],
    jobs: Iterable[JobRow],
    numbers: dict[int, int],
) -> list[Text]:
    """Draw a machine, with the letters of its jobs and the signs of other boards."""
    marks = {row.board: sign_of(row.state) for row in boards if row.state != "dead"}
    for job in jobs:
        number = numbers[job.job_id]
        for board in job.boards or ():
            marks[board] = Mark(letters(number), field(number))
    return _draw(console, machine, marks)


def job_map(
    console: Console, machine: MachineRow, states: Iterable[BoardRow], boards: Sequence[Board]
) -> list[Text]:
    """Draw a job's boards (A), and the signs of the live boards that lie around them."""
    around = {neighbour(board, link) for board in boards for link in LINKS}
    marks = {
        row.board: sign_of(row.state)
        for row in states
        if row.board in around and row.state != "dead"
    }
    marks.update(dict.fromkeys(boards, Mark(letters(0), field(0))))
    return _draw(console, machine, marks)


def _draw(console: Console, machine: MachineRow, marks: dict[Board, Mark]) -> list[Text]:
    return _hexagons.draw(
        marks,
        both_ends(machine.dead_links, machine.width, machine.height),
        max_width=map_width(console),
        unicode=draws_unicode(console),
    )
