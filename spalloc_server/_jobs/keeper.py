"""Where a state is kept, as `_jobs.write_ahead` sees it: `_saved.store` keeps it in files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spalloc_server._jobs.book import Book, Outcome


class Keeper(Protocol):
    """Where a state is kept.  Calls come one at a time, under the controller's lock."""

    @property
    def pending(self) -> bool:
        """Whether `commit` has something to write."""

    @property
    def position(self) -> int:
        """How many outcomes were appended so far."""

    @property
    def safe(self) -> int:
        """How many of them, the oldest first, may be told and acted upon."""

    @property
    def news(self) -> bool:
        """Whether `settle` has something to do."""

    @property
    def trouble(self) -> str | None:
        """Why the state cannot be kept now; None if it can."""

    @property
    def wants_snapshot(self) -> bool:
        """Whether `snapshot` should be called soon."""

    @property
    def lacks_journal(self) -> bool:
        """Whether nothing but a snapshot, to be tried now, keeps what is committed."""

    def begin(self, state: Book, position: int | None = None) -> None:
        """Begin to keep outcomes, on top of a whole state."""

    def append(self, outcome: Outcome) -> None:
        """Take an outcome, to be written by the next `commit`."""

    def commit(self) -> None:
        """Write all outcomes appended so far, as one."""

    def snapshot(self, state: Book) -> None:
        """Begin to write a whole state, which is not changed afterwards."""

    def settle(self) -> None:
        """Take over what the keeper's own threads have done since."""

    def wait_for_news(self, position: int, seconds: float) -> None:
        """Wait until a position is safe, or `settle` has something to do."""

    def close(self, state: Book, clean: bool = True) -> None:
        """Write the last state; `clean` if the hardware is as it says."""

    def abandon(self) -> None:
        """Write nothing any more."""
