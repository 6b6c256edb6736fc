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
from spalloc_server._programs.state_report import as_data, examine

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # it has no public name


def _add_show(commands: Commands) -> None:
    parser = commands.add_parser(
        "show",
        help="print what a state file or journal holds",
        description="Print what a state file or journal holds: jobs, allocations, boards waiting"
        " to be freed, reasons of ended jobs. Needs no server and changes nothing.",
        epilog="Exit status: 0 if the file is sound, 1 if not (what can be told is printed).",
    )
    parser.add_argument(
        "file", type=Path, metavar="FILE", help=".CONFIG.state.VERSION or .CONFIG.journal"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=_show)


def _show(options: argparse.Namespace) -> int:
    data = as_data(examine(options.file))
    if options.json:
        json.dump(data, sys.stdout, indent=2, default=_to_json)
        print()
    else:
        for line in state_text.lines(data):
            print(line)
    return 1 if data["problems"] else 0


def _to_json(value: object) -> object:
    """Turn what a state may hold but JSON may not into what comes closest."""
    return sorted(value, key=repr) if isinstance(value, (set, frozenset)) else str(value)


#: What adds each sub-command.
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
