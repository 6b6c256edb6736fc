"""Boards and chips are found in every way of naming them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs.records import MachineMap
from spalloc_server._jobs.whereabouts import all_places, board_of_address, where_is
from spalloc_server.controller import Controller
from tests.support.fake_frame import Rack
from tests.support.job_steps import HOST, run_job
from tests.support.machines import machine

MACHINE = machine("m", 3, 2, boards_per_frame=6, dead_boards={(0, 0, 1)})


def test_all_places_are_told_with_their_addresses() -> None:
    where = MachineMap(MACHINE)

    places = all_places(where)

    assert [place[:3] for place in places] == sorted(MACHINE.board_locations)
    for x, y, z, *place, host in places:
        assert where.locate((x, y, z)) == tuple(place)
        assert host == MACHINE.spinnaker_ips[x, y, z]


@given(st.integers(-100, 100), st.integers(-100, 100))
def test_chips_wrap_around(x: int, y: int) -> None:
    maps = {"m": MachineMap(MACHINE)}

    found = where_is(maps, {}, {"machine": "m", "chip_x": x, "chip_y": y})

    assert found is not None
    assert found["chip"] == (x % 36, y % 24)
    assert found == where_is(maps, {}, {"machine": "m", "chip_x": x + 36, "chip_y": y - 24})


@given(st.sampled_from(sorted(MACHINE.board_locations)))
def test_a_board_is_found_by_its_address(board: tuple[int, int, int]) -> None:
    where = MachineMap(MACHINE)

    assert board_of_address(where, MACHINE.spinnaker_ips[board]) == board
    assert board_of_address(where, "elsewhere") is None


def test_the_address_of_a_bmp_stands_for_the_first_live_board_of_its_frame() -> None:
    maps = {"m": MachineMap(machine("m", 1, 1, dead_boards={(0, 0, 0)}))}

    found = where_is(maps, {}, {"machine": "m", "address": HOST})

    assert found is not None
    assert (found["logical"], found["physical"]) == ((0, 0, 1), (0, 0, 1))
    assert where_is(maps, {}, {"machine": "m", "address": "10.9.9.9"}) is None


def test_an_address_is_a_text() -> None:
    with pytest.raises(TypeError, match="address must be text, not 7"):
        where_is({}, {}, {"machine": "m", "address": 7})


@pytest.fixture
def places(empty: Controller, rack: Rack) -> Controller:
    """A machine of 3 x 2 triads, of which jobs 1 and 2 have one each."""
    empty.machines = {"m": machine("m", 3, 2)}
    for _ in range(2):
        run_job(empty, rack, 1, 1)
    return empty


def test_one_board_is_found_in_every_way(places: Controller) -> None:
    boards = places.get_job_machine_info(None, 2).boards
    assert boards is not None
    x, y, _ = min(boards)
    number = (y * 3 + x) * 3 + 1
    ethernet = (x * 12 + 8, y * 12 + 4)
    found = {
        "machine": "m",
        "logical": (x, y, 1),
        "physical": (0, 0, number),
        "chip": ethernet,
        "board_chip": (0, 0),
        "job_id": 2,
        "job_chip": (8, 4),
    }

    assert places.where_is(machine="m", x=x, y=y, z=1) == found
    assert places.where_is(machine="m", x=x - 3, y=y + 2, z=1) == found
    assert places.where_is(machine="m", cabinet=0, frame=0, board=number) == found
    assert places.where_is(machine="m", chip_x=ethernet[0], chip_y=ethernet[1]) == found
    assert places.where_is(machine="m", chip_x=ethernet[0] - 36, chip_y=ethernet[1] + 24) == found
    assert places.where_is(job_id=2, chip_x=8, chip_y=4) == found
    chip = (ethernet[0] + 1, ethernet[1] + 1)
    beside = {**found, "chip": chip, "board_chip": (1, 1), "job_chip": (9, 5)}
    assert places.where_is(job_id=2, chip_x=9, chip_y=5) == beside
    assert places.where_is(machine="m", chip_x=chip[0], chip_y=chip[1]) == beside


def test_every_chip_of_a_job_is_found_from_the_jobs_corner(
    empty: Controller, rack: Rack
) -> None:
    empty.machines = {"m": machine("m", 3, 2)}
    run_job(empty, rack, 1, 2)
    run_job(empty, rack, 2, 2)

    for chip in [(0, 0), (7, 7), (11, 9), (12, 4), (13, 5), (23, 19), (20, 11)]:
        found = empty.where_is(job_id=2, chip_x=chip[0], chip_y=chip[1])

        assert found is not None, chip
        assert found["job_chip"] == chip
        assert found["chip"] == ((chip[0] + 12) % 36, chip[1] % 24)
        assert found["job_id"] == 2


def test_a_free_board_is_nobody_s(places: Controller) -> None:
    found = places.where_is(machine="m", x=2, y=1, z=0)

    assert found is not None
    assert (found["job_id"], found["job_chip"]) == (None, None)


@pytest.mark.parametrize(
    "nowhere",
    [
        {"machine": "n", "x": 0, "y": 0, "z": 0},
        {"machine": "m", "x": 0, "y": 0, "z": 3},
        {"machine": "m", "x": 0, "y": 0, "z": -1},
        {"machine": "m", "cabinet": 1, "frame": 0, "board": 0},
        {"machine": "n", "cabinet": 0, "frame": 0, "board": 0},
        {"machine": "n", "chip_x": 0, "chip_y": 0},
        {"job_id": 99, "chip_x": 0, "chip_y": 0},
        {"job_id": 2, "chip_x": 13, "chip_y": 13},
    ],
)
def test_what_is_nowhere_is_none(places: Controller, nowhere: dict[str, Any]) -> None:
    assert places.where_is(**nowhere) is None


@pytest.mark.parametrize(
    ("keywords", "names"),
    [
        ({}, ""),
        ({"machine": "m"}, "machine"),
        ({"machine": "m", "x": 0, "y": 0}, "machine, x, y"),
        ({"x": 0, "y": 0, "z": 0}, "x, y, z"),
        ({"machine": "m", "job_id": 1, "chip_x": 0, "chip_y": 0}, "machine, job_id, chip_x"),
        ({"self": 1}, "self"),
    ],
)
def test_other_ways_of_asking_where_are_refused(
    made: Controller, keywords: dict[str, Any], names: str
) -> None:
    with pytest.raises(TypeError, match=f"^Invalid arguments: {names}"):
        made.where_is(**keywords)


def test_nulls_in_where_is_are_not_given(places: Controller) -> None:
    nulls = dict.fromkeys(("cabinet", "frame", "board", "chip_x", "chip_y", "job_id"))

    assert places.where_is(machine="m", x=0, y=0, z=0, **nulls) is not None


@pytest.mark.parametrize("odd", [1.0, True, "1", float("nan")])
def test_coordinates_are_whole_numbers(made: Controller, odd: Any) -> None:
    with pytest.raises(TypeError, match="x must be a whole number"):
        made.where_is(machine="m", x=odd, y=0, z=0)
