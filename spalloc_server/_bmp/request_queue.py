"""What one frame still has to do, in order of arrival, with what failed once.

Owns the choice of what is done next. Knows nothing of hardware, threads or clocks:
time is passed in, and whoever calls holds the lock.
"""

from collections.abc import Iterator, Sequence

from spalloc_server._bmp.request_batch import BatchBuilder
from spalloc_server._bmp.requests import AtomicRequests


class _Entry:
    """One request that has not been answered; `due` is None until a try failed."""

    __slots__ = ("due", "request")

    def __init__(self, request: AtomicRequests) -> None:
        self.request = request
        self.due: float | None = None


class RequestQueue:
    """Requests that have not been answered yet, the one being done included.

    A request stays in its place until `remove` takes it out, so that whatever names one
    of its boards stays behind it, also while it waits for its second try.
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
        """True if nothing waits but background requests."""
        return not self._entries

    def add(self, request: AtomicRequests) -> None:
        """Queue a request behind all others.

        Background requests for the same boards that have not begun are overtaken: done
        afterwards, they would switch off what this one switches on.

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

    def due_retries(self, now: float) -> list[AtomicRequests]:
        """List requests that failed once and whose second try is due.

        Parameters
        ----------
        now : float
            Monotonic time.

        Returns
        -------
        list of AtomicRequests
            In order of arrival.
        """
        return [e.request for e in self._entries if e.due is not None and e.due <= now]

    def next_due(self) -> float | None:
        """Monotonic time of the earliest second try that nothing older stands in front of.

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
        """Choose what to do next.

        Second tries are done one by one, and take turns with everything else, which is
        merged as far as order allows.

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
        """One background request, if nothing else waits.

        Returns
        -------
        sequence of AtomicRequests
            One or none.
        """
        if not self.is_idle or not self._background:
            return []
        self._begun = self._background[0]
        return [self._begun]

    def _due_retry(self, now: float) -> list[AtomicRequests]:
        """First second try that is due, as a list of one or none."""
        for due, request in self._free_retries():
            if due <= now:
                return [request]
        return []

    def _free_retries(self) -> Iterator[tuple[float, AtomicRequests]]:
        """Second tries that nothing older stands in front of, with the time of each."""
        blocked: set[int] = set()
        for entry in self._entries:
            boards = entry.request.boards
            if entry.due is not None and not boards & blocked:
                yield entry.due, entry.request
            blocked |= boards

    def _merged(self) -> list[AtomicRequests]:
        """All first tries that order allows to be done together."""
        builder = BatchBuilder()
        batch = []
        for entry in self._entries:
            if entry.due is not None:
                builder.leave(entry.request)
            elif builder.join(entry.request):
                batch.append(entry.request)
        return batch
