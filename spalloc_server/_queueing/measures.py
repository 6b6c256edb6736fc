"""How a machine is shared out just now, in numbers for operators.

Owns the arithmetic of idle boards, regions and fragmentation.  Changes nothing; must not
know jobs' owners or metrics' names.
"""

from __future__ import annotations

from typing import NamedTuple

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._queueing.machine_queue import _Machine


class Measures(NamedTuple):
    """One machine's numbers.

    Attributes
    ----------
    first_overtaken : int
        Jobs that started while the present first in line waited; 0 if no job waits.
    region_age : float or None
        Seconds since the job with the region first got one; None without a region.
    region_closed : bool
        Whether nobody else gets boards of the region.
    region_idle_boards : int
        Boards of the region that could be used and are not.
    free_triads, largest_block : int or None
        Triads that are free, and those of the largest free block; None if blocks are cut
        out of a tree, which does not tell.
    """

    first_overtaken: int
    region_age: float | None
    region_closed: bool
    region_idle_boards: int
    free_triads: int | None
    largest_block: int | None


def measure(machine: _Machine, patience: float, now: float) -> Measures:
    """Measure a machine.

    Parameters
    ----------
    machine : _Machine
    patience : float
        Seconds from which on a region is closed.
    now : float
        Monotonic time.
    """
    first = next(machine.waiting(), None)
    age = None if machine.region is None else machine.region.age(now)
    free = largest = None
    if isinstance(machine.allocator, GridAllocator):
        room = machine.allocator.room
        free = room.mask.bit_count()
        largest = room.opening(machine.allocator.grid.full).largest
    return Measures(
        0 if first is None else first.overtaken,
        age,
        age is not None and age >= patience,
        _idle_boards(machine),
        free,
        largest,
    )


def _idle_boards(machine: _Machine) -> int:
    """Count the boards in free triads of the region, but for dead ones and those out."""
    region, allocator = machine.region, machine.allocator
    if region is None or not isinstance(allocator, GridAllocator):
        return 0
    idle = allocator.room.mask & region.kept.triads
    if len(region.place) == 3:
        return int(bool(idle))
    left, low, width, height = region.place
    out = allocator.quarantined
    return sum(
        (x, y, z) not in allocator.dead_boards and (x, y, z) not in out
        for x in range(left, left + width)
        for y in range(low, low + height)
        if allocator.grid.bit(x, y) & idle
        for z in range(3)
    )
