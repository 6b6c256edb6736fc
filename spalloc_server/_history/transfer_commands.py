"""``spalloc-history import`` and ``export``."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from spalloc_server._configuration_file import ConfigurationError, load_configuration
from spalloc_server._history.errors import HistoryError
from spalloc_server._history.options import add_database, days
from spalloc_server._history.questions import add_filters, asking, chosen_jobs

if TYPE_CHECKING:
    from spalloc_server._history.history import History
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]


def add_to(commands: Commands) -> None:
    """Add the sub-commands."""
    parser = commands.add_parser(
        "import",
        help="take old job logs into the database",
        description="Take job logs of this server or of the original, or exports as JSON lines, "
        "into the database. Jobs that are known already are left alone, so a file may be taken "
        "again. The original's logs do not tell when a job was ready.",
        epilog="Exit status: 1 if a file cannot be read or the database not be written.",
    )
    parser.add_argument(
        "files", type=Path, nargs="+", metavar="FILE", help="in any order; .gz files, too"
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="CONFIG",
        help="the server's configuration: which boards the BMPs in the original's logs had, and "
        "how large the machines were",
    )
    parser.add_argument(
        "--timezone", type=time_zone, metavar="ZONE", help="of the logs' times (this computer's)"
    )
    parser.add_argument(
        "--keep-names-days",
        type=days,
        metavar="N",
        help="give pseudonyms to owners and hosts of jobs that ended N days ago; the follower "
        "does so as the server says",
    )
    add_database(parser)
    parser.set_defaults(run=_import)
    _add_export(commands)


def time_zone(name: str) -> tzinfo:
    """Read the name of a time zone."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as e:
        raise argparse.ArgumentTypeError(
            f"{name!r} is no time zone, expected such as Europe/London"
        ) from e


def _import(options: argparse.Namespace) -> int:
    from spalloc_server._history.database import Database  # noqa: PLC0415
    from spalloc_server._history.importer import import_files  # noqa: PLC0415
    from spalloc_server._history.upkeep import forget_names  # noqa: PLC0415

    try:
        configuration = None if options.config is None else load_configuration(options.config)
        with closing(Database(options.database)) as database:
            report = import_files(database, options.files, configuration, options.timezone)
            if options.keep_names_days is not None:
                forget_names(database, options.keep_names_days)
    except (OSError, HistoryError, ConfigurationError) as e:
        print(f"spalloc-history import: {e}", file=sys.stderr)
        return 1
    print(
        f"{report.new:,} jobs added, {report.known:,} were known; "
        f"{report.strange:,} of {report.records:,} records were not understood"
    )
    return 0


def _add_export(commands: Commands) -> None:
    parser = commands.add_parser(
        "export",
        help="write jobs as CSV or JSON lines",
        description="Write jobs to standard output, newest first. Times are Unix times. "
        "`import` and `replay` read the JSON lines.",
    )
    add_filters(parser)
    parser.add_argument(
        "--format", choices=("csv", "json"), default="csv", help="CSV, or JSON lines (csv)"
    )
    add_database(parser)
    parser.set_defaults(run=asking(_export))


def _export(history: History, options: argparse.Namespace) -> int:
    from spalloc_server._history.exported import write_csv, write_json_lines  # noqa: PLC0415

    rows = chosen_jobs(history, options, sys.maxsize)
    write = write_csv if options.format == "csv" else write_json_lines
    write(rows, sys.stdout)
    return 0
