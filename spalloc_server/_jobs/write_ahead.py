"""Nothing leaves before it is written: outcomes first, then replies and requests.

A controller tells its outcomes and asks its frames through an *outlet*.  `AtOnce` is the
outlet of a controller by itself: nobody keeps the outcomes, and frames are asked at once.
`WriteAhead` is the server's: it hands each outcome to a *keeper*, holds the requests that
follow from it back, and sends them when the keeper has written the outcome.  Replies take
the same way: `commit` comes before each.  A crash then finds no hardware, and no client,
ahead of the saved state.

::

    controller ──note(outcome)────▶ WriteAhead ──append, commit──▶ keeper
               ──send(request)────▶     │ ◀───────────────────────── written
                                        └──▶ frame

Where the state is kept is the keeper's own business (`_saved.store` keeps it in files).
Must not know what an outcome means, nor who hears of it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Protocol

from spalloc_server import _clock

if TYPE_CHECKING:
    from spalloc_server._bmp.requests import AtomicRequests
    from spalloc_server._jobs.book import Book, Outcome
    from spalloc_server.async_bmp_controller import AsyncBMPController

log = logging.getLogger(__name__)

#: Seconds until outcomes that no client was told of are written.  A crash that loses them
#: costs nothing: the next start asks the hardware again.
_SECONDS_UNCOMMITTED = 0.25  # arbitrary; well below the second after which all is on disk

#: Longest sleep of the loop while the keeper is in trouble; the keeper says when to try.
_SECONDS_BETWEEN_TRIES = 1.0


class Outlet(Protocol):
    """Where a controller's outcomes and requests go; all under the controller's lock."""

    def note(self, outcome: Outcome) -> None:
        """Take one outcome."""

    def send(self, frame: AsyncBMPController, request: AtomicRequests) -> None:
        """Ask a frame for something."""

    def stop(self, frame: AsyncBMPController) -> None:
        """Have a frame end behind all that it was asked for."""

    def drop_requests(self) -> None:
        """Forget the requests that no frame has been asked for yet."""


class AtOnce:
    """The outlet of a controller by itself: outcomes are not kept, requests not held back."""

    def note(self, outcome: Outcome) -> None:
        """Forget the outcome."""

    def send(self, frame: AsyncBMPController, request: AtomicRequests) -> None:
        """Ask the frame now."""
        frame.add_requests(request)

    def stop(self, frame: AsyncBMPController) -> None:
        """Have the frame end, now."""
        frame.stop()

    def drop_requests(self) -> None:
        """Do nothing: none are held back."""


class Keeper(Protocol):
    """Where a state is kept.  Calls come one at a time, under the controller's lock."""

    @property
    def pending(self) -> bool:
        """Whether `commit` has something to do."""

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
        """Write a whole state."""

    def close(self, state: Book, clean: bool = True) -> None:
        """Write the last state; `clean` if the hardware is as it says."""

    def abandon(self) -> None:
        """Write nothing any more."""


class Source(Protocol):
    """Whose state is kept: a controller."""

    @property
    def undisturbed(self) -> AbstractContextManager[bool]:
        """The lock under which outcomes are noted."""

    def __getstate__(self) -> Book:
        """Return the whole state."""


class WriteAhead:
    """The outlet of a controller whose state is kept.

    Requests are held back from the beginning; outcomes are kept from `begin` on,
    whose whole state has the earlier ones in it.  Any thread, unless said.

    Parameters
    ----------
    keeper : Keeper
        What writes.
    wake : callable
        Called without arguments, from any thread, when the loop has to look.

    Attributes
    ----------
    uncommitted : bool
        Whether anything was noted or held back that `commit` has yet to deal with:
        a reply may go out only after it.
    """

    def __init__(self, keeper: Keeper, wake: Callable[[], None]) -> None:
        self._keeper = keeper
        self._wake = wake
        self._source: Source | None = None
        self._keeps_outcomes = False
        self._holds_requests = True
        # (frame, its request, or None for its end), in the order in which they were asked.
        self._requests: list[tuple[AsyncBMPController, AtomicRequests | None]] = []
        self.uncommitted = False
        self._last_commit = _clock.monotonic()

    # --- as a controller's outlet, under its lock ---

    def note(self, outcome: Outcome) -> None:
        """Have the keeper write an outcome with the next commit."""
        if not self._keeps_outcomes:
            return
        self._keeper.append(outcome)
        if not self.uncommitted:
            self.uncommitted = True
            self._wake()

    def send(self, frame: AsyncBMPController, request: AtomicRequests) -> None:
        """Ask a frame for something once everything noted so far is written."""
        self._send(frame, request)

    def stop(self, frame: AsyncBMPController) -> None:
        """Have a frame end behind all that it was asked for."""
        self._send(frame, None)

    def _send(self, frame: AsyncBMPController, request: AtomicRequests | None) -> None:
        first = not self._requests
        self._requests.append((frame, request))
        if not self._holds_requests:
            self._release()
        elif first:
            self.uncommitted = True
            self._wake()

    def drop_requests(self) -> None:
        """Forget the requests that are held back."""
        self._requests.clear()

    # --- writing ---

    def begin(self, source: Source) -> None:
        """Begin to keep outcomes, on top of a controller's whole state."""
        self._source = source
        with source.undisturbed:
            self._keeps_outcomes = True
            state = source.__getstate__()
        self._keeper.begin(state, 0)

    def commit(self) -> None:
        """Write everything noted, then ask the frames for everything held back.

        Before `begin` nothing is written, and nothing asked for.
        """
        source = self._source
        if not self.uncommitted or source is None:
            return
        # Under the lock: what happened under it is one record.
        with source.undisturbed:
            keeper = self._keeper
            if keeper.pending:
                keeper.commit()
                if keeper.lacks_journal:
                    keeper.snapshot(source.__getstate__())
                self._last_commit = _clock.monotonic()
            self.uncommitted = keeper.pending
            # Only now: a crash must not find hardware ahead of the saved state.  Frames of
            # others' may answer at once, which notes outcomes again.
            self._release()

    def _release(self) -> None:
        """Ask the frames for everything held back, each for all of its part at once."""
        requests, self._requests = self._requests, []
        with ExitStack() as holds:
            for frame in {id(frame): frame for frame, _ in requests}.values():
                holds.enter_context(frame)
            for frame, request in requests:
                if request is None:
                    frame.stop()
                else:
                    frame.add_requests(request)

    # --- loop thread only ---

    def seconds_at_rest(self) -> float:
        """Return how long `tend` has nothing to do if nothing happens."""
        if self._requests:
            return 0.0
        seconds = math.inf if self._keeper.trouble is None else _SECONDS_BETWEEN_TRIES
        return min(seconds, self._seconds_uncommitted()) if self.uncommitted else seconds

    def _seconds_uncommitted(self) -> float:
        """Return in how many seconds noted outcomes must be written."""
        return max(0.0, self._last_commit + _SECONDS_UNCOMMITTED - _clock.monotonic())

    def tend(self) -> None:
        """Write what is due, and have the keeper begin anew if it wants to."""
        if self._requests or (self.uncommitted and not self._seconds_uncommitted()):
            self.commit()
        if self._keeper.wants_snapshot and self._source is not None:
            with self._source.undisturbed:
                self._keeper.snapshot(self._source.__getstate__())

    # --- the end, when the loop has ended ---

    def stop_holding(self) -> None:
        """Ask the frames for everything held back, and hold nothing back any more."""
        try:
            self.commit()
        except Exception:
            log.exception("the last outcomes are not written yet; `close` writes them all")
        source = self._source
        if source is not None:
            with source.undisturbed:
                self._holds_requests = False
                self._release()

    def close(self, clean: bool) -> None:
        """Write the last state; outcomes are not kept any more.

        Parameters
        ----------
        clean : bool
            Whether the hardware is as the state says.
        """
        source = self._source
        assert source is not None, "begin() comes first"
        with source.undisturbed:
            self._keeps_outcomes = False
            self._keeper.close(source.__getstate__(), clean=clean)

    def abandon(self) -> None:
        """Keep nothing any more, and write nothing."""
        self._keeps_outcomes = False
        self._keeper.abandon()
