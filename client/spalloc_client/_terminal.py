"""The abilities of the terminal, and texts from elsewhere made fit for it.

It makes the consoles that everything is printed with, and knows nothing of the content.
"""

import io
import os
import sys
from typing import TextIO

from rich.console import Console, RenderableType
from rich.text import Text

from spalloc_client._text import clean

#: Wide enough that nothing is cut where there is no terminal to cut for.
_ENDLESS = 100_000

#: Terminals with usual fonts that lack the diagonal lines.
_POOR_TERMINALS = ("linux", "vt", "dumb", "ansi", "cons")


def make_console(stream: TextIO | None = None) -> Console:
    """Make a console for a stream (default: standard output).

    Colours and the like only on a terminal, and not if NO_COLOR is set; no control
    sequences and no cutting at the edge in a pipe.
    """
    stream = stream or sys.stdout
    if isinstance(stream, io.TextIOWrapper):
        # Names that the encoding lacks are shown with backslashes rather than not at all.
        stream.reconfigure(errors="backslashreplace")
    terminal = stream.isatty()
    poor = os.environ.get("TERM", "").startswith("dumb")
    # Bold and dim go with the colours: not every program that reads a terminal minds the
    # difference, and some terminals show them as colours.
    styled = terminal and not poor and not os.environ.get("NO_COLOR")
    return Console(
        file=stream,
        force_terminal=terminal and not poor,
        color_system="auto" if styled else None,
        force_jupyter=False,
        markup=False,
        emoji=False,
        highlight=False,
        soft_wrap=False,
        width=None if terminal else _columns_wanted(),
    )


def _columns_wanted() -> int:
    columns = os.environ.get("COLUMNS", "")
    return int(columns) if columns.isascii() and columns.isdigit() and int(columns) else _ENDLESS


def draws_unicode(console: Console) -> bool:
    """Whether lines may be drawn with more than ASCII."""
    return (
        console.is_terminal
        and not console.options.ascii_only
        and not os.environ.get("TERM", "").startswith(_POOR_TERMINALS)
    )


def map_width(console: Console) -> int | None:
    """Return the characters that a map has room for; None: any number."""
    return None if console.width >= _ENDLESS else console.width


def show(console: Console, *parts: RenderableType) -> None:
    """Print parts one below the other, in one go."""
    if console.is_terminal:
        with console:
            for part in parts:
                console.print(part)
        return
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    # Columns are filled up with spaces, which nobody wants in a file.
    for line in capture.get().splitlines():
        console.file.write(line.rstrip() + "\n")
    console.file.flush()


def plain(text: str) -> Text:
    """Make a text from elsewhere, without markup and cleaned."""
    return Text(clean(text))
