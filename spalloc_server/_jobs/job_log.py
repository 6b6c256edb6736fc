"""The job log: one line for each event of a job.

Nothing is written until `open_file` is called: importing this opens no file.  Lines go to the
file's thread as they are, without a detour over Python's logging, since a job takes several.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from spalloc_server import _clock
from spalloc_server._checks.values import escaped
from spalloc_server._logs.daily_file import DailyFile
from spalloc_server._logs.line_writer import LineWriter
from spalloc_server._places import Board, Frame
from spalloc_server.links import Links

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from spalloc_server._jobs.ended_jobs import Ending
    from spalloc_server._jobs.job import _Job
    from spalloc_server._jobs.machine_map import MachineMap
    from spalloc_server._jobs.release import Release

#: Where the lines go unless the command line says otherwise.
DEFAULT_FILE = "spalloc_jobs.log"
#: How many days' files are kept.
DEFAULT_DAYS = 90

#: Seconds for which a line waits for others, to be written with them. # arbitrary
_SECONDS_TO_GATHER = 0.02
#: Seconds that closing waits for lines to be written.
_SECONDS_TO_CLOSE = 2.0
#: Characters of one line; longer ones are cut. # arbitrary
_LONGEST = 65_536

#: Names of the links, by their numbers.
_NAMES = tuple(link.name for link in Links)

log = logging.getLogger(__name__)

#: The writers of the files that are open.
_writers: list[LineWriter] = []
#: Their files.
_files: dict[LineWriter, DailyFile] = {}
#: The last second that was told, and its text.
_stamp = (-1, "")


def open_file(filename: str, days: int) -> LineWriter:
    """Begin to log to a file that is changed every midnight.

    Lines that cannot be written are dropped; the general log says so once a minute.

    Returns
    -------
    LineWriter
        To be given to `close_file`.

    Raises
    ------
    OSError
        If the file cannot be opened for appending.
    """

    def complain(trouble: str) -> None:
        log.warning("job log %s: %s", filename, trouble)

    file = DailyFile(filename, days)
    writer = LineWriter(
        "job-log",
        file,
        _about_dropped,
        complain,
        seconds_to_gather=_SECONDS_TO_GATHER,
    )
    _writers.append(writer)
    _files[writer] = file
    return writer


def close_file(writer: LineWriter) -> None:
    """End logging to a file."""
    _writers.remove(writer)
    del _files[writer]
    writer.close(_SECONDS_TO_CLOSE)


def past_files() -> list[Path]:
    """Begin another day's file if it is time, and return the files of past days; any thread."""
    _put(f"{_now()} names that are past their day are forgotten")
    for writer in list(_writers):
        writer.flush(_SECONDS_TO_CLOSE)
    return [path.resolve() for file in list(_files.values()) for path in file.past_files()]


def _about_dropped(number: int) -> str:
    """Make the line that stands for lines that are missing."""
    return f"{_now()} {number} lines are missing here: they could not be written"


def created(job: _Job) -> None:
    """Log a request, its owner and the address it came from."""
    if _writers:
        words = [repr(value) for value in job.args]
        words += [f"{name}={value!r}" for name, value in job.kwargs.items()]
        line = f"created ({', '.join(words)}) owner={job.owner} keepalive={job.keepalive} "
        _write(job.id, [f"{line}host={job.keepalive_host}"])


def powered(job: _Job, where: MachineMap, power: bool, link_enable: bool | None) -> None:
    """Log the power and link commands to a job's boards: one line a frame and command."""
    if not _writers:
        return
    lines = _power(where, job.boards or (), power)
    if link_enable is not None:
        word = "on" if link_enable else "off"
        links: dict[Board, str] = {}
        for x, y, z, link in sorted(job.periphery or ()):
            board = x, y, z
            links[board] = f"{links.get(board, board)} {_NAMES[link]}"
        lines += [
            f"links {word}: {_boards([links[board] for board, _ in placed])}"
            f"{_frame(where, frame, placed)}"
            for frame, placed in where.by_frame(links).items()
        ]
    _write(job.id, lines)


def released(release: Release, where: MachineMap) -> None:
    """Log the power-off of the boards that a job has no more."""
    if _writers:
        _write(release.job_id, _power(where, release.boards, power=False))


def destroyed(job: _Job, reason: str | None, ending: Ending) -> None:
    """Log a job's end, its reason and the party that ended it."""
    if _writers:
        text = reason or "no reason given"
        if text == "Cancelled: ":
            text = "Cancelled: no reason given"
        _write(job.id, [f"destroyed: {text} (by {ending})"])


def note(job_id: int, text: str) -> None:
    """Log anything else that happens to a job."""
    if _writers:
        _write(job_id, [text])


def shut_down() -> None:
    """Log that the server ends."""
    _put(f"{_now()} server shut down")


def _power(where: MachineMap, boards: Collection[Board], power: bool) -> list[str]:
    """Return a line for each frame, and one for boards that the machine does not have."""
    command = f"power {'on' if power else 'off'}: "
    known = [board for board in boards if where.locate(board) is not None]
    lines = []
    if len(known) < len(boards):
        unknown = sorted(set(boards).difference(known))
        lines.append(f"{command}{_boards([str(board) for board in unknown])}")
    for frame, placed in where.by_frame(known).items():
        names = _boards([str(board) for board, _ in placed])
        lines.append(f"{command}{names}{_frame(where, frame, placed)}")
    return lines


def _boards(names: list[str]) -> str:
    return f"board{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _frame(where: MachineMap, frame: Frame, placed: Sequence[tuple[Board, int]]) -> str:
    """Tell the frame of boards, and their numbers there."""
    return (
        f" of {where.machine.name} (cabinet {frame[0]}, frame {frame[1]}, "
        f"{_boards([str(number) for _, number in placed])}, BMP {where.hosts[frame]})"
    )


def _write(job_id: int, lines: Sequence[str]) -> None:
    """Log all that happens to a job at one moment."""
    if lines:
        begin = f"{_now()} job {job_id}: "
        _put("\n".join([f"{begin}{escaped(line)}"[:_LONGEST] for line in lines]))


def _put(text: str) -> None:
    for writer in _writers:
        writer.put(text)


def _now() -> str:
    """Return the local time as the log has it."""
    global _stamp  # noqa: PLW0603 - lines come in bursts
    wall = _clock.wall()
    second, text = _stamp
    if second != int(wall):
        second = int(wall)
        text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        _stamp = second, text
    return f"{text},{int((wall - second) * 1000):03d}"
