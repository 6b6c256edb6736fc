"""Jobs and machines as they are: places on one machine, and changes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs.plain_machine import from_plain, to_plain
from spalloc_server._jobs.records import MachineMap
from spalloc_server._places import Frame
from spalloc_server.configuration import Machine
from spalloc_server.coordinates import WrapAround
from spalloc_server.links import Links
from tests.support.machines import machine

MACHINE = machine("m", 3, 2, boards_per_frame=6, dead_boards={(0, 0, 1)})


@given(st.integers(-2, 4), st.integers(-2, 3), st.integers(-1, 3))
def test_places_are_found_both_ways(x: int, y: int, z: int) -> None:
    where = MachineMap(MACHINE)

    place = where.locate((x, y, z))

    inside = 0 <= x < 3 and 0 <= y < 2 and 0 <= z < 3
    assert (place is not None) == inside
    if place is not None:
        assert where.at(place) == (x, y, z)


def test_boards_are_sorted_by_frame() -> None:
    where = MachineMap(MACHINE)

    assert where.by_frame([(2, 0, 1), (0, 0, 0), (0, 1, 0)]) == {
        (0, 0): [((0, 0, 0), 0)],
        (0, 1): [((0, 1, 0), 3), ((2, 0, 1), 1)],
    }
    assert where.frame_boards(Frame((0, 0))) == {
        (0, 0, 0), (0, 0, 2), (1, 0, 0), (1, 0, 1), (1, 0, 2),
    }  # fmt: skip
    assert where.frame_boards(Frame((7, 7))) == set()


def test_a_board_alone_is_its_own_network() -> None:
    where = MachineMap(MACHINE)

    assert where.network({(1, 1, 2)}, WrapAround.none) == (
        8, 8, {(0, 0): MACHINE.spinnaker_ips[1, 1, 2]}, (16, 20),
    )  # fmt: skip


def test_a_block_s_corner_is_its_first_chip() -> None:
    boards = {(x, 1, z) for x in (1, 2) for z in range(3)}

    network = MachineMap(MACHINE).network(boards, WrapAround.none)

    assert network[:2] == (28, 16)
    assert network.origin == (12, 12)
    assert sorted(network.connections) == [(0, 0), (4, 8), (8, 4), (12, 0), (16, 8), (20, 4)]


def test_boards_that_nobody_has_are_known() -> None:
    where = MachineMap(MACHINE)
    where.job_ids = {board: 1 for board in MACHINE.board_locations if board != (2, 1, 2)}

    assert where.unowned() == [(2, 1, 2)]


@pytest.mark.parametrize(
    "original",
    [
        MACHINE,
        machine("n", 1, 1, tags=[], dead_links={(0, 0, 0, Links.south)}),
        Machine.single_board("s", bmp_ip="b", spinnaker_ip="s"),
    ],
)
def test_a_machine_survives_json(original: Machine) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(original)))) == original
