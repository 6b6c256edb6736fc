"""Options that several sub-commands have."""

from __future__ import annotations

import argparse
from datetime import datetime, timezone

#: Where the database is unless told otherwise; the folder is made with mode 0750.
DEFAULT_DATABASE = "/var/lib/spalloc-history/history.db"


def add_database(parser: argparse.ArgumentParser) -> None:
    """Add ``--database``."""
    parser.add_argument(
        "--database",
        default=DEFAULT_DATABASE,
        metavar="PATH|URL",
        help="an SQLite file, or a URL such as postgresql+psycopg:///history "
        f"({DEFAULT_DATABASE})",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def add_span(parser: argparse.ArgumentParser, default: str) -> None:
    """Add ``--since`` and ``--until``."""
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help=f"ISO date or time, UTC ({default})"
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="ISO date or time, UTC (now)")


def moment(text: str) -> float:
    """Read an ISO date or time, or a Unix time; UTC unless it says otherwise."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        when = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError as e:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time, expected such as 2026-03-01 or 2026-03-01T12:00"
        ) from e
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return when.timestamp()


def days(text: str) -> int:
    """Read a number of days, at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days, expected 1 or more")
    return int(text)


def board(text: str) -> tuple[int, int, int]:
    """Read X,Y,Z."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no board, expected X,Y,Z such as 0,3,1")
    x, y, z = (int(part) for part in parts)
    return x, y, z
