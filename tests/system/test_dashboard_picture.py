"""The picture of the dashboard shows the file that is imported into Grafana."""

import importlib.util
import itertools
import json
from html import unescape
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def picture() -> ModuleType:
    path = ROOT / "docs" / "_ext" / "dashboard_picture.py"
    spec = importlib.util.spec_from_file_location("dashboard_picture", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    file = ROOT / "contrib" / "grafana" / "spalloc.json"
    panels: list[dict[str, Any]] = json.loads(file.read_text())["panels"]
    return panels


def test_every_panel_is_named_with_its_curves(
    picture: ModuleType, panels: list[dict[str, Any]]
) -> None:
    drawn = unescape(picture.dashboard())

    assert f"{len(panels)} panels" in drawn
    for panel in panels:
        assert f">{panel['title']}</text>" in drawn
        for name in picture.legends(panel):
            assert f">{name}</text>" in drawn


def test_parts_of_names_that_vary_are_marked(picture: ModuleType) -> None:
    panel = {"targets": [{"legendFormat": "{{machine}} {{frame}}"}, {"legendFormat": "all"}]}

    assert picture.legends(panel) == ["⟨machine⟩ ⟨frame⟩", "all"]


def test_no_panel_covers_another_or_the_edge(
    picture: ModuleType, panels: list[dict[str, Any]]
) -> None:
    places = [picture.place(panel) for panel in panels]

    for left, _, width, _ in places:
        assert 0 <= left < left + width <= picture.COLUMNS * 40
    for (x, y, w, h), (x2, y2, w2, h2) in itertools.combinations(places, 2):
        assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
