"""The job log: one line for each thing that happens to a job.

Written through the logger ``spalloc_server.jobs``, which is silent until
`open_file` is called: importing this opens no file.
"""

from __future__ import annotations

import logging
from logging.handlers import TimedRotatingFileHandler
from typing import TYPE_CHECKING

from spalloc_server._checks.values import escaped
from spalloc_server.links import Links

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spalloc_server._jobs.job import _Job
    from spalloc_server._jobs.machine_map import MachineMap
    from spalloc_server._jobs.release import Release

#: Where the lines go unless the command line says otherwise.
DEFAULT_FILE = "spalloc_jobs.log"
#: How many days' files are kept.
DEFAULT_DAYS = 90

_NAMES = {link: link.name for link in Links}

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
    handler.setFormatter(_LineFormatter("%(asctime)s %(message)s"))
    job_log.addHandler(handler)
    job_log.setLevel(logging.INFO)
    return handler


def close_file(handler: logging.Handler) -> None:
    """End logging to a file."""
    job_log.removeHandler(handler)
    handler.close()
    if not any(isinstance(other, TimedRotatingFileHandler) for other in job_log.handlers):
        job_log.setLevel(logging.CRITICAL + 1)


def created(job: _Job) -> None:
    """Log what was asked for, by whom and from where."""
    if job_log.isEnabledFor(logging.INFO):
        words = [repr(value) for value in job.args]
        words += [f"{name}={value!r}" for name, value in job.kwargs.items()]
        line = f"created ({', '.join(words)}) owner={job.owner} keepalive={job.keepalive} "
        _write(job.id, [f"{line}host={job.keepalive_host}"])


def powered(job: _Job, where: MachineMap, power: bool, link_enable: bool | None) -> None:
    """Log the power and link commands to each of a job's boards."""
    if not job_log.isEnabledFor(logging.INFO):
        return
    lines = _boards(where, job.boards or (), power)
    if link_enable is not None:
        links: dict[tuple[int, int, int], list[Links]] = {}
        for x, y, z, link in job.periphery or ():
            links.setdefault((x, y, z), []).append(link)
        for board, its_links in sorted(links.items()):
            names = ", ".join([_NAMES[link] for link in sorted(its_links)])
            lines.append(
                f"links {'on' if link_enable else 'off'}: {names} of {_place(where, board)}"
            )
    _write(job.id, lines)


def released(release: Release, where: MachineMap) -> None:
    """Log the power-off of an ended job's boards."""
    if job_log.isEnabledFor(logging.INFO):
        _write(release.job_id, _boards(where, release.boards, power=False))


def destroyed(job: _Job, reason: str | None) -> None:
    """Log a job's end and why."""
    if job_log.isEnabledFor(logging.INFO):
        _write(job.id, [f"destroyed: {reason}"])


def note(job_id: int, text: str) -> None:
    """Log anything else that happens to a job."""
    if job_log.isEnabledFor(logging.INFO):
        _write(job_id, [text])


def shut_down() -> None:
    """Log that the server ends."""
    job_log.info("server shut down")


def _boards(where: MachineMap, boards: Iterable[tuple[int, int, int]], power: bool) -> list[str]:
    word = "on" if power else "off"
    return [f"power {word}: {_place(where, board)}" for board in sorted(boards)]


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


def _write(job_id: int, lines: Sequence[str]) -> None:
    """Log what happens to a job at one moment, as one record."""
    if not lines:
        return
    text = "\n".join([f"job {job_id}: {escaped(line)}" for line in lines])
    job_log.info("%s", text, extra={"job_id": job_id})


class _LineFormatter(logging.Formatter):
    """Begins every line of a record with its time."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base's name
        """Return the record's lines."""
        if "\n" not in record.message:
            return super().formatMessage(record)
        lines = []
        for line in record.message.split("\n"):
            record.message = line
            lines.append(super().formatMessage(record))
        return "\n".join(lines)
