"""``spalloc-state quarantine``: boards out of service, seen and changed by an operator.

Asks the running server at its control socket; without one, `list` reads the
saved state.  What it prints may be mailed to whoever repairs the boards.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spalloc_server import __version__
from spalloc_server._checks.values import escaped
from spalloc_server._jobs import book
from spalloc_server._jobs.board_names import USAGE, physical_name, read_board
from spalloc_server._jobs.out_of_service import OutOfService, counted, rows_of_book
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.recovery import recover
from spalloc_server._saved.saved_file import Names, StoreError
from spalloc_server._wire import control_socket
from spalloc_server._wire.control import control_path
from spalloc_server._wire.control_socket import ControlFailed, NobodyThere

if TYPE_CHECKING:
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]  # it has no public name

_SIMULATED = "simulated"

#: Who is asked, for errors.
_WHOM = "a spalloc_server"

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


class ToolError(Exception):
    """Says what is wrong, for the operator."""


def add_to(commands: Commands) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "quarantine",
        help="see and change which boards are out of service",
        description="See which boards are out of service, take more out, put them back. "
        "A board that is taken out stays with its present job and goes to no other. "
        "The server runs on meanwhile; without one, what it saved is listed.",
        epilog=f"BOARD: {USAGE}. Exit status: 0 if all is well, 1 if not.",
    )
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="the server's configuration file"
    )
    parser.add_argument(
        "action",
        nargs="?",
        choices=("list", "add", "release"),
        default="list",
        help="list (if none is given), add or release boards",
    )
    parser.add_argument(
        "boards", nargs="*", default=[], metavar="BOARD", help="which ones, see below"
    )
    parser.add_argument("--reason", metavar="TEXT", help="why boards are added")
    parser.add_argument(
        "--physical", action="store_true", help="list by cabinet, frame and board, for repair"
    )
    parser.add_argument("--json", action="store_true", help="list as one JSON object")
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="as given to the server (beside CONFIG)"
    )
    parser.add_argument(
        "--simulated", action="store_true", help="of the server that runs with --simulate"
    )
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
    """Find what is wrong with the words before anybody is asked."""
    if options.action == "list" and options.boards:
        raise ToolError("list takes no boards")
    if options.action != "list" and not options.boards:
        raise ToolError(f"{options.action} which boards? {USAGE}")
    if options.action == "add" and not (options.reason or "").strip():
        raise ToolError("add needs --reason TEXT, for whoever reads the list")
    if options.action != "add" and options.reason is not None:
        raise ToolError("--reason goes with add")
    for text in options.boards:
        try:
            read_board(text)
        except ValueError as e:
            raise ToolError(str(e)) from e


# --- the server ---


def _place(options: argparse.Namespace) -> tuple[Path, str, str]:
    directory = options.state_dir or options.config.absolute().parent
    return directory, options.config.name, _SIMULATED if options.simulated else ""


def _ask(options: argparse.Namespace, **order: Any) -> dict[str, Any]:
    """Have the server do something, and return its answer."""
    answer = json.loads(_reply(options, json.dumps(order)))
    if not answer["ok"]:
        raise ToolError(answer["text"])
    data: dict[str, Any] = answer["data"]
    return data


def _reply(options: argparse.Namespace, order: str) -> bytes:
    """Send an order to the server; to a simulated one if no other runs."""
    directory, name, label = _place(options)
    try:
        return control_socket.ask(control_path(directory, name, label), order, _WHOM)
    except NobodyThere as nobody:
        if label == _SIMULATED:
            raise
        try:
            reply = control_socket.ask(control_path(directory, name, _SIMULATED), order, _WHOM)
        except NobodyThere:
            raise nobody from None
    print(
        f"no server runs on {options.config} but one with --simulate; that one was asked",
        file=sys.stderr,
    )
    return reply


def _change(options: argparse.Namespace) -> None:
    order = {"do": options.action, "boards": options.boards}
    if options.action == "add":
        order["reason"] = options.reason
    try:
        changed = _ask(options, **order)["boards"]
    except NobodyThere as e:
        raise ToolError(
            f"no server runs on {options.config}: nobody listens at "
            f"{control_path(*_place(options))}. If it runs, with --simulate or --state-dir, say so"
        ) from e
    done = "taken out of service" if options.action == "add" else "back in service"
    for each in changed:
        print(f"board {tuple(each['board'])} of machine {each['machine']} {done}")


# --- listing ---


def _list(options: argparse.Namespace) -> None:
    try:
        data = _ask(options, do="list")
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
    """Read what a server saved that does not run now."""
    directory, name, label = _place(options)
    found = recover(Names(directory, name, label), __version__, book, Disk())
    if found.state is None:
        raise ToolError(
            f"no server runs on {options.config}, and {directory} has no state of one. "
            "If it ran with --simulate or --state-dir, say so"
        )
    return rows_of_book(found.state, time.time())


def _logical(rows: Sequence[OutOfService]) -> Iterator[str]:
    head = ("board", "since", "what happened", "failed", "next test", "job")
    return _table(
        head,
        (
            (
                f"{row.machine}:{','.join(map(str, row.board))}",
                _date(row.since),
                _what(row),
                _often(row),
                _next_test(row),
                "-" if row.job_id is None else str(row.job_id),
            )
            for row in rows
        ),
    )


def _physical(rows: Sequence[OutOfService]) -> Iterator[str]:
    head = ("board", "cabinet", "frame", "board", "address", "BMP", "since", "what", "failed")
    return _table(
        head,
        (
            (
                f"{row.machine}:{physical_name(row.physical)}",
                *map(str, row.physical),
                row.address or "-",
                row.bmp,
                _date(row.since),
                _what(row),
                _often(row),
            )
            for row in rows
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield lines in columns; just one that says so if there is nothing."""
    table = [[escaped(cell) for cell in row] for row in rows]
    if not table:
        yield "all boards are in service"
        return
    table.insert(0, list(head))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()


def _date(since: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(since))


def _what(row: OutOfService) -> str:
    return f"{_WHAT.get(row.kind, row.kind)}: {row.what}"


def _often(row: OutOfService) -> str:
    """How often it failed in the last day, and its tests since."""
    faults = {1: "once"}.get(row.faults, f"{row.faults} times") if row.faults else "-"
    return faults if not row.tests else f"{faults}, {row.tests} tests"


def _next_test(row: OutOfService) -> str:
    if row.kind == "silent":
        return "when it answers"
    if row.next_test is None:
        return "never"
    return f"in {round(row.next_test / 60)} min" if row.next_test >= 90 else "in a minute"
