"""The job log: one line for each event of a job.

Nothing is written until `open_file` is called: importing this opens no file.  The thread that
changes a job only hands its facts over (`Records.log`); the file's thread makes the words of
them, without a detour over Python's logging, since a job takes several lines.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from spalloc_server import _clock
from spalloc_server._checks.values import escaped
from spalloc_server._logs.daily_file import DailyFile
from spalloc_server._logs.line_writer import LineWriter
from spalloc_server._places import Board, Frame
from spalloc_server.links import Links

if TYPE_CHECKING:
    from pathlib import Path

    from spalloc_server._jobs.ended_jobs import Ending

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

#: The writers of the files that are open; `Records.log` puts lines there.
writers: list[LineWriter] = []
#: Their files.
_files: dict[LineWriter, DailyFile] = {}
#: The last second that was told, and its text.
_stamp = (-1, "")


class Where(NamedTuple):
    """Boards of a machine, sorted by frame: {frame: [(board, its number there), ...]}."""

    machine: str
    hosts: Mapping[Frame, str]
    frames: Mapping[Frame, Sequence[tuple[Board, int]]]


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
    writers.append(writer)
    _files[writer] = file
    return writer


def close_file(writer: LineWriter) -> None:
    """End logging to a file."""
    writers.remove(writer)
    del _files[writer]
    writer.close(_SECONDS_TO_CLOSE)


def past_files() -> list[Path]:
    """Begin another day's file if it is time, and return the files of past days; any thread."""
    _put(f"{_now()} names that are past their day are forgotten")
    for writer in list(writers):
        writer.flush(_SECONDS_TO_CLOSE)
    return [path.resolve() for file in list(_files.values()) for path in file.past_files()]


def _about_dropped(number: int) -> str:
    """Make the line that stands for lines that are missing."""
    return f"{_now()} {number} lines are missing here: they could not be written"


def shut_down() -> None:
    """Log that the server ends."""
    _put(f"{_now()} server shut down")


# --- the words, made in the thread that writes them ---


def created(
    args: Sequence[object],
    kwargs: Mapping[str, object],
    owner: str,
    keepalive: float | None,
    host: str | None,
) -> list[str]:
    """Tell a request, its owner and the address it came from."""
    words = [repr(value) for value in args]
    words += [f"{name}={value!r}" for name, value in kwargs.items()]
    return [f"created ({', '.join(words)}) owner={owner} keepalive={keepalive} host={host}"]


def powered(
    where: Where,
    power: bool,
    links: Iterable[tuple[int, int, int, Links]] = (),
    link_enable: bool | None = None,
) -> list[str]:
    """Tell the power and link commands to boards: one line a frame and command."""
    command = f"power {'on' if power else 'off'}: "
    lines = [
        f"{command}{_boards([str(board) for board, _ in placed])}{_frame(where, frame, placed)}"
        for frame, placed in where.frames.items()
    ]
    return lines if link_enable is None else [*lines, *_linked(where, links, link_enable)]


def _linked(
    where: Where, links: Iterable[tuple[int, int, int, Links]], enable: bool
) -> list[str]:
    """Tell which links of boards are set; the frame of the first board comes first."""
    names: dict[Board, str] = {}
    for x, y, z, link in sorted(links):
        board = x, y, z
        names[board] = f"{names.get(board, board)} {_NAMES[link]}"
    with_links = [
        ([each for each in placed if each[0] in names], frame)
        for frame, placed in where.frames.items()
    ]
    return [
        f"links {'on' if enable else 'off'}: {_boards([names[board] for board, _ in placed])}"
        f"{_frame(where, frame, placed)}"
        for placed, frame in sorted(with_links)
        if placed
    ]


def destroyed(reason: str | None, ending: Ending) -> list[str]:
    """Tell a job's end, its reason and the party that ended it."""
    text = reason or "no reason given"
    if text == "Cancelled: ":
        text = "Cancelled: no reason given"
    return [f"destroyed: {text} (by {ending})"]


def note(text: str) -> list[str]:
    """Tell anything else that happens to a job."""
    return [text]


def text_of(wall: float, job_id: int, words: Callable[[], Sequence[str]]) -> str | None:
    """Return all that happened to a job at one moment, a line for each; None if it is nothing.

    Our own mistake costs these lines, and no others.
    """
    try:
        begin = f"{_time(wall)} job {job_id}: "
        lines = [f"{begin}{escaped(line)}"[:_LONGEST] for line in words()]
    except Exception:
        log.exception("the job log lacks a line about job %d", job_id)
        return None
    return "\n".join(lines) or None


def _boards(names: list[str]) -> str:
    return f"board{'' if len(names) == 1 else 's'} {', '.join(names)}"


def _frame(where: Where, frame: Frame, placed: Sequence[tuple[Board, int]]) -> str:
    """Tell the frame of boards, and their numbers there."""
    return (
        f" of {where.machine} (cabinet {frame[0]}, frame {frame[1]}, "
        f"{_boards([str(number) for _, number in placed])}, BMP {where.hosts[frame]})"
    )


def _put(text: str) -> None:
    for writer in writers:
        writer.put(text)


def _now() -> str:
    """Return the local time as the log has it."""
    return _time(_clock.wall())


def _time(wall: float) -> str:
    """Return a Unix time as the log has it; any thread."""
    global _stamp  # noqa: PLW0603 - lines come in bursts
    second, text = _stamp
    if second != int(wall):
        second = int(wall)
        text = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        _stamp = second, text
    return f"{text},{int((wall - second) * 1000):03d}"
