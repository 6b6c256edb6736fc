"""Configuration files of the machines that are measured, on loopback addresses of their own.

Owns which boards are where and at which addresses.  Knows nothing of processes.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import NamedTuple

from spalloc_server._simulator.packets import BMP_PORT

_BOARDS_PER_FRAME, _FRAMES_PER_CABINET = 24, 5

_TEXT = """\
from spalloc_server.configuration import Configuration, Machine

boards = [(x, y, z) for y in range({height}) for x in range({width}) for z in range(3)]
configuration = Configuration(
    machines=[
        Machine.with_standard_ips(
            "m",
            tags={{"default"}},
            width={width},
            height={height},
            board_locations={{
                board: (n // 24 // 5, n // 24 % 5, n % 24) for n, board in enumerate(boards)
            }},
            base_ip="{base}",
        )
    ],
    ip="127.0.0.1",
    seconds_before_free={rest},
)
"""


class Site(NamedTuple):
    """A machine, by its size in triads, and where its frames' BMPs are.

    Attributes
    ----------
    width, height : int
    base : str
        First of its loopback addresses.
    rest : float
        Seconds that boards rest before they are given out again.
    """

    width: int
    height: int
    base: str
    rest: float = 30

    @classmethod
    def of(cls, width: int, height: int, rest: float = 30) -> Site:
        """Choose addresses that nobody uses; width and height in triads."""
        numbers = random.sample(range(32, 250), 64)
        for number in numbers:
            site = cls(width, height, f"127.{number}.0.0", rest)
            if all(map(_free, site.bmps)):
                return site
        raise OSError(f"no free loopback addresses for UDP port {BMP_PORT}")

    @property
    def boards(self) -> list[tuple[int, int, int]]:
        """Logical places of all boards, in the order in which they fill frames."""
        return [(x, y, z) for y in range(self.height) for x in range(self.width) for z in range(3)]

    @property
    def bmps(self) -> list[str]:
        """Addresses of the frames' BMPs."""
        frames = -(-self.width * self.height * 3 // _BOARDS_PER_FRAME)
        first, second = self.base.split(".")[:2]
        return [f"{first}.{int(second) + n // 256}.{n % 256}.0" for n in range(frames)]

    def place(self, board: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return (cabinet, frame, board) of a logical place."""
        x, y, z = board
        n = (y * self.width + x) * 3 + z
        frame = n // _BOARDS_PER_FRAME
        return (
            frame // _FRAMES_PER_CABINET,
            frame % _FRAMES_PER_CABINET,
            n % _BOARDS_PER_FRAME,
        )

    def write(self, folder: Path) -> Path:
        """Write the configuration file into a folder, and return its name."""
        path = folder / "machine.cfg"
        path.write_text(_TEXT.format(**self._asdict()), encoding="utf-8")
        return path


def _free(address: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, BMP_PORT))
        except OSError:
            return False
    return True
