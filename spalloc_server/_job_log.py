"""The job log: one line for each thing that happens to a job.

Written through the logger ``spalloc_server.jobs``, which is silent until
`open_file` is called: importing this opens no file.
"""

from __future__ import annotations

import logging
from logging.handlers import TimedRotatingFileHandler
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spalloc_server._job import _Job
    from spalloc_server._machine_map import MachineMap
    from spalloc_server._release import Release
    from spalloc_server.links import Links

#: Where the lines go unless the command line says otherwise.
DEFAULT_FILE = "spalloc_jobs.log"
#: How many days' files are kept.
DEFAULT_DAYS = 90

job_log = logging.getLogger("spalloc_server.jobs")
job_log.propagate = False
job_log.addHandler(logging.NullHandler())
job_log.setLevel(logging.CRITICAL + 1)


def open_file(filename: str, days: int) -> logging.Handler:
    """Begin to log to a file that is changed every midnight.

    Returns
    -------
    logging.Handler
        To be given to `close_file`.

    Raises
    ------
    OSError
        If the file cannot be opened for appending.
    """
    handler = TimedRotatingFileHandler(
        filename, when="midnight", backupCount=days, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    job_log.addHandler(handler)
    job_log.setLevel(logging.INFO)
    return handler


def close_file(handler: logging.Handler) -> None:
    """End logging to a file."""
    job_log.removeHandler(handler)
    handler.close()
    if not any(isinstance(other, TimedRotatingFileHandler) for other in job_log.handlers):
        job_log.setLevel(logging.CRITICAL + 1)


def escaped(text: object) -> str:
    """Return text that stays on one line, whatever its author put into it.

    Line breaks and control characters are written as escapes.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in str(text)
    )


def created(job: _Job) -> None:
    """Log what was asked for, by whom and from where."""
    if job_log.isEnabledFor(logging.INFO):
        words = [repr(value) for value in job.args]
        words += [f"{name}={value!r}" for name, value in job.kwargs.items()]
        _line(
            job.id,
            f"created ({', '.join(words)}) owner={job.owner} keepalive={job.keepalive} "
            f"host={job.keepalive_host}",
        )


def powered(job: _Job, where: MachineMap, power: bool, link_enable: bool | None) -> None:
    """Log the power and link commands to each of a job's boards."""
    if not job_log.isEnabledFor(logging.INFO):
        return
    _boards(job.id, where, job.boards or (), power)
    if link_enable is not None:
        links: dict[tuple[int, int, int], list[Links]] = {}
        for x, y, z, link in job.periphery or ():
            links.setdefault((x, y, z), []).append(link)
        for board, its_links in sorted(links.items()):
            names = ", ".join(link.name for link in sorted(its_links))
            _line(
                job.id,
                f"links {'on' if link_enable else 'off'}: {names} of {_place(where, board)}",
            )


def released(release: Release, where: MachineMap) -> None:
    """Log the power-off of an ended job's boards."""
    if job_log.isEnabledFor(logging.INFO):
        _boards(release.job_id, where, release.boards, power=False)


def destroyed(job: _Job, reason: str | None) -> None:
    """Log a job's end and why."""
    if job_log.isEnabledFor(logging.INFO):
        _line(job.id, f"destroyed: {reason}")


def note(job_id: int, text: str) -> None:
    """Log anything else that happens to a job."""
    if job_log.isEnabledFor(logging.INFO):
        _line(job_id, text)


def shut_down() -> None:
    """Log that the server ends."""
    job_log.info("server shut down")


def _boards(
    job_id: int, where: MachineMap, boards: Iterable[tuple[int, int, int]], power: bool
) -> None:
    for board in sorted(boards):
        _line(job_id, f"power {'on' if power else 'off'}: {_place(where, board)}")


def _place(where: MachineMap, board: tuple[int, int, int]) -> str:
    place = where.locate(board)
    if place is None:
        return f"board {board}"
    cabinet, frame, number = place
    host = where.machine.bmp_ips.get((cabinet, frame))
    return (
        f"board {board} of {where.machine.name} "
        f"(cabinet {cabinet}, frame {frame}, board {number}, BMP {host})"
    )


def _line(job_id: int, text: str) -> None:
    job_log.info("job %d: %s", job_id, escaped(text), extra={"job_id": job_id})
