"""The server as programs see it: something that runs, tells how it is, and can be stopped.

Owns the interface alone, so that no program imports `server`: `server.main` hands in the
function that makes one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from spalloc_server._jobs.census import Census
from spalloc_server._wire.peer import Memory
from spalloc_server._wire.running import Tally


class CountedState(Protocol):
    """The saved state's plain counters."""

    @property
    def trouble(self) -> str | None:
        """Why the state cannot be saved now; None if it can."""

    @property
    def journal_bytes(self) -> int:
        """Size of the journal."""

    @property
    def records(self) -> int:
        """Records written to the journal."""

    @property
    def snapshots(self) -> int:
        """Whole states written."""

    @property
    def last_fsync(self) -> float:
        """Monotonic time at which all that was written was last safe."""

    @property
    def unsynced_since(self) -> float | None:
        """Monotonic time since which something written is not yet safe."""


class Counted(Protocol):
    """The jobs and machines, to be counted."""

    def census(self, timeout: float) -> Census | None:
        """Count, or give up after some seconds."""


class CountedController(Protocol):
    """See `Controller`."""

    @property
    def overview(self) -> Counted:
        """See `Overview`."""


class RunningServer(Protocol):
    """A server from its construction on; see `SpallocServer`."""

    longest_wait: float
    last_turn: float
    turns: int
    reloads: int
    failed_reloads: int
    reload_refused: bool
    turn_times: Tally
    connections: int
    memory: Memory

    @property
    def store(self) -> CountedState:
        """Where the state is saved."""

    @property
    def controller(self) -> CountedController:
        """The jobs and machines."""

    @property
    def port(self) -> int:
        """TCP port that is listened on."""

    @property
    def client_count(self) -> int:
        """How many clients are connected."""

    @property
    def kept_count(self) -> int:
        """How many connections outlive a restart."""

    @property
    def watcher_counts(self) -> Mapping[str, int]:
        """How many clients watch jobs, and how many watch machines."""

    @property
    def command_times(self) -> Mapping[str, Tally]:
        """Seconds that each command took."""

    @property
    def command_errors(self) -> Mapping[str, int]:
        """Commands answered with an exception."""

    @property
    def config_needs_reloading(self) -> bool:
        """Whether a reload was asked for that has not been done."""

    def version(self, client: Any) -> str:
        """Three integers joined by dots."""

    def list_machines(self, client: Any) -> Sequence[Mapping[str, Any]]:
        """Rows of all machines."""

    def is_alive(self) -> bool:
        """Whether the loop runs."""

    def wake(self) -> None:
        """Have the loop turn."""

    def stop_and_join(self) -> None:
        """Stop serving, let the hardware finish, save the state."""


#: Makes a server of the options of `SpallocServer`, which are keywords.
MakeServer = Callable[..., RunningServer]
