"""Nothing leaves before it is safe: outcomes first, then replies and requests.

A controller tells its outcomes and asks its frames through an *outlet* (`_jobs.outlet`).
`WriteAhead` is the server's: it hands each outcome to a *keeper*, holds the requests that
follow from it back, and sends them when the keeper calls the outcome safe.  Replies take
the same way: each waits until the position that `commit` returned is `safe`.  A crash then
finds no hardware, and no client, ahead of the saved state.

::

    controller ──note(outcome)────▶ WriteAhead ──append, commit──▶ keeper
               ──send(request)────▶     │ ◀────────────────────────── safe
                                        └──▶ frame

A position counts outcomes.  Whether outcomes are safe when they are written, or only when a
thread has fsynced them, or when another host has them, is the keeper's own business
(see `_jobs.keeper`).

Each commit also gives its events the next numbers.  The events are made of the outcomes later, by
the thread of the events file, so that nobody who waits for a reply waits for that.  Must not know
what an outcome means, nor who hears of it.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import AbstractContextManager, ExitStack
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol

from spalloc_server import _clock
from spalloc_server._jobs.keeper import Keeper

if TYPE_CHECKING:
    from spalloc_server._bmp.requests import AtomicRequests
    from spalloc_server._jobs.book import Book, Outcome
    from spalloc_server.async_bmp_controller import AsyncBMPController

log = logging.getLogger(__name__)

#: See `_jobs.events`.
Event = dict[str, Any]

#: Seconds until outcomes that no client was told of are written.  A crash that loses them
#: costs nothing: the next start asks the hardware again.
_SECONDS_UNCOMMITTED = 0.25  # arbitrary; well below the second after which all is on disk

#: Longest sleep of the loop while the keeper is in trouble; the keeper says when to try.
_SECONDS_BETWEEN_TRIES = 1.0


#: (frame, its request, or None for its end), in the order in which they were asked.
Requests = list[tuple["AsyncBMPController", "AtomicRequests | None"]]


class EventSource(Protocol):
    """Makes events of outcomes."""

    #: Number of the last event so far.
    last: int
    #: Events that the events file lacks at the start.
    unfiled: list[Event]
    #: Batches that are yet to be made, in the order of their numbers.
    unmade: deque[EventBatch]

    @property
    def kinds(self) -> Set[str]:
        """First words of the outcomes that make events; one event each."""

    @property
    def several(self) -> Set[str]:
        """Those of them that make any number of events."""

    def begin(self, book: Book) -> None:
        """Begin on top of a whole state."""

    def make(self, batch: EventBatch) -> None:
        """Make the events of a batch, and of those before it; any thread."""

    def plain(self, unfiled: list[Event]) -> dict[str, Any]:
        """Return the numbers for the book."""


class EventFile(Protocol):
    """Keeps events for readers."""

    @property
    def inbox(self) -> SimpleQueue[Iterable[Event]]:
        """Takes events that are to be written."""

    @property
    def settled(self) -> int:
        """Number of the last event that is on disk, or that the disk had no room for."""

    def close(self) -> None:
        """Write all events, and end."""


class Source(Protocol):
    """Whose state is kept: a controller."""

    @property
    def undisturbed(self) -> AbstractContextManager[bool]:
        """The lock under which outcomes are noted."""

    def __getstate__(self) -> Book:
        """Return the whole state."""


class EventBatch:
    """The events of one commit, made when somebody first looks at them; any thread.

    Parameters
    ----------
    source : EventSource
        Makes them.
    first : int
        Number of the first.
    outcomes : list of (outcome, Unix time)
        That make events, and when each happened.

    Attributes
    ----------
    last : int
        Number of the last; known once they are made if the outcomes may make `several` each.
    events : list of dict or None
        None until they are made.
    """

    def __init__(
        self, source: EventSource, first: int, outcomes: list[tuple[Outcome, float]]
    ) -> None:
        self.first, self.last = first, first + len(outcomes) - 1
        self.outcomes = outcomes
        self.events: list[Event] | None = None
        self._source = source

    def __iter__(self) -> Iterator[Event]:
        if self.events is None:
            self._source.make(self)
            assert self.events is not None
        return iter(self.events)


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
        Whether anything was noted or held back that is not safe yet: a reply may go
        out only when it is.
    """

    def __init__(self, keeper: Keeper, wake: Callable[[], None]) -> None:
        self._keeper = keeper
        self._wake = wake
        self._source: Source | None = None
        self._keeps_outcomes = False
        self._holds_requests = True
        # Those since the last commit.
        self._requests: Requests = []
        # Those before, and events, with the position that must be safe first.
        self._waiting: deque[tuple[int, Requests, EventBatch | None]] = deque()
        self._events: EventSource | None = None
        self._event_file: EventFile | None = None
        # Outcomes since the last commit that make events, and when they happened.
        self._untold: list[tuple[Outcome, float]] = []
        # Events that the file was given and has not settled.
        self._unsettled: deque[EventBatch] = deque()
        self.uncommitted = False
        self._last_commit = _clock.monotonic()

    # --- as a controller's outlet, under its lock ---

    def note(self, outcome: Outcome) -> None:
        """Have the keeper write an outcome with the next commit."""
        if not self._keeps_outcomes:
            return
        self._keeper.append(outcome)
        if self._events is not None and outcome[0] in self._events.kinds:
            self._untold.append((outcome, _clock.wall()))
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
            self._release_all()
        elif first:
            self.uncommitted = True
            self._wake()

    def drop_requests(self) -> None:
        """Forget the requests that are held back."""
        self._requests.clear()
        self._waiting.clear()

    # --- writing ---

    def begin(
        self,
        source: Source,
        events: EventSource | None = None,
        event_file: EventFile | None = None,
    ) -> None:
        """Begin to keep outcomes, on top of a controller's whole state.

        Parameters
        ----------
        source : Source
            The controller.
        events : EventSource, optional
            Makes the events.
        event_file : EventFile, optional
            Gets them when they are safe; not without `events`.
        """
        assert (events is None) == (event_file is None), "events need a file"
        self._source = source
        with source.undisturbed:
            self._keeps_outcomes = True
            state = source.__getstate__()
            if events is not None:
                events.begin(state)
                state["events"] = events.plain(events.unfiled)
                self._events, self._event_file = events, event_file
        self._keeper.begin(state, 0)
        if events is not None and events.unfiled:
            batch = EventBatch(events, events.last, [])
            batch.events, events.unfiled = events.unfiled, []
            batch.last = events.last
            self._file_events(batch)

    def _whole_state(self, source: Source) -> Book:
        """Return the whole state, with the events that their file may lack."""
        state = source.__getstate__()
        if self._events is not None:
            settled = self._forget_settled()
            waiting = [batch for _, _, batch in self._waiting if batch is not None]
            batches = [*self._unsettled, *waiting]
            unfiled = [event for batch in batches for event in batch if event["number"] > settled]
            state["events"] = self._events.plain(unfiled)
        return state

    def _number_events(self) -> EventBatch | None:
        """Have the numbers of new events written with their outcomes."""
        events, untold = self._events, self._untold
        if events is None or not untold:
            return None
        self._untold = []
        batch = EventBatch(events, events.last + 1, untold)
        events.unmade.append(batch)
        if not events.several.isdisjoint([outcome[0] for outcome, _ in untold]):
            events.make(batch)
        count = batch.last + 1 - batch.first
        if not count:
            return None
        events.last = batch.last
        self._keeper.append(("events", batch.first, count, _clock.wall()))
        return batch

    @property
    def safe(self) -> int:
        """How many outcomes, the oldest first, may be told."""
        return self._keeper.safe

    def commit(self) -> int:
        """Write everything noted; requests go to their frames as soon as that is safe.

        Before `begin` nothing is written, and nothing asked for.

        Returns
        -------
        int
            The position that must be `safe` before anything that has happened so
            far may be told.
        """
        source = self._source
        if not self.uncommitted or source is None:
            return self._keeper.position
        # Under the lock: outcomes noted under it together are one record.
        with source.undisturbed:
            keeper = self._keeper
            batch = self._number_events()
            pending = keeper.pending
            if pending:
                keeper.commit()
                self._last_commit = _clock.monotonic()
            position = keeper.position
            if self._requests or batch is not None:
                self._waiting.append((position, self._requests, batch))
                self._requests = []
            if pending and keeper.lacks_journal:
                keeper.snapshot(self._whole_state(source))
            self._release_safe()
        return position

    def commit_and_wait(self) -> None:
        """Write everything noted, and wait until it is safe; not for the loop."""
        position = self.commit()
        source, keeper = self._source, self._keeper
        while keeper.safe < position and source is not None:
            keeper.wait_for_news(position, _SECONDS_BETWEEN_TRIES)
            self.settle()

    def settle(self) -> None:
        """Take over what the keeper's threads have done, and send the requests that are safe."""
        source = self._source
        if self._keeper.news and source is not None:
            with source.undisturbed:
                self._keeper.settle()
                self._release_safe()

    def _release_safe(self) -> None:
        """Send the requests whose outcomes are safe."""
        keeper = self._keeper
        safe = keeper.safe
        waiting = self._waiting
        self.uncommitted = keeper.pending or safe < keeper.position
        # Frames of others' may answer at once, which notes outcomes again.
        while waiting and waiting[0][0] <= safe:
            self._release(*waiting.popleft())

    def _release(self, _position: int, requests: Requests, batch: EventBatch | None) -> None:
        if batch is not None:
            self._file_events(batch)
        if requests:
            _ask(requests)

    def _file_events(self, batch: EventBatch) -> None:
        """Have events made and written to their file, by its thread, a moment later."""
        assert self._event_file is not None
        self._event_file.inbox.put(batch)
        self._unsettled.append(batch)
        self._forget_settled()

    def _forget_settled(self) -> int:
        """Forget the events that the file has settled; returns the number of the last one."""
        assert self._event_file is not None
        unsettled, settled = self._unsettled, self._event_file.settled
        while unsettled and unsettled[0].last <= settled:
            unsettled.popleft()
        return settled

    def _release_all(self) -> None:
        """Send all requests, safe or not."""
        while self._waiting:
            self._release(*self._waiting.popleft())
        requests, self._requests = self._requests, []
        _ask(requests)

    # --- loop thread only ---

    def seconds_at_rest(self) -> float:
        """Return how long `tend` has nothing to do if nothing happens."""
        if self._requests:
            return 0.0
        seconds = math.inf if self._keeper.trouble is None else _SECONDS_BETWEEN_TRIES
        if self.uncommitted and self._keeper.pending:
            return min(seconds, self._seconds_uncommitted())
        return seconds

    def _seconds_uncommitted(self) -> float:
        """Return in how many seconds noted outcomes must be written."""
        return max(0.0, self._last_commit + _SECONDS_UNCOMMITTED - _clock.monotonic())

    def tend(self) -> None:
        """Write the outcomes that are due, send requests, begin the snapshot that is wanted."""
        keeper, source = self._keeper, self._source
        if source is None:
            return
        if self._requests or (
            self.uncommitted and keeper.pending and not self._seconds_uncommitted()
        ):
            self.commit()
        self.settle()
        if keeper.wants_snapshot:
            with source.undisturbed:
                self.commit()  # outcomes and the numbers of their events are one record
                keeper.snapshot(self._whole_state(source))

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
                self._release_all()

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
            self._waiting.append((self._keeper.position, [], self._number_events()))
            self._keeper.close(self._whole_state(source), clean=clean)
            self._release_all()
        if self._event_file is not None:
            self._event_file.close()

    def abandon(self) -> None:
        """Keep nothing any more, and write nothing."""
        self._keeps_outcomes = False
        self._keeper.abandon()
        if self._event_file is not None:
            self._event_file.close()


def _ask(requests: Requests) -> None:
    """Send requests to their frames, each frame seeing all of its part at once."""
    if len(requests) == 1 and requests[0][1] is not None:
        requests[0][0].add_requests(requests[0][1])
        return
    with ExitStack() as holds:
        for frame in {id(frame): frame for frame, _ in requests}.values():
            holds.enter_context(frame)
        for frame, request in requests:
            if request is None:
                frame.stop()
            else:
                frame.add_requests(request)
