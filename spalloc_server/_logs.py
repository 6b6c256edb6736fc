"""How records of the log are written: as text for people, or as JSON for programs.

Owns the two forms.  Records about a job carry its id as the attribute `job_id`.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import datetime, timezone

#: What ``--log-format`` takes.
FORMATS = ("text", "json")


def set_up(form: str, level: int) -> None:
    """Have all records of a level and above written to standard error, in one of `FORMATS`."""
    handler = logging.StreamHandler()
    handler.setFormatter(JSONFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler])


class TextFormatter(logging.Formatter):
    """A line for people; names the job if the message does not."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the base's name
        """Return the line, without what follows it."""
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
