"""Tables for a terminal: columns under their heads, nothing raw from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from spalloc_server._checks.values import escaped


def table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> Iterator[str]:
    """Yield the lines of a table; just `empty` if there are no rows."""
    cells = [[escaped(cell) for cell in row] for row in rows]
    if not cells:
        yield empty
        return
    cells.insert(0, list(head))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
