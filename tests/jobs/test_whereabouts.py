"""Boards and chips are found in every way of naming them."""

from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs.records import MachineMap
from spalloc_server._jobs.whereabouts import all_places, board_of_address, where_is
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
