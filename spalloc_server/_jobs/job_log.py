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
from spalloc_server._places import Board, Frame, frame_of
from spalloc_server.links import Links

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
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

_NAMES = {link: link.name for link in Links}

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
        links: dict[Board, list[str]] = {}
        for x, y, z, link in sorted(job.periphery or ()):
            links.setdefault((x, y, z), []).append(_NAMES[link])
        lines += [
            f"links {word}: {_boards(where, boards, frame, links)}"
            for frame, boards in _by_frame(where, links).items()
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


def _power(where: MachineMap, boards: Iterable[Board], power: bool) -> list[str]:
    return [
        f"power {'on' if power else 'off'}: {_boards(where, its_boards, frame)}"
        for frame, its_boards in _by_frame(where, boards).items()
    ]


def _by_frame(where: MachineMap, boards: Iterable[Board]) -> dict[Frame | None, list[Board]]:
    """Sort boards by frame; None for those that the machine does not have."""
    frames: dict[Frame | None, list[Board]] = {}
    for board in sorted(boards):
        place = where.locate(board)
        frames.setdefault(None if place is None else frame_of(place), []).append(board)
    return frames


def _boards(
    where: MachineMap,
    boards: Sequence[Board],
    frame: Frame | None,
    links: Mapping[Board, Sequence[str]] | None = None,
) -> str:
    """Name boards of one frame, each with its links if they are given."""
    names = [
        str(board) if links is None else f"{board} {' '.join(links[board])}" for board in boards
    ]
    text = f"board{'' if len(boards) == 1 else 's'} {', '.join(names)}"
    if frame is None:
        return text
    numbers = ", ".join([str(where.in_frame(board)[1]) for board in boards])
    return (
        f"{text} of {where.machine.name} (cabinet {frame[0]}, frame {frame[1]}, "
        f"board{'' if len(boards) == 1 else 's'} {numbers}, BMP {where.hosts[frame]})"
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
