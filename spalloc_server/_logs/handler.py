"""The handler that connects Python's logging with a `LineWriter`.

Owns the promise that logging never waits and never raises.
"""

from __future__ import annotations

import logging

from spalloc_server._logs.line_writer import LineWriter

#: Seconds that closing waits for lines to be written.
_SECONDS_TO_CLOSE = 2.0
#: Characters of one record; longer ones are cut. # arbitrary
_LONGEST = 65_536


class BackgroundHandler(logging.Handler):
    """Formats records in the thread that logs, and has another one write them.

    Parameters
    ----------
    writer : LineWriter
        Closed by `close`.
    """

    def __init__(self, writer: LineWriter) -> None:
        super().__init__()
        self.writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        """Have a record written."""
        try:
            text = self.format(record)
        except Exception as error:  # noqa: BLE001 - somebody else's argument; see the text
            text = (
                f"{record.name}: a record of {record.pathname}, line {record.lineno}, cannot be "
                f"written ({type(error).__name__}): {record.msg!r:.200}"
            )
        self.writer.put(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")

    def flush(self) -> None:
        """Wait a little until all records so far are written."""
        self.writer.flush(_SECONDS_TO_CLOSE)

    def close(self) -> None:
        """Write the records so far, if that takes no longer than a moment."""
        self.writer.close(_SECONDS_TO_CLOSE)
        super().close()
