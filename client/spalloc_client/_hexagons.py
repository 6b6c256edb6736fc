r"""Draws boards as a map of hexagons: characters and styles, nothing of the terminal.

Three sizes, the largest that is not too wide::

    full   ___          compact    tight
          / A \___        A         A
          \___/ A \         A        A
          / . \___/       .         .
          \___/

A full map shows links too: a dead one is drawn with ``#`` instead of its edge.
"""

from collections.abc import Mapping
from typing import NamedTuple

from rich.style import Style
from rich.text import Text

from spalloc_client._geometry import (
    EAST,
    NORTH,
    NORTH_EAST,
    SOUTH,
    SOUTH_WEST,
    WEST,
    Board,
    Link,
    cell_of,
)
from spalloc_client._palette import QUIET, word

_NOTHING = Style()
_DEAD_LINK = word("dead") + Style(bold=True, dim=False)


class Mark(NamedTuple):
    """The content of a board's hexagon: up to three characters and the field's style."""

    label: str
    style: Style = _NOTHING


class _Glyphs(NamedTuple):
    """The characters of edges, whole and dead."""

    level: str
    rising: str
    falling: str
    dead_level: str
    dead_slope: str


_ASCII = _Glyphs("_", "/", "\\", "#", "#")
# Unlike / and \ these reach into the corners of their cells, so that lines join.
_UNICODE = _Glyphs("\u2581", "\u2571", "\u2572", "\u2573", "\u2573")

#: Where an edge is drawn: lines down and columns right of the hexagon's corner.
_EDGES = {
    NORTH: ((-1, 1), (-1, 2), (-1, 3)),
    NORTH_EAST: ((0, 4),),
    EAST: ((1, 4),),
    SOUTH: ((1, 1), (1, 2), (1, 3)),
    SOUTH_WEST: ((1, 0),),
    WEST: ((0, 0),),
}

def dead_link_sign(unicode: bool) -> str:
    """Return the character that a dead link is drawn with."""
    return (_UNICODE if unicode else _ASCII).dead_slope


_Canvas = dict[tuple[int, int], tuple[str, Style]]


def draw(
    marks: Mapping[Board, Mark],
    dead_links: frozenset[Link] | set[Link] = frozenset(),
    *,
    max_width: int | None = None,
    unicode: bool = False,
) -> list[Text]:
    """Draw boards.

    Parameters
    ----------
    marks
        The boards to draw, and their content; others are left empty.
    dead_links
        Links (x, y, z, link) that are dead, named by both ends.
    max_width
        Characters that there is room for; None: any number.
    unicode
        Whether the terminal has more than ASCII.

    Returns
    -------
    list of Text
        Lines, without spaces at their ends; cut at `max_width` if even the tight map
        is wider, which a line below then says.
    """
    if not marks:
        return []
    cells = {board: cell_of(board) for board in marks}
    left = min(column for column, _ in cells.values())
    top = max(row for _, row in cells.values())
    columns = max(column for column, _ in cells.values()) - left + 1
    places = {board: (top - row, column - left) for board, (column, row) in cells.items()}
    room = max_width or 1 << 30
    if 4 * columns + 1 <= room:
        canvas = _draw_full(marks, places, dead_links, _UNICODE if unicode else _ASCII)
    else:
        longest = max(len(mark.label) for mark in marks.values())
        step = longest + 1 if (longest + 1) * columns <= room else longest
        canvas = _draw_small(marks, places, step)
    return _lines(canvas, room)


def _draw_full(
    marks: Mapping[Board, Mark],
    places: Mapping[Board, tuple[int, int]],
    dead_links: frozenset[Link] | set[Link],
    glyphs: _Glyphs,
) -> _Canvas:
    canvas: _Canvas = {}
    dead: list[tuple[int, int, bool]] = []
    for board, mark in marks.items():
        line, column = places[board][0] + 1, places[board][1] * 4
        # One letter stands in the middle, as in " A "; two make "AB ".
        for offset, letter in enumerate(mark.label.rjust(2).ljust(3)):
            canvas[line, column + 1 + offset] = (letter, mark.style)
        for link, spots in _EDGES.items():
            glyph = _glyph(link, glyphs)
            for down, right in spots:
                spot = (line + down, column + right)
                if link == SOUTH:  # the lower edge lies inside our field
                    canvas[spot] = (glyph, mark.style + QUIET)
                else:
                    canvas.setdefault(spot, (glyph, QUIET))
                if (*board, link) in dead_links:
                    dead.append((*spot, link in (NORTH, SOUTH)))
    for line, column, level in dead:
        letter = glyphs.dead_level if level else glyphs.dead_slope
        canvas[line, column] = (letter, canvas[line, column][1] + _DEAD_LINK)
    return canvas


def _glyph(link: int, glyphs: _Glyphs) -> str:
    if link in (NORTH, SOUTH):
        return glyphs.level
    return glyphs.rising if link in (WEST, EAST) else glyphs.falling


def _draw_small(
    marks: Mapping[Board, Mark], places: Mapping[Board, tuple[int, int]], step: int
) -> _Canvas:
    canvas: _Canvas = {}
    for board, mark in marks.items():
        line, column = places[board]
        for offset, letter in enumerate(mark.label.ljust(step)):
            canvas[line, column * step + offset] = (letter, mark.style)
    return canvas


def _lines(canvas: _Canvas, room: int) -> list[Text]:
    lines: dict[int, Text] = {}
    for (line, column), (letter, style) in sorted(canvas.items()):
        if column >= room:
            continue
        text = lines.setdefault(line, Text(no_wrap=True, overflow="crop"))
        text.append(" " * (column - len(text)))
        text.append(letter, style)
    for text in lines.values():
        text.rstrip()
    picture = [lines.get(number, Text()) for number in range(min(lines), max(lines) + 1)]
    needed = 1 + max(column for _, column in canvas)
    if needed > room:
        note = Text(f"cut: all needs {needed} columns", QUIET, no_wrap=True, overflow="crop")
        picture += [Text(), note]
    return picture
