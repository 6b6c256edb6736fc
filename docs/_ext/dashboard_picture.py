"""The dashboard as Grafana lays it out, drawn from its file: panels, units and legends.

The curves are Grafana's to draw; here are the places, and the marks by which to find a panel.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

FILE = Path(__file__).parents[2] / "contrib" / "grafana" / "spalloc.json"

#: Columns that Grafana has, and the pixels of one; pixels of a row; room between panels.
COLUMNS, _COLUMN, _ROW, _GAP = 24, 40, 15, 3
#: Colours of the first curves of a panel, as Grafana's classic palette begins.
_CURVES = ("#7eb26d", "#eab839", "#6ed0e0")
#: Grafana's names of units, in words.
_UNITS = {
    "short": "",
    "s": "seconds",
    "ops": "per second",
    "bytes": "bytes",
    "percentunit": "share",
}


def dashboard() -> str:
    """Draw all panels in their places."""
    panels = json.loads(FILE.read_text())["panels"]
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels) * _ROW
    title = f"The dashboard in Grafana: {len(panels)} panels, each with its unit and its curves"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{COLUMNS * _COLUMN}" '
        f'viewBox="0 0 {COLUMNS * _COLUMN} {height}" style="max-width: 100%; height: auto; '
        f'background: #fff; font-family: sans-serif"><title>{escape(title)}</title>'
        + "".join(map(_panel, panels))
        + "</svg>"
    )


def place(panel: dict[str, Any]) -> tuple[int, int, int, int]:
    """Return a panel's left, top, width and height, pixels."""
    at = panel["gridPos"]
    return at["x"] * _COLUMN, at["y"] * _ROW, at["w"] * _COLUMN - _GAP, at["h"] * _ROW - _GAP


def legends(panel: dict[str, Any]) -> list[str]:
    """Return the names of a panel's curves; in angle brackets are parts that vary."""
    names = [target["legendFormat"] for target in panel["targets"]]
    return [name.replace("{{", "⟨").replace("}}", "⟩") for name in names]


def _panel(panel: dict[str, Any]) -> str:
    left, top, width, height = place(panel)
    unit = _UNITS[panel["fieldConfig"]["defaults"]["unit"]]
    shapes = [
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="3" fill="#f7f8fa" '
        'stroke="#c7cdd6"/>',
        _text(left + 8, top + 18, panel["title"], "font-weight: bold"),
        _text(left + 8, top + 36, unit, "fill: #555"),
    ]
    for share in (0.5, 0.7):
        y = top + height * share
        shapes.append(f'<path d="M{left + 8},{y:.0f} h{width - 16}" stroke="#e3e6ea"/>')
    at = left + 8
    for name, colour in zip(legends(panel), _CURVES, strict=False):
        y = top + height - 12
        shapes.append(f'<path d="M{at},{y} h14" stroke="{colour}" stroke-width="3"/>')
        shapes.append(_text(at + 18, y + 4, name, "font-size: 11px"))
        at += 34 + 7 * len(name)
    return "".join(shapes)


def _text(x: float, y: float, text: str, style: str) -> str:
    style = f"font-size: 13px; fill: #222; {style}"
    return f'<text x="{x}" y="{y}" style="{style}">{escape(text)}</text>'
