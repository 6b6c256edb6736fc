"""``spalloc-state quarantine``: boards out of service, seen and changed by an operator.

Asks the running server at its control socket; without one, `list` reads the
saved state.  The lists may be mailed to the people who repair boards.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spalloc_server import __version__
from spalloc_server._checks.values import escaped
from spalloc_server._jobs import book
from spalloc_server._jobs.board_names import USAGE, physical_name, read_boards
from spalloc_server._jobs.out_of_service import SILENT, OutOfService, counted, rows_of_book
from spalloc_server._places import Board
from spalloc_server._programs import server_control
from spalloc_server._programs.server_control import ToolError
from spalloc_server._programs.text_table import table
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.recovery import recover
from spalloc_server._saved.saved_file import Names, StoreError
from spalloc_server._wire.control_socket import ControlFailed, NobodyThere

if TYPE_CHECKING:
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]  # it has no public name

#: Said where no board is out.
_ALL_WELL = "all boards are in service"
#: Equal rows of a frame that are listed as one. # arbitrary
_MANY = 5
#: Changed boards that are named one by one. # arbitrary
_MOST_NAMED = 8

#: How each kind of trouble is told.
_WHAT = {
    "power_on": "not switched on",
    "fpga": "FPGA check",
    "link": "link",
    "power_off": "not switched off",
    "silent": "silent",
    "operator": "operator",
    "reported": "reported",
}


def add_to(commands: Commands) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "quarantine",
        help="see and change which boards are out of service",
        description="See which boards are out of service, take more out, put them back. "
        "A board that is taken out stays with its present job and goes to no other. "
        "The server runs on meanwhile; without one, what it saved is listed.",
        epilog=f"BOARDS: {USAGE}. Exit status: 0 if all is well, 1 if not.",
    )
    server_control.add_options(parser)
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "add", "release"),
        default="list",
        help="list (if none is given), add or release boards",
    )
    parser.add_argument(
        "boards", nargs="*", default=[], metavar="BOARDS", help="which ones, see below"
    )
    parser.add_argument("--all", action="store_true", help="release all boards that are out")
    parser.add_argument("--reason", metavar="TEXT", help="why boards are added")
    parser.add_argument(
        "--physical", action="store_true", help="list by cabinet, frame and board, for repair"
    )
    parser.add_argument("--json", action="store_true", help="list as one JSON object")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the sub-command; returns its exit status."""
    try:
        _check(options)
        if options.action == "list":
            _list(options)
        else:
            _change(options)
    except (ToolError, ControlFailed, StoreError) as e:
        print(f"spalloc-state: {escaped(e)}", file=sys.stderr)
        return 1
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse words that contradict each other before the server is asked."""
    if options.all and (options.action != "release" or options.boards):
        raise ToolError("--all goes with release alone")
    if options.action == "list" and options.boards:
        raise ToolError("list takes no boards")
    if options.action != "list" and not options.boards and not options.all:
        raise ToolError(f"{options.action} which boards? {USAGE}")
    if options.action != "add" and options.reason is not None:
        raise ToolError("--reason goes with add")
    for text in options.boards:
        try:
            read_boards(text)
        except ValueError as e:
            raise ToolError(str(e)) from e


def _change(options: argparse.Namespace) -> None:
    order: dict[str, Any] = {"do": options.action, "boards": options.boards}
    if options.all:
        order = {"do": "release", "all": True}
    if options.action == "add":
        if not (options.reason or "").strip():
            # Other faults come first.
            server_control.ask_running(options, do="find", boards=options.boards)
            raise ToolError("add needs --reason TEXT, for the readers of the list")
        order["reason"] = options.reason
    answer = server_control.ask_running(options, **order)
    done = "taken out of service" if options.action == "add" else "back in service"
    changed: dict[str, list[Board]] = {}
    for each in answer["boards"]:
        x, y, z = each["board"]
        changed.setdefault(each["machine"], []).append((x, y, z))
    for name, boards in changed.items():
        for line in _named(boards):
            print(f"{line} of machine {escaped(name)} {done}")
    for note in answer.get("notes", ()):
        print(escaped(note))
    for name in dict.fromkeys(each["machine"] for each in answer.get("dead", ())):
        dead = [tuple(each["board"]) for each in answer["dead"] if each["machine"] == name]
        print(f"{counted(dead)} of machine {escaped(name)}: dead by the configuration already")


def _named(boards: Sequence[Board]) -> Iterable[str]:
    """Name few boards one by one, many by their number."""
    if len(boards) <= _MOST_NAMED:
        return [f"board {board}" for board in boards]
    return [counted(boards)]


# --- listing ---


def _list(options: argparse.Namespace) -> None:
    try:
        data = server_control.ask(options, do="list")
        rows = [_row(plain) for plain in data["out"]]
        waiting = data["waiting"]
    except NobodyThere:
        rows, waiting = _saved(options), []
        print(f"no server runs on {options.config}; this is what it saved", file=sys.stderr)
    if options.physical:
        rows.sort(key=lambda row: (row.machine, row.physical))
    if options.json:
        json.dump({"out": [row._asdict() for row in rows], "waiting": waiting}, sys.stdout)
        print()
        return
    for line in _physical(rows) if options.physical else _logical(rows):
        print(line)
    for each in waiting:
        boards = counted([tuple(board) for board in each["boards"]])
        print(f"job {each['job']} waits for {boards} of machine {escaped(each['machine'])}")


def _row(plain: dict[str, Any]) -> OutOfService:
    row = OutOfService(**plain)
    x, y, z = row.board
    c, f, b = row.physical
    return row._replace(board=(x, y, z), physical=(c, f, b))


def _saved(options: argparse.Namespace) -> list[OutOfService]:
    """Read the saved state of a server that does not run now."""
    directory, name, label = server_control.state_of(options)
    found = recover(Names(directory, name, label), __version__, book, Disk())
    if found.state is None:
        raise ToolError(
            f"no server runs on {options.config}, and {directory} has no state of one. "
            "If it ran with --simulate or --state-dir, say so"
        )
    return rows_of_book(found.state, time.time())


def _logical(rows: Sequence[OutOfService]) -> Iterator[str]:
    head = ("board", "since", "what happened", "failed", "next test", "job")
    cells = (
        (
            _name(group, physical=False),
            _date(row.since),
            _what(row),
            _often(row),
            _next_test(row),
            "-" if row.job_id is None else str(row.job_id),
        )
        for row, group in _groups(rows)
    )
    return table(head, cells, _ALL_WELL)


def _physical(rows: Sequence[OutOfService]) -> Iterator[str]:
    head = ("board", "cabinet", "frame", "board", "address", "BMP", "since", "what", "failed")
    cells = (
        (
            _name(group, physical=True),
            *map(str, row.physical[:2]),
            str(row.physical[2]) if len(group) == 1 else f"{len(group)} boards",
            (row.address or "-") if len(group) == 1 else "-",
            row.bmp,
            _date(row.since),
            _what(row),
            _often(row),
        )
        for row, group in _groups(rows)
    )
    return table(head, cells, _ALL_WELL)


def _groups(
    rows: Sequence[OutOfService],
) -> Iterator[tuple[OutOfService, Sequence[OutOfService]]]:
    """Yield many rows that say the same of boards of one frame together, with the first."""
    groups: dict[object, list[OutOfService]] = {}
    for row in rows:
        key = (row.machine, row.physical[:2], _what(row), _date(row.since), _often(row))
        groups.setdefault((*key, _next_test(row), row.job_id), []).append(row)
    for group in groups.values():
        if group[0].kind == SILENT or len(group) >= _MANY:
            yield group[0], group
        else:
            yield from ((row, [row]) for row in group)


def _name(group: Sequence[OutOfService], *, physical: bool) -> str:
    """Name the boards of a group; by their frame if there are several."""
    row = group[0]
    if len(group) > 1:
        cabinet, frame, _ = row.physical
        return f"{row.machine}:c{cabinet}f{frame} ({len(group)} boards)"
    if physical:
        return f"{row.machine}:{physical_name(row.physical)}"
    return f"{row.machine}:{','.join(map(str, row.board))}"


def _date(since: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(since))


def _what(row: OutOfService) -> str:
    return f"{_WHAT.get(row.kind, row.kind)}: {row.what}"


def _often(row: OutOfService) -> str:
    """How often it failed in the last day, and its tests since."""
    faults = {1: "once"}.get(row.faults, f"{row.faults} times") if row.faults else "-"
    if not row.tests:
        return faults
    return f"{faults}, {row.tests} test{'' if row.tests == 1 else 's'}"


def _next_test(row: OutOfService) -> str:
    if row.kind == "silent":
        return "when it answers"
    if row.next_test is None:
        return "never"
    if row.next_test >= 90:
        return f"in {round(row.next_test / 60)} min"
    return f"in {math.ceil(row.next_test)} s" if row.next_test > 0 else "now"
