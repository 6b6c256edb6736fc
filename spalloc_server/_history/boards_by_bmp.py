"""Finds boards by their BMP and number, as the original's job log names them."""

from __future__ import annotations

from spalloc_server.configuration import Configuration

Board = tuple[int, int, int]


class BoardsByBmp:
    """The boards of a configuration.

    Parameters
    ----------
    configuration : Configuration or None
        None for no boards at all.
    """

    def __init__(self, configuration: Configuration | None) -> None:
        # A frame that has no BMP is found by nothing.
        self._boards: dict[tuple[str | None, int], tuple[str, Board]] = {}
        for machine in () if configuration is None else configuration.machines:
            for (x, y, z), (cabinet, frame, number) in machine.board_locations.items():
                host = machine.bmp_ips.get((cabinet, frame))
                self._boards[host, number] = (machine.name, (x, y, z))

    def find(self, host: str, number: int) -> tuple[str, Board] | None:
        """Return a board's machine and place; None if the configuration has no such board."""
        return self._boards.get((host, number))
