"""The command ``spalloc-history``.

Each sub-command adds its arguments and names the function that runs it; here is the common part.
Modules of the database are imported when a command needs them, so that those that do not can
be used without the extra ``history``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from spalloc_server._history import (
    follow_command,
    questions,
    replay_command,
    traces_command,
    transfer_commands,
)
from spalloc_server._programs.output import complain, printing
from spalloc_server._programs.parser import Parser
from spalloc_server._version import __version__

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[Parser]  # it has no public name

#: The functions that add the sub-commands.
_COMMANDS: tuple[Callable[[Commands], None], ...] = (
    follow_command.add_to,
    questions.add_to,
    transfer_commands.add_to,
    replay_command.add_to,
    traces_command.add_to,
)
_EXTRA = {"sqlalchemy", "alembic", "mako", "rich"}


def main(args: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status.

    Parameters
    ----------
    args : sequence of str, optional
        The arguments; those of the process if not given.
    """
    parser = Parser(
        prog="spalloc-history",
        description="Keep and show the history of a spalloc server, and try other schedulings.",
    )
    parser.add_argument("--version", "-V", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for add in _COMMANDS:
        add(commands)
    return printing(parser.prog, lambda: _run(parser, args))


def _run(parser: Parser, args: Sequence[str] | None) -> int:
    options = parser.parse_args(args)
    try:
        status: int = options.run(options)
    except ModuleNotFoundError as e:
        if e.name is None or e.name.partition(".")[0] not in _EXTRA:
            raise
        complain(
            f"spalloc-history: {e.name} is not installed; it comes with the extra `history`: "
            "pip install 'spalloc_server[history]'"
        )
        status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
