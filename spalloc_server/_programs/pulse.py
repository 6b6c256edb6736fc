"""Whether a server is well, as its own loop shows.

Owns the verdict that `/health`, the watchdog and the status line share.  Asks
nothing of the loop: a stalled one is known by the time of its last turn, from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from spalloc_server import _clock

if TYPE_CHECKING:
    from spalloc_server._jobs.census import MachineCensus
    from spalloc_server._logs.line_writer import LineWriter
    from spalloc_server._programs.running_server import RunningServer

#: Seconds without a turn after which a loop counts as stalled.  The longest honest
#: turn is a reload of a configuration with names that are looked up in vain. # arbitrary
STALLED_AFTER = 15.0
#: A loop that is watched turns at least so often, seconds, also with nothing to do.
LONGEST_WAIT = 2.5


#: Seconds that a question waits for a busy server.
_PATIENCE = 0.2
#: Boards in these states can be used now or soon.
_USABLE = ("used", "cooling", "free")


class Problem(NamedTuple):
    """Something for an administrator to look at; `what` is a word for programs."""

    what: str
    text: str


class Pulse:
    """Feels a server's pulse, from any thread.

    Parameters
    ----------
    server : RunningServer
        Its loop is made to turn often enough.
    stalled_after : float
        Seconds.
    writers : mapping
        {name: LineWriter} of the logs.
    """

    def __init__(
        self,
        server: RunningServer,
        stalled_after: float = STALLED_AFTER,
        writers: Mapping[str, LineWriter] = MappingProxyType({}),
    ) -> None:
        self._server = server
        self._writers = writers
        self._stalled_after = stalled_after
        server.longest_wait = min(server.longest_wait, LONGEST_WAIT, stalled_after / 3)
        # It may sleep for longer by now; from here on it knows better.
        server.wake()

    @property
    def beats(self) -> bool:
        """Whether the loop turns."""
        return self._stall() is None

    def problems(self) -> list[Problem]:
        """Return all that is wrong; empty if the server is well."""
        found = [problem for problem in (self._stall(),) if problem is not None]
        trouble = self._server.store.trouble
        if trouble is not None:
            found.append(Problem("disk", trouble))
        for name, writer in self._writers.items():
            if writer.trouble is not None:
                found.append(Problem("log", f"{name}: {writer.trouble}"))
        return found

    def machines_out(self) -> list[Problem]:
        """Return the machines of which no board can be used; the server itself is well."""
        census = self._server.controller.overview.census(_PATIENCE)
        return [
            Problem("machine", f"machine {name}: no board can be used, {_unusable(boards)} out")
            for name, boards in ({} if census is None else census.machines).items()
            if _unusable(boards) and not sum(boards.boards[word] for word in _USABLE)
        ]

    def _stall(self) -> Problem | None:
        if not self._server.is_alive():
            return Problem("stopped", "the server's loop has ended")
        age = _clock.monotonic() - self._server.last_turn
        if age > self._stalled_after:
            return Problem("stalled", f"the server's loop has not turned for {age:.0f} s")
        return None


def _unusable(machine: MachineCensus) -> int:
    return machine.boards["quarantined"]
