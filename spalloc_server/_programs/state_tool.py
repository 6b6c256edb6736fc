"""The command ``spalloc-state``: an operator's view of saved states.

Each sub-command adds its arguments and the function that runs it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spalloc_server import __version__
from spalloc_server._programs import operator_tool, quarantine_tool, state_text
from spalloc_server._programs.output import printing
from spalloc_server._programs.parser import Parser
from spalloc_server._programs.server_control import SIMULATED
from spalloc_server._programs.state_report import Report, as_data, examine, is_saved
from spalloc_server._saved.saved_file import Names

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # it has no public name


def _add_show(commands: Commands) -> None:
    parser = commands.add_parser(
        "show",
        help="print what a state file or journal holds",
        description="Print the jobs, allocations, boards waiting to be freed and reasons of ended"
        " jobs in the saved state of a configuration, or in one state file or journal. Needs no"
        " server and changes nothing.",
        epilog="Exit status: 0 if the file is sound, 1 if not (its sound part is printed).",
    )
    parser.add_argument(
        "file",
        type=Path,
        metavar="CONFIG or FILE",
        help="the configuration file, or .CONFIG.state.VERSION or .CONFIG.journal",
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="as given to the server (beside CONFIG)"
    )
    parser.add_argument(
        "--simulated", action="store_true", help="of the server that runs with --simulate"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    data = as_data(_examine(options))
    if options.json:
        json.dump(data, sys.stdout, indent=2, default=_to_json)
        print()
    else:
        for line in state_text.lines(data):
            print(line)
    return 1 if data["problems"] else 0


def _examine(options: argparse.Namespace) -> Report:
    """Examine the file that is named, or the newest state file of the configuration."""
    file: Path = options.file
    meant = options.state_dir is not None or options.simulated
    if is_saved(file) and not meant:
        return examine(file)
    directory = options.state_dir or file.absolute().parent
    for label in (SIMULATED,) if options.simulated else ("", SIMULATED):
        try:
            reports = [examine(path) for path in Names(directory, file.name, label).states()]
        except OSError as e:
            if meant:
                return _problem(directory, f"cannot be searched ({e.strerror})")
            break
        if reports:
            newest = max(reports, key=_generation)
            if label and not options.simulated:
                newest.notes.append("of a server with --simulate; there is no other state")
            return newest
    if meant:
        return _problem(directory, f"there is no saved state of {file.name} in this folder")
    report = examine(file)
    if report.header is None and file.exists():
        report.notes.append(
            "if it is a configuration file, no state of it is saved beside it; --state-dir says"
            " where else"
        )
    return report


def _generation(report: Report) -> int:
    return report.header.generation if report.header else -1


def _problem(path: Path, text: str) -> Report:
    report = Report(path)
    report.problems.append(text)
    return report


def _to_json(value: object) -> object:
    """Turn a value that JSON does not know into the closest one that it does."""
    return sorted(value, key=repr) if isinstance(value, (set, frozenset)) else str(value)


#: The functions that add the sub-commands.
_COMMANDS: tuple[Callable[[Commands], None], ...] = (
    _add_show,
    quarantine_tool.add_to,
    operator_tool.add_to,
)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    Parameters
    ----------
    args : sequence of str, optional
        The arguments; those of the process if not given.
    """
    return printing("spalloc-state", lambda: _run(args))


def _run(args: Sequence[str] | None) -> int:
    parser = Parser(
        prog="spalloc-state",
        description="Look at a spalloc server and its state, and give it orders.",
    )
    parser.add_argument("--version", "-V", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    options = parser.parse_args(args)
    status: int = options.run(options)
    return status
