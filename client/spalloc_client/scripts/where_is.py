"""spalloc-where-is: where a board or chip is, in each of the ways to say it."""

import argparse
import sys
from collections.abc import Sequence

from rich.console import RenderableType

from spalloc_client._answers import Place, read_machines, read_place
from spalloc_client._extensions import BoardRow, read_boards
from spalloc_client._program import CommandError, note, run
from spalloc_client._session import Session
from spalloc_client._tables import facts
from spalloc_client._terminal import make_console, show
from spalloc_client.scripts._command import (
    Parser,
    no_such_machine,
    print_json,
    session_with,
    settings_for,
    whole,
)

#: Options: flags, names of the values, and the query that they make.
_WAYS = (
    (("--board", "-b", "--logical", "-l"), ("MACHINE", "X", "Y", "Z"), ("machine", "x", "y", "z")),
    (
        ("--physical", "-p"),
        ("MACHINE", "CABINET", "FRAME", "BOARD"),
        ("machine", "cabinet", "frame", "board"),
    ),
    (("--chip", "-c"), ("MACHINE", "X", "Y"), ("machine", "chip_x", "chip_y")),
    (("--job-chip", "-j"), ("ID", "X", "Y"), ("job_id", "chip_x", "chip_y")),
    (("--address", "-a"), ("MACHINE", "ADDRESS"), ("machine", "address")),
)

_HELP = (
    "a board by its logical coordinates",
    "a board by its place in the machine room",
    "a chip by its coordinates in the machine booted as a whole",
    "a chip by its coordinates within a job",
    "a board by its own address, or by that of its BMP (servers from 1.1.0 on)",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run("spalloc-where-is", _main, argv)


def _parser() -> Parser:
    parser = Parser("spalloc-where-is", "Find out where a board or chip is.")
    group = parser.add_mutually_exclusive_group(required=True)
    for (flags, values, keywords), text in zip(_WAYS, _HELP, strict=True):
        group.add_argument(
            *flags, nargs=len(values), metavar=values, dest=keywords[-1] + keywords[0], help=text
        )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_server_arguments()
    return parser


def _query(arguments: argparse.Namespace) -> dict[str, str | int]:
    for _, names, keywords in _WAYS:
        values = getattr(arguments, keywords[-1] + keywords[0])
        if values is None:
            continue
        query: dict[str, str | int] = {}
        for name, keyword, value in zip(names, keywords, values, strict=True):
            if keyword in {"machine", "address"}:
                query[keyword] = value
                continue
            try:
                query[keyword] = whole(value)
            except argparse.ArgumentTypeError as exc:
                raise CommandError(f"{name}: {exc}", status=2) from None
        return query
    raise AssertionError("argparse requires one")  # pragma: no cover - and so it does


def _main(argv: Sequence[str] | None) -> int:
    arguments = _parser().parse_args(argv)
    query = _query(arguments)
    with session_with(settings_for(arguments)) as session:
        if "address" in query and not session.facility().offers("list_boards"):
            raise CommandError("this server finds no boards by address; 1.1.0 is needed")
        answer = session.call("where_is", **query)
        place = read_place(answer)
        if place is None:
            machines = read_machines(session.call("list_machines"))
            raise _nowhere(query, [machine.name for machine in machines])
        state = _state_of(session, place)
    _remark_on_wrapping(query, place)
    if arguments.json:
        told = {} if state is None else {"state": state.state, "text": state.text}
        print_json({**answer, **told})
    else:
        show(make_console(), _facts(place, state))
    return 0


def _state_of(session: Session, place: Place) -> BoardRow | None:
    """Ask for the state of the board; None if the server does not tell."""
    if not session.facility().offers("list_boards"):
        return None
    rows = read_boards(session.call("list_boards", place.machine)) or []
    return next((row for row in rows if row.board == place.logical), None)


def _nowhere(query: dict[str, str | int], machines: list[str]) -> CommandError:
    if "job_id" in query:
        return CommandError(
            f"job {query['job_id']} is unknown, has no boards, or none "
            f"with chip ({query['chip_x']}, {query['chip_y']})"
        )
    if query["machine"] not in machines:
        return no_such_machine(str(query["machine"]), machines)
    place = ", ".join(f"{name} {value}" for name, value in query.items() if name != "machine")
    return CommandError(f"machine {query['machine']} has nothing at {place}")


def _remark_on_wrapping(query: dict[str, str | int], place: Place) -> None:
    """Say that coordinates outside the machine, or the job, lead around it."""
    keywords = tuple(query)[1:]
    asked = tuple(query[keyword] for keyword in keywords)
    found: tuple[int, ...] | None
    if keywords == ("x", "y", "z"):
        kind, found = "board", place.logical
    elif keywords == ("chip_x", "chip_y"):
        kind, found = "chip", place.job_chip if "job_id" in query else place.chip
    else:
        return  # places in the machine room do not wrap around
    if found is not None and found != asked:
        where = f"job {query['job_id']}" if "job_id" in query else f"machine {query['machine']}"
        note(f"{kind} {asked} lies outside {where}, and wraps around to {found}")


def _facts(place: Place, state: BoardRow | None) -> RenderableType:
    cabinet, frame, board = place.physical
    rows = {
        "Machine": place.machine,
        "Physical Location": f"Cabinet {cabinet}, Frame {frame}, Board {board}",
        "Board Coordinate": str(place.logical),
        "Machine Chip Coordinates": str(place.chip),
        "Coordinates within board": str(place.board_chip),
        "Job using board": str(place.job_id),
        "Coordinates within job": str(place.job_chip),
    }
    if state is not None:
        rows["Board state"] = state.state + (f": {state.text}" if state.text else "")
    return facts(rows.items())


if __name__ == "__main__":
    sys.exit(main())
