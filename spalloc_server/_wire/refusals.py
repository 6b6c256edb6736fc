"""Refused commands in the log: each client's once a second at most.

Owns the counts of refusals that were not logged by themselves.  Knows neither sockets nor
commands.  Loop thread only.
"""

from __future__ import annotations

import logging
from collections.abc import Hashable
from typing import NamedTuple

from spalloc_server import _clock
from spalloc_server._checks.values import escaped

#: Seconds between two lines about the same client.
_SECONDS = 1.0
#: Characters of an error's text that are logged.
_LONGEST = 1000


class Refusal(NamedTuple):
    """A command that was answered with an exception, or a connection that was ended.

    Attributes
    ----------
    event : str
        Client and command, such as ``client 10.0.0.7: create_job refused``.
    text : str
        The error in words.
    job_id : int or None
        The job that the command was about.
    """

    event: str
    text: str
    job_id: int | None = None


class _Quiet:
    """A time in which one client's refusals are only counted."""

    __slots__ = ("count", "last", "until")

    def __init__(self, until: float, last: Refusal) -> None:
        self.until = until
        self.last = last
        self.count = 0


class Refusals:
    """Refused commands, logged at once or counted.

    Parameters
    ----------
    log : logging.Logger

    Attributes
    ----------
    quiet : dict
        Clients, with the level of the log, whose refusals there is something to `tell` of later.
    """

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self.quiet: dict[tuple[Hashable, int], _Quiet] = {}

    def note(self, client: Hashable, refusal: Refusal, error: BaseException) -> None:
        """Log a refusal, or count it if one of this client was logged within the last second.

        Parameters
        ----------
        client : hashable
            The client, or its address: all with the same one are counted together.
        refusal : Refusal
        error : Exception
            TypeError and ValueError are the client's own mistakes; others are logged with a
            traceback.
        """
        known = isinstance(error, (TypeError, ValueError))
        level = logging.WARNING if known else logging.ERROR
        quiet = self.quiet.get((client, level))
        now = _clock.monotonic()
        if quiet is not None and (quiet.count or now < quiet.until):
            quiet.count += 1
            quiet.last = refusal
            if now >= quiet.until:
                self._sum_up(quiet, level)
                self.quiet[client, level] = _Quiet(now + _SECONDS, refusal)
            return
        self.quiet[client, level] = _Quiet(now + _SECONDS, refusal)
        self._log.log(
            level,
            "%s: %s",
            refusal.event,
            escaped(refusal.text[:_LONGEST]),
            exc_info=None if known else error,
            extra={"job_id": refusal.job_id},
        )

    def seconds_left(self, now: float) -> float:
        """Return how long there is nothing to `tell`."""
        return max(0.0, min(quiet.until for quiet in self.quiet.values()) - now)

    def tell(self, now: float) -> None:
        """Log the counts that are a second old."""
        for key, quiet in [item for item in self.quiet.items() if item[1].until <= now]:
            del self.quiet[key]
            if quiet.count:
                self._sum_up(quiet, key[1])
                # It goes on, most likely: the next line comes a second later again.
                self.quiet[key] = _Quiet(now + _SECONDS, quiet.last)

    def forget(self, client: Hashable) -> None:
        """Log the counts of a client that has gone."""
        for level in (logging.WARNING, logging.ERROR):
            quiet = self.quiet.pop((client, level), None)
            if quiet is not None:
                self._sum_up(quiet, level)

    def _sum_up(self, quiet: _Quiet, level: int) -> None:
        if quiet.count:
            self._log.log(
                level,
                "%s, the last of %d more within a second: %s",
                quiet.last.event,
                quiet.count,
                escaped(quiet.last.text[:_LONGEST]),
            )
