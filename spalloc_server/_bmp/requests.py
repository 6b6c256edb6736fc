"""The requests to one frame: which are next, and which are done together.

Owns the data of a request, the choice of the next ones, and the rules of order and merging.
Knows nothing of hardware, threads or clocks: time is passed in, and the caller holds the lock.

A batch is done in four phases, each for all of its requests at once::

    power on  ->  check FPGAs  ->  set links  ->  power off

Per board everything stays first come, first served, so a request joins a batch only if
on each of its boards it begins no earlier in that row than the requests before it got
to, and if no request that it would overtake names one of its boards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from typing import NamedTuple

from spalloc_server.links import Links


class LinkRequest(NamedTuple):
    """One link of one board to switch.

    Attributes
    ----------
    board : int
        Number of the board within its frame.
    link : Links
        Which of its six links.
    enable : bool
        True lets packets through, False stops them.
    """

    board: int
    link: Links
    enable: bool


class AtomicRequests:
    """Things to do on one frame, done as a whole: power on, set links, power off.

    Nothing that it is given is checked. It is filled before it is queued and not
    changed afterwards.

    Parameters
    ----------
    on_done : callable
        ``on_done(success, reason)`` is called once from the frame's thread: with
        ``(True, None)``, or with ``(False, reason)`` where `reason` is a
        `_bmp.failures.FailureReason`.

    Attributes
    ----------
    power_on_boards, power_off_boards : list of int
        Boards in the order asked.
    link_requests : list of LinkRequest
        Links in the order asked.
    background : bool
        If True the request is done only when nothing else waits, on its own, and is not
        tried again. It is dropped, with a reason that blames no board, as soon as
        another request names one of its boards before it has begun.
    job_id : int or None
        The job that asks, for the log; settable.
    """

    __slots__ = (
        "background",
        "job_id",
        "link_requests",
        "on_done",
        "power_off_boards",
        "power_on_boards",
    )

    def __init__(self, on_done: Callable[..., object]) -> None:
        self.on_done = on_done
        self.power_on_boards: list[int] = []
        self.power_off_boards: list[int] = []
        self.link_requests: list[LinkRequest] = []
        self.background = False
        self.job_id: int | None = None

    def power(self, board: int, on: bool) -> None:
        """Ask for a board to be powered on or off.

        Parameters
        ----------
        board : int
            Number of the board within its frame.
        on : bool
            True to power it on, False to power it off.
        """
        (self.power_on_boards if on else self.power_off_boards).append(board)

    def link(self, board: int, link: Links, enable: bool) -> None:
        """Ask for a link to be switched.

        Parameters
        ----------
        board : int
            Number of the board within its frame.
        link : Links
            Which of its six links.
        enable : bool
            True lets packets through, False stops them.
        """
        self.link_requests.append(LinkRequest(board, link, enable))

    @property
    def boards(self) -> frozenset[int]:
        """Every board that the request names."""
        return frozenset(
            (
                *self.power_on_boards,
                *self.power_off_boards,
                *(request.board for request in self.link_requests),
            )
        )


class _Entry:
    """One request that has not been answered.

    `due` is None until a try failed; `under_way` is True during a try.
    """

    __slots__ = ("due", "request", "under_way")

    def __init__(self, request: AtomicRequests) -> None:
        self.request = request
        self.due: float | None = None
        self.under_way = False


class RequestQueue:
    """Requests that have not been answered yet, those under way included.

    A request stays in its place until `remove` takes it out, so that later requests for
    its boards stay behind it, also while its FPGAs configure and while it waits for its
    second try.
    """

    def __init__(self) -> None:
        self._entries: list[_Entry] = []
        self._background: list[AtomicRequests] = []
        self._overtaken: list[AtomicRequests] = []
        self._begun: AtomicRequests | None = None
        self._last_was_retry = False

    def __len__(self) -> int:
        """Count requests that have not been answered."""
        return len(self._entries) + len(self._background) + len(self._overtaken)

    @property
    def unanswered(self) -> list[AtomicRequests]:
        """All requests that have not been answered, background ones last."""
        entries = [entry.request for entry in self._entries]
        return [*entries, *self._background, *self._overtaken]

    @property
    def is_idle(self) -> bool:
        """True if there are no requests but background ones."""
        return not self._entries

    def add(self, request: AtomicRequests) -> None:
        """Queue a request behind all others.

        Background requests for the same boards that have not begun are overtaken: done
        afterwards, they would switch off the boards that this one switches on.

        Parameters
        ----------
        request : AtomicRequests
        """
        if request.background:
            self._background.append(request)
            return
        self._entries.append(_Entry(request))
        boards = request.boards
        for waiting in self._background:
            if waiting is not self._begun and waiting.boards & boards:
                self._overtaken.append(waiting)
        if self._overtaken:
            self._background = [r for r in self._background if r not in self._overtaken]

    def remove(self, request: AtomicRequests) -> None:
        """Take out a request that is about to be answered.

        Parameters
        ----------
        request : AtomicRequests
            One that is in the queue.

        Raises
        ------
        ValueError
            If it is not in the queue.
        """
        for index, entry in enumerate(self._entries):
            if entry.request is request:
                del self._entries[index]
                return
        for requests in (self._background, self._overtaken):
            if request in requests:
                requests.remove(request)
                return
        raise ValueError(f"not in the queue: {request!r}")

    def try_again(self, request: AtomicRequests, due: float) -> bool:
        """Note that a try of a request failed.

        Parameters
        ----------
        request : AtomicRequests
            One that is in the queue.
        due : float
            Monotonic time of its second try.

        Returns
        -------
        bool
            False if it has had all its tries: it should be removed and answered.
        """
        for entry in self._entries:
            if entry.request is request:
                if entry.due is not None:
                    return False
                entry.due = due
                return True
        return False

    def begin(self, batch: Sequence[AtomicRequests]) -> None:
        """Note that requests are under way: until `end` nothing else is done on their boards.

        Parameters
        ----------
        batch : sequence of AtomicRequests
            From `next_batch` or `next_background`.
        """
        self._mark(batch, True)
        if batch[0] in self._background:
            self._begun = batch[0]

    def end(self, batch: Sequence[AtomicRequests]) -> None:
        """Note that requests are under way no more, answered or not."""
        self._mark(batch, False)
        if self._begun in batch:
            self._begun = None

    def _mark(self, batch: Sequence[AtomicRequests], under_way: bool) -> None:
        for entry in self._entries:
            if entry.request in batch:
                entry.under_way = under_way

    def due_retries(self, now: float) -> list[AtomicRequests]:
        """List requests that failed once and are due for their second try.

        Parameters
        ----------
        now : float
            Monotonic time.

        Returns
        -------
        list of AtomicRequests
            In order of arrival.
        """
        return [
            entry.request
            for entry in self._entries
            if entry.due is not None and entry.due <= now and not entry.under_way
        ]

    def next_due(self) -> float | None:
        """Monotonic time of the earliest second try that is behind no older request.

        Returns
        -------
        float or None
            None if there is none.
        """
        return min((due for due, _ in self._free_retries()), default=None)

    @property
    def overtaken(self) -> list[AtomicRequests]:
        """Background requests that will not be done, to be removed and answered."""
        return list(self._overtaken)

    def next_batch(self, now: float) -> Sequence[AtomicRequests]:
        """Choose the requests to begin with next.

        Second tries are done one by one, and take turns with all other requests, which
        are merged as far as order allows.

        Parameters
        ----------
        now : float
            Monotonic time.

        Returns
        -------
        sequence of AtomicRequests
            In order of arrival; empty if nothing can be done now.
        """
        retry = self._due_retry(now)
        merged = self._merged() if self._last_was_retry or not retry else []
        self._last_was_retry = not merged
        return merged or retry

    def next_background(self) -> Sequence[AtomicRequests]:
        """One background request, if there are no others and none is under way.

        Returns
        -------
        sequence of AtomicRequests
            One or none.
        """
        if not self.is_idle or self._begun is not None:
            return []
        return self._background[:1]

    def _due_retry(self, now: float) -> list[AtomicRequests]:
        """First second try that is due, as a list of one or none."""
        for due, request in self._free_retries():
            if due <= now:
                return [request]
        return []

    def _free_retries(self) -> Iterator[tuple[float, AtomicRequests]]:
        """Second tries that are behind no older request, with the time of each."""
        blocked = self._boards_of_background()
        for entry in self._entries:
            boards = entry.request.boards
            if entry.due is not None and not entry.under_way and not boards & blocked:
                yield entry.due, entry.request
            blocked |= boards

    def _merged(self) -> list[AtomicRequests]:
        """All first tries that order allows to be done together."""
        builder = BatchBuilder(self._boards_of_background())
        batch = []
        for entry in self._entries:
            if entry.under_way or entry.due is not None:
                builder.leave(entry.request)
            elif builder.join(entry.request):
                batch.append(entry.request)
        return batch

    def _boards_of_background(self) -> set[int]:
        """Boards of the background request that is under way."""
        return set() if self._begun is None else set(self._begun.boards)


class Phase(IntEnum):
    """The parts of a batch, in this order."""

    POWER_ON = 0
    LINK = 1
    POWER_OFF = 2


def first_and_last_phases(request: AtomicRequests) -> dict[int, tuple[Phase, Phase]]:
    """Where a request begins and ends on each of its boards.

    Parameters
    ----------
    request : AtomicRequests

    Returns
    -------
    dict
        ``{board: (first, last)}``
    """
    spans: dict[int, tuple[Phase, Phase]] = {}
    for phase, boards in (
        (Phase.POWER_ON, request.power_on_boards),
        (Phase.LINK, [link.board for link in request.link_requests]),
        (Phase.POWER_OFF, request.power_off_boards),
    ):
        for board in boards:
            first, _ = spans.get(board, (phase, phase))
            spans[board] = (first, phase)
    return spans


class BatchBuilder:
    """Collects, in order of arrival, the requests that may be done in one batch.

    Parameters
    ----------
    blocked : set of int, optional
        Boards that no request of the batch may touch.

    Attributes
    ----------
    blocked : set of int
        Boards that a request left behind will use, so that later requests for them
        have to stay behind as well.
    """

    def __init__(self, blocked: set[int] | None = None) -> None:
        self.blocked: set[int] = set() if blocked is None else blocked
        self._reached: dict[int, Phase] = {}
        # Boards on which a request that ends with power-off does something before that.
        self._not_settled: set[int] = set()

    def leave(self, request: AtomicRequests) -> None:
        """Leave a request out of the batch: its boards are blocked."""
        self.blocked |= request.boards

    def join(self, request: AtomicRequests) -> bool:
        """Take a request into the batch if order allows.

        Parameters
        ----------
        request : AtomicRequests

        Returns
        -------
        bool
            False if it has to stay behind; then its boards are blocked.
        """
        spans = first_and_last_phases(request)
        if not all(self._may_follow(board, *span) for board, span in spans.items()):
            self.blocked |= spans.keys()
            return False
        for board, (first, last) in spans.items():
            self._reached[board] = last
            if request.power_off_boards and first is not Phase.POWER_OFF:
                self._not_settled.add(board)
        return True

    def _may_follow(self, board: int, first: Phase, last: Phase) -> bool:
        """Whether a request that spans these phases on `board` may be next on it.

        Beginning with power-on is fine after anything but power-off: equal commands
        collapse into one, and links asked for before it need not be set. Power-off has to
        wait until no failure can make an earlier request begin again on the board.
        """
        if board in self.blocked:
            return False
        if last is Phase.POWER_OFF and board in self._not_settled:
            return False
        return self._reached.get(board) is not Phase.POWER_OFF or first is Phase.POWER_OFF
