"""The pictures of the page on sharing show the things that the page tells of them."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import pytest

from spalloc_server import _clock

FILE = Path(__file__).parent.parent.parent / "docs" / "_ext" / "sharing_pictures.py"


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sharing_pictures", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def lived(pictures: ModuleType, seconds: float) -> tuple[Any, dict[int, Any], list[int]]:
    """The region, the places of the jobs and those that wait, at a moment."""
    day = pictures.Day()
    day.live_until(seconds)
    machine = day.queue._machines["m"]
    allocations = machine.allocator.allocations.items()
    places = {machine.tenants[number].id: taken[1:] for number, taken in allocations}
    with patch.object(_clock, "monotonic", lambda: day.now):
        region = day.queue.region_of(pictures.BIG)
    return region, places, [job.id for job in machine.waiting()]


def inside(place: Any, region: Any) -> bool:
    x, y, width, height = region.place
    return bool(x <= place[0] < x + width and y <= place[1] < y + height)


def test_a_region_is_given_and_others_find_places_outside(pictures: ModuleType) -> None:
    region, places, waiting = lived(pictures, 1250)

    assert waiting == [pictures.BIG]
    assert not region.closed
    assert not inside(places[7], region)
    assert not inside(places[8], region)


def test_a_young_region_leaks(pictures: ModuleType) -> None:
    region, places, waiting = lived(pictures, 4200)

    assert waiting == [pictures.BIG]
    assert inside(places[9], region)


def test_a_closed_region_does_not(pictures: ModuleType) -> None:
    region, places, waiting = lived(pictures, 8960)

    assert region.closed
    assert waiting == [pictures.BIG, 12]
    assert {job for job, place in places.items() if inside(place, region)} == {5, 9}


def test_the_job_starts_when_all_have_rested(pictures: ModuleType) -> None:
    region, places, _ = lived(pictures, 9190)

    assert region is None
    assert pictures.BIG in places


def test_each_picture_has_its_title(pictures: ModuleType) -> None:
    for draw in pictures.DRAWINGS.values():
        assert draw().count("<title>after ") == 1
