"""Writes million-cores.csv: which board of 20 x 20 triads is in which slot.

Run as ``python million-cores-csv.py > million-cores.csv``. The columns are those
of ``spinner-ethernet-chips``, which writes the file of a real machine.

Each frame holds a block of 4 x 2 triads, and each cabinet a row of 5 frames::

    cabinet 9   | frame 0 | frame 1 | frame 2 | frame 3 | frame 4 |
      ...
    cabinet 0   | frame 0 | frame 1 | frame 2 | frame 3 | frame 4 |   2 triads high
                  4 triads wide
"""

import csv
import sys
from typing import TextIO

_CABINETS = 10
_FRAMES = 5
_FRAME_WIDTH, _FRAME_HEIGHT = 4, 2
#: Ethernet chip of each board of a triad, in chips from the triad's corner.
_ETHERNET_CHIPS = ((0, 0), (8, 4), (4, 8))


def write(file: TextIO) -> None:
    """Write the lines of all boards.

    Parameters
    ----------
    file : text file
        Open for writing.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(("cabinet", "frame", "board", "x", "y"))
    for cabinet in range(_CABINETS):
        for frame in range(_FRAMES):
            for board in range(_FRAME_WIDTH * _FRAME_HEIGHT * 3):
                triad, z = divmod(board, 3)
                column, row = divmod(triad, _FRAME_HEIGHT)
                x = (frame * _FRAME_WIDTH + column) * 12 + _ETHERNET_CHIPS[z][0]
                y = (cabinet * _FRAME_HEIGHT + row) * 12 + _ETHERNET_CHIPS[z][1]
                writer.writerow((cabinet, frame, board, x, y))


if __name__ == "__main__":
    write(sys.stdout)
