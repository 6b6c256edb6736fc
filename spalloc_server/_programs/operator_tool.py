"""Commands of ``spalloc-state`` for the operator of a running server.

Owns their words and their output.  The orders themselves are `_wire.orders`'s.
"""

from __future__ import annotations

import argparse
import json
import pwd
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from spalloc_server._checks.values import escaped
from spalloc_server._jobs.board_names import USAGE, read_boards
from spalloc_server._programs.server_control import ToolError, add_options, ask_running
from spalloc_server._programs.text_table import table
from spalloc_server._wire.control_socket import ControlFailed

if TYPE_CHECKING:
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]  # it has no public name

#: Boards that are named one by one in an answer; of more, the number is told.
_MOST_NAMED = 4


def add_to(commands: Commands) -> None:
    """Add the commands."""
    for add in (_add_boards, _add_jobs, _add_job, _add_end, _add_message, _add_access):
        add(commands)


def guarded(run: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], int]:
    """Make a function a command: mistakes are told in a line, with exit status 1."""

    def command(options: argparse.Namespace) -> int:
        try:
            run(options)
        except (ToolError, ControlFailed) as e:
            print(f"spalloc-state: {escaped(e)}", file=sys.stderr)
            return 1
        return 0

    return command


def _command(
    commands: Commands,
    name: str,
    about: str,
    run: Callable[[argparse.Namespace], None],
    epilog: str | None = None,
) -> Parser:
    end = "Exit status: 0 if it was done, 1 if not."
    parser = commands.add_parser(
        name,
        help=about[0].lower() + about[1:].rstrip("."),
        description=about,
        epilog=end if epilog is None else f"{epilog} {end}",
    )
    add_options(parser)
    parser.set_defaults(run=guarded(run))
    return parser


# --- boards ---


def _add_boards(commands: Commands) -> None:
    boards = f"BOARD: {USAGE}."
    for name, about in (
        ("out", "Take boards out of service; each stays with its present job until that ends."),
        ("drain", "Take boards out of service, and say which jobs still have some of them."),
    ):
        out = _command(commands, name, about, _out, boards)
        out.add_argument("boards", nargs="+", metavar="BOARD", help="which ones, see below")
        out.add_argument("--reason", metavar="TEXT", help="shown in lists, and to users")
        out.set_defaults(act=name)
    back = _command(commands, "back", "Put boards back in service.", _back, boards)
    back.add_argument("boards", nargs="*", metavar="BOARD", help="which ones, see below")
    back.add_argument("--all", action="store_true", help="all boards that are out of service")
    test = _command(
        commands,
        "test",
        "Test boards that are out of service now, not at their time.",
        _test,
        boards,
    )
    test.add_argument("boards", nargs="+", metavar="BOARD", help="which ones, see below")


def check_boards(texts: Iterable[str]) -> None:
    """Find mistakes in the names of boards before the server is asked."""
    for text in texts:
        try:
            read_boards(text)
        except ValueError as e:
            raise ToolError(str(e)) from e


def _out(options: argparse.Namespace) -> None:
    check_boards(options.boards)
    if not (options.reason or "").strip():
        # Other faults come first.
        ask_running(options, do="find", boards=options.boards)
        raise ToolError(f"{options.act} needs --reason TEXT, for the readers of the list")
    order = {"do": "out", "boards": options.boards, "reason": options.reason}
    tell_out(ask_running(options, **order))


def tell_out(done: dict[str, Any]) -> None:
    """Print which boards were taken out of service, and which jobs still have some."""
    for line in _named(done["boards"], "taken out of service"):
        print(line)
    for line in _named(done["dead"], "not changed: dead in the configuration"):
        print(line)
    if done["jobs"]:
        jobs = ", ".join(map(str, done["jobs"]))
        print(f"still in use by job{'s' * (len(done['jobs']) > 1)} {jobs}, until that ends")


def _back(options: argparse.Namespace) -> None:
    if options.all == bool(options.boards):
        raise ToolError("back which boards? name them, or say --all")
    check_boards(options.boards)
    which = {"all": True} if options.all else {"boards": options.boards}
    tell_back(ask_running(options, do="back", **which))


def tell_back(done: dict[str, Any]) -> None:
    """Print which boards are back in service."""
    for line in _named(done["boards"], "back in service") or ["all boards are in service"]:
        print(line)
    for note in done["notes"]:
        print(escaped(note))


def _test(options: argparse.Namespace) -> None:
    check_boards(options.boards)
    done = ask_running(options, do="test", boards=options.boards)
    for line in _named(done["boards"], "is tested as soon as no job has it"):
        print(line)


def _named(boards: Sequence[dict[str, Any]], done: str) -> list[str]:
    """Say a thing of boards: one by one if they are few, else by machine."""
    if len(boards) <= _MOST_NAMED:
        return [
            f"board {tuple(each['board'])} of machine {escaped(each['machine'])} {done}"
            for each in boards
        ]
    machines = dict.fromkeys(each["machine"] for each in boards)
    counts = {name: sum(each["machine"] == name for each in boards) for name in machines}
    return [
        f"{count} board{'s' * (count > 1)} of machine {escaped(name)} {done}"
        for name, count in counts.items()
    ]


# --- jobs ---


def _add_jobs(commands: Commands) -> None:
    parser = _command(commands, "jobs", "List all jobs, with their principals.", _jobs)
    parser.add_argument("--json", action="store_true", help="list as one JSON object")
    parser.add_argument(
        "--on-grace",
        action="store_true",
        help="only jobs of before the start whose clients were not heard of since",
    )


def _jobs(options: argparse.Namespace) -> None:
    rows = ask_running(options, do="jobs")["jobs"]
    if options.on_grace:
        rows = [row for row in rows if row["on_grace_until"] is not None]
    if options.json:
        print(json.dumps({"jobs": rows}))
        return
    about = ("job", "state", "owner", "principal", "boards", "created")
    head = (*about, "lives on grace until", "why it waits")
    for line in table(head, (_job_cells(row) for row in rows), "no jobs"):
        print(line)


def _job_cells(row: dict[str, Any]) -> tuple[str, ...]:
    boards = row["boards"] if row["machine"] is None else f"{row['machine']}: {row['boards']}"
    grace = row["on_grace_until"]
    return (
        str(row["id"]),
        row["state"],
        row["owner"],
        row["principal"],
        boards or "-",
        date(row["created"]),
        "-" if grace is None else date(grace),
        row.get("why") or "-",
    )


def _add_job(commands: Commands) -> None:
    parser = _command(commands, "job", "Show a job, or make it another principal's.", _job)
    parser.add_argument("id", type=int, metavar="ID", help="its number")
    parser.add_argument(
        "--give",
        metavar="PRINCIPAL",
        help="make it this principal's: host:ADDRESS, unix:USER, cert:NAME or user:NAME",
    )


def _with_user_id(principal: str) -> str:
    """Return a principal with the number of its local user, who may be given by name."""
    kind, _, name = principal.partition(":")
    if kind != "unix" or not name or name.isdecimal():
        return principal
    try:
        return f"unix:{pwd.getpwnam(name).pw_uid}"
    except KeyError as e:
        raise ToolError(f"this computer has no user {name!r}") from e


def _job(options: argparse.Namespace) -> None:
    if options.give is not None:
        principal = _with_user_id(options.give)
        done = ask_running(options, do="give", id=options.id, principal=principal)
        print(f"job {done['id']} is of {escaped(done['principal'])}, was of {done['before']}")
        return
    for key, value in ask_running(options, do="job", id=options.id).items():
        shown = date(value) if key in ("created", "on_grace_until") and value else value
        print(f"{key.replace('_', ' ')}: {escaped(str('-' if shown is None else shown))}")


def _add_end(commands: Commands) -> None:
    parser = _command(commands, "end", "End a job; its user is told who ended it and why.", _end)
    parser.add_argument("id", type=int, metavar="ID", help="its number")
    parser.add_argument("--if-owner", metavar="OWNER", help="only if it is this owner's")
    parser.add_argument("--reason", metavar="TEXT", help="shown to its user")


def _end(options: argparse.Namespace) -> None:
    order = {"do": "end", "id": options.id}
    order |= {} if options.if_owner is None else {"if_owner": options.if_owner}
    order |= {} if options.reason is None else {"reason": options.reason}
    done = ask_running(options, **order)
    print(f"job {done['id']} of {escaped(done['owner'])} ended: {escaped(done['reason'])}")


# --- the facility ---


def _add_message(commands: Commands) -> None:
    parser = _command(commands, "message", "Put up a message to all users, or take it down.", _say)
    parser.add_argument("text", nargs="?", metavar="TEXT", help="the message; none takes it down")
    parser.add_argument(
        "--no-new-jobs", action="store_true", help="refuse new jobs with this message"
    )


def _say(options: argparse.Namespace) -> None:
    done = ask_running(options, do="message", text=options.text, accepting=not options.no_new_jobs)
    print("no message" if done["text"] is None else f"message: {escaped(done['text'])}")
    print("new jobs are accepted" if done["accepting"] else "new jobs are refused")


def _add_access(commands: Commands) -> None:
    about = "Tell which rule of access counts for a client."
    parser = _command(commands, "access", about, _access)
    parser.add_argument("address", nargs="?", metavar="ADDRESS", help="its IP address")
    parser.add_argument("--cert", metavar="NAME", help="the name of its certificate")
    parser.add_argument("--unix", metavar="USER", help="its user on this computer")
    parser.add_argument("--user", metavar="NAME", help="the user for whom a front acts")


def _access(options: argparse.Namespace) -> None:
    known = {
        "address": options.address,
        "certificate": options.cert,
        "unix_user": options.unix,
        "user": options.user,
    }
    given = {key: value for key, value in known.items() if value is not None}
    done = ask_running(options, do="access", **given)
    if done["rules"] is None:
        why = "the configuration has no rules of access"
    elif done["rule"] is None:
        why = f"none of the {done['rules']} rules matches"
    else:
        why = f"rule {done['rule']} of {done['rules']}, {escaped(done['who'])}"
    print(f"{escaped(done['principal'])}: {done['access']} ({why})")
    if done["isolation"] == "jobs":
        print("jobs are isolated: only their own principals and operators may end or power them")


# --- output ---


def date(moment: float) -> str:
    """Write a Unix time in the local zone, and say which that is."""
    return time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(moment))
