"""Machines for tests, as configurations have them."""

from collections.abc import Iterable
from typing import Any

from spalloc_server.configuration import Machine


def machine(
    name: str = "m",
    width: int = 1,
    height: int = 1,
    *,
    tags: Iterable[str] = ("default",),
    boards_per_frame: int = 24,
    net: int = 1,
    **others: Any,
) -> Machine:
    """Make a machine whose boards fill frames of cabinet 0 in order.

    Its frames are 10.`net`.0.0, 10.`net`.1.0 ...; the boards of a frame are 8 apart from .1 on.
    """
    boards = [(x, y, z) for y in range(height) for x in range(width) for z in range(3)]
    return Machine.with_standard_ips(
        name,
        tags=set(tags),
        width=width,
        height=height,
        board_locations={
            board: (0, n // boards_per_frame, n % boards_per_frame)
            for n, board in enumerate(boards)
        },
        base_ip=f"10.{net}.0.0",
        **others,
    )
