"""``spalloc-history traces``: write made-up days of jobs as files."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from spalloc_server._history.traces import KINDS, make_trace, to_lines

if TYPE_CHECKING:
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]


def add_to(commands: Commands) -> None:
    """Add the sub-command."""
    kinds = "; ".join(f"{name}: {kind.title} ({kind.load:g})" for name, kind in KINDS.items())
    parser = commands.add_parser(
        "traces",
        help="write a made-up day of jobs",
        description="Write a made-up day of jobs as JSON lines: the machine first, then the jobs "
        "by time of arrival. The same kind, load and seed make the same jobs. "
        "`spalloc-history replay` reads the file.",
        epilog=f"Kinds (and their load): {kinds}.",
    )
    parser.add_argument("kind", choices=KINDS, metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--seed", type=int, default=1, help="other seeds make other jobs (1)")
    parser.add_argument(
        "--load", type=float, help="part of the machine's time that is asked for, above 0"
    )
    parser.add_argument("--jobs", type=int, help="number of jobs")
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    try:
        trace = make_trace(options.kind, options.seed, options.load, options.jobs)
    except ValueError as e:
        print(f"spalloc-history traces: {e}", file=sys.stderr)
        return 2
    for line in to_lines(trace):
        print(line)
    return 0
