"""What a new configuration changes."""

import pytest

from spalloc_server._jobs.machine_change import MachineChange
from spalloc_server.configuration import Machine
from spalloc_server.links import Links
from tests.support.machines import machine

M = machine("m", 2, 1)


def plan(old: dict[str, Machine], new: dict[str, Machine]) -> tuple[object, ...]:
    change = MachineChange.plan(old, new)
    return change.removed, list(change.added), change.modified, change.order


def test_nothing_changes() -> None:
    assert plan({"m": M}, {"m": machine("m", 2, 1)}) == ([], [], [], ["m"])


def test_machines_come_go_and_change_places() -> None:
    n, o = machine("n", net=2), machine("o", net=3)

    assert plan({"m": M, "n": n}, {"o": o, "m": M}) == (["n"], ["o"], [], ["o", "m"])


@pytest.mark.parametrize(
    "other",
    [
        machine("m", 1, 2),
        machine("m", 2, 1, net=9),
        machine("m", 2, 1, boards_per_frame=3),
        M._replace(bmp_ips={**M.bmp_ips, (5, 5): "x"}),
    ],
)
def test_another_layout_is_another_machine(other: Machine) -> None:
    assert plan({"m": M}, {"m": other}) == (["m"], ["m"], [], ["m"])


@pytest.mark.parametrize(
    "other",
    [
        M._replace(tags={"x"}),
        M._replace(dead_boards={(0, 0, 0)}),
        M._replace(dead_links={(0, 0, 0, Links.east)}),
    ],
)
def test_tags_and_dead_things_are_modified(other: Machine) -> None:
    assert plan({"m": M}, {"m": other}) == ([], [], ["m"], ["m"])


def test_what_cannot_be_used_is_found_before_anything_is_done() -> None:
    with pytest.raises(TypeError):
        MachineChange.plan({"m": M}, {"m": M._replace(tags=3)})  # type: ignore[arg-type]
