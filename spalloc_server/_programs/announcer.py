"""Tells the service manager how a server is: ready, reloading, well, stopping.

Owns the moments at which it is told; runs in the main thread, which looks at the server
now and then.  `_programs.sdnotify` sends, `_programs.pulse` judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from spalloc_server import _clock
from spalloc_server._programs.pulse import STALLED_AFTER, Pulse

if TYPE_CHECKING:
    from spalloc_server._logs.line_writer import LineWriter
    from spalloc_server._programs.running_server import RunningServer
    from spalloc_server._programs.sdnotify import ServiceManager

#: Between two looks at the status line, seconds. # arbitrary
_SECONDS_BETWEEN_STATUS = 5.0
#: Seconds that the status line waits for a busy server.
_PATIENCE = 0.2


class Announcer:
    """The service manager's picture of one server.

    Parameters
    ----------
    server : RunningServer
        Ready for clients.
    manager : ServiceManager
    writers : mapping
        {name: LineWriter} of the logs.
    """

    def __init__(
        self,
        server: RunningServer,
        manager: ServiceManager,
        writers: Mapping[str, LineWriter] = MappingProxyType({}),
    ) -> None:
        self._server = server
        self._manager = manager
        watchdog = manager.watchdog
        patience = STALLED_AFTER if watchdog is None else watchdog / 2
        self._pulse = Pulse(server, patience, writers)
        self._feed_every = None if watchdog is None else watchdog / 2
        self._fed = -float("inf")
        self._looked = _clock.monotonic()
        self._reloads = server.reloads
        self._reloading = False
        self._status = self._new_status()
        manager.tell(READY=1, STATUS=self._status)

    @property
    def seconds_between_looks(self) -> float:
        """How often `look` wants to be called."""
        return 0.5 if self._feed_every is None else min(0.5, self._feed_every / 2)

    def look(self) -> None:
        """Tell the news, and feed the watchdog if the loop turns."""
        self._look_at_reload()
        now = _clock.monotonic()
        if self._feed_every is not None and now - self._fed >= self._feed_every / 2:
            self._feed(now)
        if now - self._looked >= _SECONDS_BETWEEN_STATUS:
            self._looked = now
            self._tell_status()

    def stopping(self) -> None:
        """Tell that the server is about to stop."""
        self._manager.tell(STOPPING=1, STATUS="Stopping: waiting for hardware")

    def stopped(self) -> None:
        """Tell that the server has stopped."""
        self._manager.tell(STATUS="Stopped")

    def _feed(self, now: float) -> None:
        if self._pulse.beats:
            self._fed = now
            self._manager.tell(WATCHDOG=1)

    def _look_at_reload(self) -> None:
        done = self._server.reloads != self._reloads
        if (done or self._server.config_needs_reloading) and not self._reloading:
            self._reloading = True
            stamp = int(_clock.monotonic() * 1e6)
            self._manager.tell(RELOADING=1, MONOTONIC_USEC=stamp, STATUS="Reading configuration")
        if done and not self._server.config_needs_reloading:
            self._reloads = self._server.reloads
            self._reloading = False
            self._status = self._new_status()
            self._manager.tell(READY=1, STATUS=self._status)

    def _tell_status(self) -> None:
        status = self._new_status()
        if status != self._status:
            self._status = status
            self._manager.tell(STATUS=status)

    def _new_status(self) -> str:
        problems = self._pulse.problems()
        if problems:
            return "; ".join(problem.text for problem in problems)
        census = self._server.controller.overview.census(_PATIENCE)
        if census is None:
            return "Busy"
        words = [
            _count(len(census.machines), "machine"),
            _count(self._server.client_count, "client"),
            f"{_count(sum(census.jobs.values()), 'job')} ({census.jobs['queued']} queued)",
        ]
        silent = sum(frame.answering is False for frame in census.frames)
        out = sum(machine.boards["quarantined"] for machine in census.machines.values())
        if self._server.reload_refused:
            words.append("changed configuration refused")
        if silent:
            words.append(f"{_count(silent, 'frame')} not answering")
        if out:
            words.append(f"{_count(out, 'board')} quarantined")
        return f"Port {self._server.port}: {', '.join(words)}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
