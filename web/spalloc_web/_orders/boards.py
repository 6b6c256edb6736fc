"""Operators' orders about boards: out of service, back, test."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from spalloc_web._orders.shapes import (
    BadOrderError,
    Boards,
    Desk,
    Input,
    Question,
    Result,
    Text,
    counted,
    names_of_boards,
    plain,
)

#: Boards and jobs that are named one by one.
_MOST_NAMED = 12
_BACK = "/operate"


class BoardRow(msgspec.Struct, frozen=True):
    """A board in a reply."""

    machine: str
    board: tuple[int, int, int]

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.board))})"


class OutRow(BoardRow, frozen=True):
    """A board out of service."""

    physical: tuple[int, int, int] | None = None
    kind: str = ""
    what: str = ""
    since: float | None = None
    job_id: int | None = None


class _Found(msgspec.Struct, frozen=True):
    boards: list[BoardRow]
    dead: list[BoardRow] = []
    jobs: list[int] = []
    notes: list[str] = []


class _OutOfService(msgspec.Struct, frozen=True):
    out: list[OutRow]


class BoardsAsked(msgspec.Struct, frozen=True):
    """Names boards, one place to a line, and perhaps a reason."""

    boards: Boards
    reason: Text | None = None


class OutGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Takes boards out of service."""

    boards: Boards
    reason: Text


class BackAsked(msgspec.Struct, frozen=True):
    """Names boards, or all that are out of service."""

    boards: Boards | None = None
    reason: Text | None = None
    all: Literal["yes"] | None = None


class BackGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Puts boards back."""

    boards: Boards | None = None
    all: Literal["yes"] | None = None


class TestGiven(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Tests boards."""

    boards: Boards


async def out_of_service(desk: Desk) -> list[OutRow]:
    """Return all boards that are out of service."""
    found: _OutOfService = await desk.operate(_OutOfService, do="list")
    return found.out


async def ask_out(desk: Desk, asked: BoardsAsked) -> Question:
    """Ask before boards go out of service."""
    found: _Found = await desk.operate(_Found, do="find", boards=names_of_boards(asked.boards))
    number = counted(len(found.boards), "board")
    return Question(
        f"Take {number} out of service?",
        f"Take {number} out",
        ["No new job gets them until an operator puts them back.", _kept(desk, found.boards)],
        _by_machine(found.boards),
        [Input("reason", "Reason, shown to everybody who sees names", value=asked.reason or "")],
        {"boards": asked.boards},
        _BACK,
    )


def _kept(desk: Desk, boards: list[BoardRow]) -> str:
    """Say which jobs have the boards now, as far as the newest picture knows."""
    places = {(row.machine, row.board) for row in boards}
    jobs = [
        f"{job.job_id} of {job.owner}"
        for job in desk.picture.jobs.values()
        if any((job.machine, board) in places for board in job.boards)
    ]
    if not jobs:
        return "No job has any of them now."
    return f"Until they end, these jobs keep theirs: {_some(jobs)}."


async def out(desk: Desk, given: OutGiven) -> Result:
    """Take boards out of service."""
    done: _Found = await desk.operate(
        _Found,
        do="out",
        boards=names_of_boards(given.boards),
        reason=plain("reason", given.reason),
    )
    said = [f"{name}: {boards}." for name, boards in _by_machine(done.boards)]
    if done.jobs:
        said.append(f"Until they end, these jobs keep theirs: {_some(map(str, done.jobs))}.")
    if done.dead:
        said.append(f"{counted(len(done.dead), 'board')} dead in the configuration: left alone.")
    number = len(done.boards)
    return Result(f"{counted(number, 'board')} out of service", said, _BACK)


async def ask_back(desk: Desk, asked: BackAsked) -> Question:
    """Ask before boards come back."""
    everything = _all_or_some(asked)
    rows: list[BoardRow] = [*await out_of_service(desk)]
    if not everything and asked.boards:
        names = names_of_boards(asked.boards)
        found: _Found = await desk.operate(_Found, do="find", boards=names)
        wanted = {(row.machine, row.board) for row in found.boards}
        rows = [row for row in rows if (row.machine, row.board) in wanted]
    if not rows:
        raise BadOrderError("None of them is out of service.")
    number = counted(len(rows), "board")
    return Question(
        f"Put {number} back into service?",
        f"Put {number} back",
        [
            "Jobs get them again from now on, without a test. Boards of frames that do not answer"
            " come back by themselves when the frame does."
        ],
        _by_machine(rows),
        hidden={"all": "yes"} if everything else {"boards": asked.boards or ""},
        back=_BACK,
    )


def _all_or_some(asked: BackAsked | BackGiven) -> bool:
    if (asked.all is None) == (asked.boards is None):
        raise BadOrderError("Name 'boards', or say 'all', not both.")
    return asked.all is not None


async def back(desk: Desk, given: BackGiven) -> Result:
    """Put boards back."""
    if _all_or_some(given):
        done: _Found = await desk.operate(_Found, do="back", all=True)
    else:
        names = names_of_boards(given.boards or "")
        done = await desk.operate(_Found, do="back", boards=names)
    said = [f"{name}: {boards}." for name, boards in _by_machine(done.boards)]
    said += [f"{note}." for note in done.notes]
    return Result(f"{counted(len(done.boards), 'board')} back in service", said, _BACK)


async def ask_test(desk: Desk, asked: BoardsAsked) -> Question:
    """Ask before boards are tested."""
    found: _Found = await desk.operate(_Found, do="find", boards=names_of_boards(asked.boards))
    number = counted(len(found.boards), "board")
    return Question(
        f"Test {number}?",
        "Test now",
        [
            "Those of them that are out of service are switched on and off as soon as no job has"
            " them; a board that passes comes back, unless an operator took it out."
        ],
        _by_machine(found.boards),
        hidden={"boards": asked.boards},
        back=_BACK,
    )


async def test(desk: Desk, given: TestGiven) -> Result:
    """Test boards."""
    names = names_of_boards(given.boards)
    done: _Found = await desk.operate(_Found, do="test", boards=names)
    said = [f"{name}: {boards}." for name, boards in _by_machine(done.boards)]
    number = counted(len(done.boards), "board")
    return Result(f"{number} tested as soon as no job has them", said, _BACK)


def _by_machine(rows: Iterable[BoardRow]) -> list[tuple[str, str]]:
    """Name the boards of each machine, or the first of them."""
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row.machine, []).append(str(row))
    return [(name, _some(boards)) for name, boards in found.items()]


def _some(names: Iterable[str]) -> str:
    known = list(names)
    more = len(known) - _MOST_NAMED
    shown = ", ".join(known[:_MOST_NAMED])
    return f"{shown} and {more} more" if more > 0 else shown
