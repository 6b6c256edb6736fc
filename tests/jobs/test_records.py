"""Jobs and machines as they are: places on one machine, and changes."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs.outlet import AtOnce
from spalloc_server._jobs.records import MachineMap, Records
from spalloc_server._places import Board, Frame
from spalloc_server.coordinates import WrapAround
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


def test_faults_that_are_changed_in_place_are_told_once() -> None:
    dead: set[Board] = set()
    where = MachineMap(machine("m", dead_boards=dead))
    assert not where.is_dead_stale()

    dead.add((0, 0, 1))

    assert where.is_dead_stale()
    assert where.dead_changed()
    assert not where.is_dead_stale()
    assert not where.dead_changed()


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


# --- all that goes out ---


class Outlet(AtOnce):
    """Notes all that goes out."""

    def __init__(self) -> None:
        self.noted: list[object] = []

    def note(self, outcome: object) -> None:
        self.noted.append(outcome)

    def send(self, frame: object, request: object) -> None:
        self.noted.append((frame, request))


def test_changes_are_handed_over_together_and_once() -> None:
    records = Records(1, 10, AtOnce())
    assert records.take_changes() is None

    records.changed_jobs.add(7)
    records.changed_machines.add("m")

    assert records.take_changes() == ({7}, {"m"})
    assert records.take_changes() is None
    assert not records.take_changed_jobs()
    assert not records.take_changed_machines()


def test_an_outcome_goes_out_and_may_bring_a_time_forward() -> None:
    outlet = Outlet()
    records = Records(1, 10, outlet)
    records.due_is_stale = False

    records.tell("limits", 5, 30)

    assert outlet.noted == [("limits", 5, 30)]
    assert records.outcomes_told == 1
    assert records.due_is_stale


def test_each_frame_is_asked_for_its_own_part() -> None:
    outlet = Outlet()
    records = Records(1, 10, outlet)
    first, second = Frame((0, 0)), Frame((0, 1))
    bmps: Any = {first: "first's thread", second: "second's thread", Frame((0, 2)): "a third"}
    requests: Any = {second: "links", first: "power"}
    records.frames["m"] = bmps

    records.ask("m", requests)

    assert outlet.noted == [("second's thread", "links"), ("first's thread", "power")]
