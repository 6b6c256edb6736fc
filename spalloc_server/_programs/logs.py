"""How records of the log are written: as text for people, or as JSON for programs.

Owns the two forms, their way to standard error, and the severity of each line for
systemd's journal.  Records about a job carry its id as the attribute `job_id`.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from datetime import datetime, timezone

from spalloc_server._logs.handler import BackgroundHandler
from spalloc_server._logs.line_writer import LineWriter
from spalloc_server._logs.stream import Stream

#: Values of ``--log-format``.
FORMATS = ("text", "json")

#: Priorities of syslog(3), by the lowest level that has them.
_PRIORITIES = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (logging.NOTSET, 7),
)


def set_up(form: str, level: int) -> BackgroundHandler:
    """Have all records of a level and above written to standard error, in one of `FORMATS`.

    Returns
    -------
    BackgroundHandler
        To be given to `take_down`.
    """
    journal = journal_reads()
    formatter: logging.Formatter
    formatter = JSONFormatter() if form == "json" else TextFormatter(timed=not journal)
    if journal:
        formatter = JournalFormatter(formatter)
    writer = LineWriter("log", Stream(sys.stderr), lambda n: _about_dropped(formatter, n))
    handler = BackgroundHandler(writer)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler])
    return handler


def take_down(handler: BackgroundHandler) -> None:
    """Write the records so far, if that takes no longer than a moment, and no more."""
    logging.getLogger().removeHandler(handler)
    handler.close()


def complain(handler: BackgroundHandler, text: str) -> None:
    """Write the last words of a program that fails."""
    handler.writer.put(for_journal(text, logging.ERROR) if journal_reads() else text)


def _about_dropped(formatter: logging.Formatter, number: int) -> str:
    """Make the line that stands for lines that were dropped."""
    return formatter.format(
        logging.makeLogRecord(
            {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "%d lines of the log were dropped: standard error did not take them",
                "args": (number,),
            }
        )
    )


def journal_reads(environ: Mapping[str, str] = os.environ, descriptor: int = 2) -> bool:
    """Tell whether a descriptor leads to the journal, see systemd.exec(5)."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def for_journal(text: str, level: int) -> str:
    """Begin each line with its priority, as sd-daemon(3) has it; the journal takes it off."""
    priority = next(priority for lowest, priority in _PRIORITIES if level >= lowest)
    return "\n".join(f"<{priority}>{line}" for line in text.splitlines())


class JournalFormatter(logging.Formatter):
    """Writes records as another does, each line with its priority.

    Parameters
    ----------
    formatter : Formatter
    """

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self._formatter = formatter

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        return for_journal(self._formatter.format(record), record.levelno)


class TextFormatter(logging.Formatter):
    """A line for people; names the job if the message does not.

    Parameters
    ----------
    timed : bool
        Whether it begins with the time, which the journal has already.
    """

    def __init__(self, timed: bool = True) -> None:
        time = "%(asctime)s " if timed else ""
        super().__init__(f"{time}%(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base's name
        """Return the line, without a traceback."""
        line = super().formatMessage(record)
        job_id = getattr(record, "job_id", None)
        if job_id is None or re.search(rf"\bjob {job_id}\b", record.message):
            return line
        return f"{line} [job {job_id}]"


class JSONFormatter(logging.Formatter):
    """A JSON object on one line: time (UTC), level, logger, thread, message.

    With it `job_id` if it is about a job, and `exception` (a traceback) if there
    is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the object."""
        time = datetime.fromtimestamp(record.created, timezone.utc)
        told: dict[str, object] = {
            "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        job_id = getattr(record, "job_id", None)
        if job_id is not None:
            told["job_id"] = job_id
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)
