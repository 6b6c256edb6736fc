"""What is wrong with the disk, if anything: remembered, told, and when to try again.

Must not know what is being written.
"""

from __future__ import annotations

import logging
import threading

from spalloc_server import _clock

log = logging.getLogger(__name__)

#: Seconds between two log lines about the same trouble.
_SECONDS_BETWEEN_COMPLAINTS = 60.0

#: Seconds until the next try: none after the first failure, then doubling up to this.
_LONGEST_WAIT = 15.0


class DiskTrouble:
    """Trouble with one store's disk.  Any thread.

    Attributes
    ----------
    text : str or None
        What is wrong, for the log and for health; None if all is well.
    """

    def __init__(self) -> None:
        # Guards what is written below.
        self._lock = threading.Lock()
        self.text: str | None = None
        self._since = 0.0
        self._failures = 0
        self._try_again = 0.0
        self._complained: dict[str, float] = {}

    @property
    def due(self) -> bool:
        """Whether it is time to try (again)."""
        return self.text is None or _clock.monotonic() >= self._try_again

    def met(self, doing: str, error: Exception) -> None:
        """Note that something failed, and complain unless that was done a moment ago.

        Parameters
        ----------
        doing : str
            What could not be done, as the beginning of a sentence.
        error : Exception
            Why; with `strerror`, an OSError.
        """
        reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        now = _clock.monotonic()
        with self._lock:
            if self.text is None:
                self._since = now
            self.text = f"{doing}: {reason}"
            self._try_again = now + (
                min(2.0 ** (self._failures - 1), _LONGEST_WAIT) if self._failures else 0.0
            )
            self._failures += 1
            last = self._complained.get(self.text)
            silent = last is not None and now - last < _SECONDS_BETWEEN_COMPLAINTS
            if not silent:
                self._complained[self.text] = now
        if not silent:
            log.error("%s. The server runs on and tries again.", self.text)

    def over(self) -> None:
        """Note that everything is saved; tells so if it was not."""
        if self.text is None:
            return
        with self._lock:
            seconds = _clock.monotonic() - self._since
            self.text = None
            self._failures = 0
            self._complained.clear()
        log.warning("the state is being saved again, after %.0f s of trouble", seconds)
