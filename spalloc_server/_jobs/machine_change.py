"""The changes of a new configuration, worked out before anything is touched.

Pure: compares the machines that run with those that are wanted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spalloc_server._jobs.plain_machine import to_plain
from spalloc_server._jobs.records import MachineMap
from spalloc_server.allocator import Allocator
from spalloc_server.configuration import Machine

#: A change of these makes another machine of it; tags and dead things do not.
_LAYOUT = ("width", "height", "board_locations", "bmp_ips", "spinnaker_ips")


@dataclass(frozen=True)
class MachineChange:
    """The difference between two sets of machines, as names.

    Attributes
    ----------
    removed : list of str
        To be taken down: gone, or to be made anew.
    added : dict
        {name: MachineMap} to be set up: new, or made anew.
    modified : list of str
        Whose tags or dead boards or links differ; their jobs go on.
    order : list of str
        All that there are afterwards, highest priority first.
    """

    removed: list[str]
    added: dict[str, MachineMap]
    modified: list[str]
    order: list[str]

    @classmethod
    def plan(cls, old: Mapping[str, Machine], new: Mapping[str, Machine]) -> MachineChange:
        """Compare the machines that run with those that are wanted.

        Each machine that will be set up or modified is tried out first, so
        that an impossible change fails here, before anything has happened.

        Raises
        ------
        Exception
            Any error of a machine that cannot be used.
        """
        for name, machine in new.items():
            if machine.name != name:
                raise ValueError(
                    f"machine {machine.name!r} is given as {name!r}: "
                    "a machine's key must be its name"
                )
        removed = [name for name in old if name not in new or _remade(old[name], new[name])]
        gone = set(removed)
        added = {
            name: MachineMap(machine)
            for name, machine in new.items()
            if name not in old or name in gone
        }
        modified = [
            name
            for name, machine in new.items()
            if name in old and name not in gone and machine != old[name]
        ]
        for name in (*added, *modified):
            _try_out(new[name])
        return cls(removed, added, modified, list(new))


def _remade(old: Machine, new: Machine) -> bool:
    return any(getattr(old, field) != getattr(new, field) for field in _LAYOUT)


def _try_out(machine: Machine) -> None:
    frozenset(machine.tags)
    to_plain(machine)
    Allocator(
        machine.width, machine.height, machine.dead_boards, machine.dead_links
    ).alloc_possible(1)
