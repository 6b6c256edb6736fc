"""Options that several sub-commands have."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import datetime, timezone

#: Where the database is unless told otherwise; the folder is made with mode 0750.
DEFAULT_DATABASE = "/var/lib/spalloc-history/history.db"

#: The largest number that a database keeps.
LARGEST = 2**63 - 1
#: Most rows that may be asked for.
MOST_ROWS = 1_000_000_000
#: Most days that are counted back from today: more than there are in the calendar.
_MOST_DAYS = 3_652_058
#: Unix times of the beginnings of the years 1900 and 9999, UTC: days before and after them have a
#: date, too.
_FIRST_MOMENT, _LAST_MOMENT = -2_208_988_800.0, 253_370_764_800.0


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
        seconds = float(text)
    except ValueError:
        seconds = _iso(text)
    if not _FIRST_MOMENT <= seconds < _LAST_MOMENT:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time in the years 1900 to 9998, expected such as 2026-03-01"
        )
    return seconds


def _iso(text: str) -> float:
    try:
        when = datetime.fromisoformat(text.removesuffix("Z"))
    except ValueError as e:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time, expected such as 2026-03-01 or 2026-03-01T12:00"
        ) from e
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return when.timestamp()


def whole(low: int, high: int = LARGEST) -> Callable[[str], int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = None
        if number is None or not low <= number <= high:
            raise argparse.ArgumentTypeError(
                f"{text!r} is not allowed, expected a whole number from {low} to {high}"
            )
        return number

    return read


days = whole(1, _MOST_DAYS)


def board(text: str) -> tuple[int, int, int]:
    """Read X,Y,Z."""
    try:
        x, y, z = map(whole(0), text.split(","))
    except (ValueError, argparse.ArgumentTypeError) as e:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no board, expected X,Y,Z such as 0,3,1"
        ) from e
    return x, y, z
