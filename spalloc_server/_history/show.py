"""How answers are shown to people: tables, bars, times.

Knows nothing of databases.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from spalloc_server._history.answers import plain

#: Columns of a table that goes into a file or a pipe.
_WIDE = 200
#: Length of the longest bar, and of that on a narrow terminal.
_BAR, _SHORT_BAR = 30, 8
#: Columns below which a terminal is narrow, and the fewest that a table is made for.
_NARROW, _LEAST = 100, 80
#: Columns of free text, which are folded where there is not enough room; others are cut.
_TEXT = frozenset({"owner", "reason", "moved because", "text", "back how", ""})


class _Paper(Console):
    """Leaves a pipe that nobody reads to the program, as `print` does."""

    def on_broken_pipe(self) -> None:
        """Pass the error on; the library's own exits with status 1."""
        raise  # noqa: PLE0704 - called where the error is handled


def console() -> Console:
    """Return where tables go."""
    out = sys.stdout
    made = _Paper(file=out, width=None if out.isatty() else _WIDE, highlight=False)
    # A narrower terminal breaks the lines; columns without room would say nothing at all.
    made.width = max(made.width, _LEAST)
    return made


def print_json(answer: Any) -> None:
    """Print an answer as JSON."""
    print(json.dumps(plain(answer), indent=2))


def table(
    title: str | None,
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    right: Iterable[str] = (),
) -> Table:
    """Return a table.

    Parameters
    ----------
    title : str or None
    columns : sequence of str
    rows : iterable of sequences of str
    right : iterable of str
        Names of the columns with numbers.
    """
    made = Table(
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    numbers = set(right)
    for name in columns:
        is_text = name in _TEXT
        made.add_column(
            name,
            justify="right" if name in numbers else "left",
            overflow="fold" if is_text else "ellipsis",
            no_wrap=not is_text,
            min_width=min(len(name), 8) if is_text else None,
        )
    for row in rows:
        made.add_row(*(escape(printable(cell)) for cell in row))
    return made


def printable(text: str) -> str:
    """Return text on one line that does nothing to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def moment(when: float | None) -> str:
    """Return a Unix time as local time, to the second, with its zone."""
    if when is None:
        return ""
    return datetime.fromtimestamp(when).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def day(when: float) -> str:
    """Return the day of a Unix time, UTC."""
    return datetime.fromtimestamp(when, timezone.utc).strftime("%Y-%m-%d")


def duration(seconds: float | None) -> str:
    """Return a duration, to about two digits."""
    if seconds is None:
        return ""
    for unit, length in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def place(where: Sequence[int] | None) -> str:
    """Return a place: ``4 x 2 at (0, 6)`` of a block, ``(0, 6, 1)`` of a board."""
    if where is None:
        return ""
    if len(where) == 3:
        return f"({where[0]}, {where[1]}, {where[2]})"
    x, y, w, h = where
    return f"{w} x {h} at ({x}, {y})"


def hours(number: float) -> str:
    """Return hours, with more digits if there are few."""
    return f"{number:,.{1 if number >= 10 else 2}f}"


def bar(part: float, width: int = _WIDE) -> str:
    """Return a bar for 0 to 1, short if the terminal has few columns."""
    longest = _BAR if width >= _NARROW else _SHORT_BAR
    eighths = round(max(0.0, min(1.0, part)) * longest * 8)
    parts = ("", "▏", "▎", "▍", "▌", "▋", "▊", "▉")
    return "█" * (eighths // 8) + parts[eighths % 8]
