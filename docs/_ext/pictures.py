"""Pictures of the manual, drawn from the geometry that the server itself uses.

``spalloc-picture``  ``triads``, ``links``, ``data-flow``, ``dashboard`` or a moment of
                     `sharing_pictures`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from math import cos, pi, sin, sqrt
from typing import Any, ClassVar

import sharing_pictures
from dashboard_picture import dashboard
from docutils import nodes
from docutils.parsers.rst import Directive, directives

from spalloc_server.coordinates import board_to_chip, link_to_vector
from spalloc_server.links import Links

#: Pixels per chip.
SCALE = 11.0
#: Distance from the middle of a board's hexagon to its corners, in chips: neighbours are
#: 4 * sqrt(3) chips apart.
RADIUS = 4.0
MARGIN = 12.0
_FILLS = ("#9ecae1", "#fdd49e", "#c7e9c0")


def middle(x: int, y: int, z: int) -> tuple[float, float]:
    """Return the middle of a board's hexagon; pixels, y upwards."""
    chip_x, chip_y = board_to_chip(x, y, z)
    return SCALE * (chip_x - chip_y / 2), SCALE * chip_y * sqrt(3) / 2


class Drawing:
    """Shapes whose bounds become known as they are added; y points upwards."""

    def __init__(self) -> None:
        self._shapes: list[str] = []
        self._xs: list[float] = []
        self._ys: list[float] = []

    def _grow(self, *points: tuple[float, float]) -> None:
        self._xs += [x for x, _ in points]
        self._ys += [-y for _, y in points]

    def hexagon(self, at: tuple[float, float], fill: str) -> None:
        """Add a board."""
        corners = [
            (at[0] + SCALE * RADIUS * cos(k * pi / 3), at[1] + SCALE * RADIUS * sin(k * pi / 3))
            for k in range(6)
        ]
        self._grow(*corners)
        points = " ".join(f"{x:.1f},{-y:.1f}" for x, y in corners)
        self._shapes.append(f'<polygon points="{points}" fill="{fill}" stroke="#333"/>')

    def text(self, at: tuple[float, float], text: str, size: float = 13) -> None:
        """Add a line of text, in the middle of a point."""
        half = len(text) * size * 0.32
        self._grow((at[0] - half, at[1] - size), (at[0] + half, at[1] + size))
        self._shapes.append(
            f'<text x="{at[0]:.1f}" y="{-at[1] + size / 3:.1f}" font-size="{size}" '
            f'text-anchor="middle" fill="#111">{escape(text)}</text>'
        )

    def line(self, start: tuple[float, float], end: tuple[float, float], arrow: bool) -> None:
        """Add a line, with a head at its end if it is an arrow."""
        self._grow(start, end)
        head = ' marker-end="url(#head)"' if arrow else ""
        self._shapes.append(
            f'<line x1="{start[0]:.1f}" y1="{-start[1]:.1f}" x2="{end[0]:.1f}" '
            f'y2="{-end[1]:.1f}" stroke="#333" stroke-width="1.5"{head}/>'
        )

    def box(self, at: tuple[float, float], lines: tuple[str, ...], width: float = 190) -> None:
        """Add a box around lines of text."""
        height = 20 * len(lines) + 12
        left, top = at[0] - width / 2, at[1] + height / 2
        self._grow((left, top), (left + width, top - height))
        self._shapes.append(
            f'<rect x="{left:.1f}" y="{-top:.1f}" width="{width}" height="{height}" rx="6" '
            f'fill="#eef4fa" stroke="#333"/>'
        )
        for number, line in enumerate(lines):
            self.text((at[0], top - 18 - 20 * number), line)

    def svg(self, title: str) -> str:
        """Return the whole picture, on white so that it can be read on dark pages too."""
        left, top = min(self._xs) - MARGIN, min(self._ys) - MARGIN
        width, height = max(self._xs) + MARGIN - left, max(self._ys) + MARGIN - top
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width:.0f}" '
            f'viewBox="{left:.1f} {top:.1f} {width:.1f} {height:.1f}" '
            'style="max-width: 100%; height: auto; background: #fff; '
            'font-family: sans-serif">'
            f"<title>{escape(title)}</title>"
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" '
            'markerHeight="8" orient="auto-start-reverse"><path d="M0,0 L10,5 L0,10 z" '
            'fill="#333"/></marker></defs>' + "".join(self._shapes) + "</svg>"
        )


def triads() -> str:
    """Draw a machine of 3 x 2 triads, each triad in a shade of its own."""
    drawing = Drawing()
    for x in range(3):
        for y in range(2):
            for z in range(3):
                at = middle(x, y, z)
                drawing.hexagon(at, _FILLS[(x + y) % 3])
                drawing.text(at, f"({x}, {y}, {z})", 11)
    return drawing.svg("Boards of a machine three triads wide and two high, with (x, y, z)")


def links() -> str:
    """Draw a board with its six links and the boards that they lead to."""
    drawing = Drawing()
    here = middle(0, 0, 0)
    for link in Links:
        dx, dy, dz = link_to_vector[0, link]
        there = middle(dx, dy, dz)
        drawing.hexagon(there, "#f2f2f2")
        drawing.text((there[0], there[1] + 7), f"{link.name.replace('_', ' ')}", 11)
        drawing.text((there[0], there[1] - 9), f"link {link.value}", 11)
    drawing.hexagon(here, _FILLS[0])
    drawing.text(here, "z = 0", 12)
    for link in Links:
        there = middle(*link_to_vector[0, link])
        drawing.line(_between(here, there, 0.38), _between(here, there, 0.6), arrow=True)
    return drawing.svg("A board and its six neighbours, with names and numbers of the links")


def _between(
    start: tuple[float, float], end: tuple[float, float], share: float
) -> tuple[float, float]:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def data_flow() -> str:
    """Draw how a request gets from a client to the boards."""
    drawing = Drawing()
    places: dict[str, tuple[tuple[float, float], tuple[str, ...]]] = {
        "clients": ((0, 0), ("clients", "TCP, a line of JSON each")),
        "loop": ((250, 0), ("the loop", "reads, runs, answers")),
        "controller": ((250, -110), ("controller", "jobs and machines")),
        "queue": ((0, -110), ("job queue", "who is next, and where")),
        "journal": ((500, 0), ("journal", "every outcome, before", "anybody hears of it")),
        "frames": ((500, -110), ("frames' threads", "power, FPGAs, links")),
        "boards": ((500, -210), ("BMPs and boards", "UDP, port 17893")),
    }
    for at, lines in places.values():
        drawing.box(at, lines)
    for start, end in (
        ((95, 0), (155, 0)),
        ((250, -26), (250, -84)),
        ((155, -110), (95, -110)),
        ((345, 0), (405, 0)),
        ((345, -110), (405, -110)),
        ((500, -36), (500, -84)),
        ((500, -136), (500, -184)),
    ):
        drawing.line(start, end, arrow=True)
    return drawing.svg("From clients through the loop, the controller and the journal to boards")


class Picture(Directive):
    """A picture; pages without pictures get its title."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"alt": directives.unchanged}
    drawings: ClassVar[dict[str, Callable[[], str]]] = {
        "triads": triads,
        "links": links,
        "data-flow": data_flow,
        "dashboard": dashboard,
        **sharing_pictures.DRAWINGS,
    }

    def run(self) -> list[nodes.Node]:
        """Put the picture in the page."""
        svg = self.drawings[self.arguments[0]]()
        title = svg.partition("<title>")[2].partition("</title>")[0]
        return list(_nodes(svg, title))


def _nodes(svg: str, title: str) -> Iterator[nodes.Node]:
    yield nodes.raw("", f"<p>{svg}</p>", format="html")
    yield nodes.raw("", f"\n[{title}]\n", format="manpage")


def setup(app: Any) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("spalloc-picture", Picture)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
