"""One thread per frame that powers its boards and sets their links, in the background.

Owns the thread, its lock and the callbacks. `_bmp.requests` chooses the next
ones, `_bmp.batch_run` does them, and the packets are `_bmp.transceiver`'s. Knows
nothing of jobs or machines.
"""

import logging
import math
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import NamedTuple

from spalloc_server import _clock
from spalloc_server._bmp.batch_run import BatchRun
from spalloc_server._bmp.failures import BoardFault, FailureReason
from spalloc_server._bmp.frame_hardware import (
    FPGA_LINK_STOP_REGISTERS,
    FrameHardware,
    FrameStatistics,
)
from spalloc_server._bmp.interface import AbandonedError, BMPTransceiver
from spalloc_server._bmp.requests import AtomicRequests, LinkRequest, RequestQueue
from spalloc_server._bmp.transceiver import FPGAWait, Transceiver

__all__ = (
    "FPGA_LINK_STOP_REGISTERS",
    "AsyncBMPController",
    "AtomicRequests",
    "BoardFault",
    "FailureReason",
    "FrameStatistics",
    "LinkRequest",
)

_log = logging.getLogger(__name__)

#: Seconds from a request's failure to its second try; read at each failure.
_SECONDS_BETWEEN_TRIES = 15.0

#: Seconds between questions to a silent frame whether it answers again.
_SECONDS_BETWEEN_PROBES = 5.0


#: Seconds for which a frame that answers may be idle before it is asked whether it still
#: does; each frame takes a quarter more or less, so that not all are asked at once.
_SECONDS_BETWEEN_QUESTIONS = 60.0

#: Seconds between looks for late answers while FPGAs configure. # arbitrary
_SECONDS_BETWEEN_LOOKS = 0.5

#: Seconds for which a frame waits for more requests, to do them together: jobs that are created
#: one after the other get one power command. # arbitrary
_SECONDS_TO_GATHER = 0.05


class _Try(NamedTuple):
    """A batch that has been begun; `due` are the second tries that were due then."""

    batch: Sequence[AtomicRequests]
    run: BatchRun
    steps: Iterator[list[FPGAWait]]
    due: list[AtomicRequests]


class AsyncBMPController:
    """Powers boards and switches links of one frame, in a thread of its own.

    Used as a context manager it holds its queue: the thread sees the requests that are
    added inside all at once.

    Parameters
    ----------
    hostname : str
        The frame's BMP, as configured. Nothing is sent to it before there is a request,
        or before it has been idle for about a minute: then it is asked for its version,
        and so from then on whenever it has been idle for that long.
    on_thread_start : callable, optional
        Called without arguments, first thing in the thread.

    Attributes
    ----------
    hostname : str
        As given.
    on_answering_change : callable or None
        ``on_answering_change(answering)``, called from the frame's thread when the frame
        stops answering and when it answers again. May be set at any time.
    statistics : FrameStatistics
        Counts since the thread started.
    """

    def __init__(self, hostname: str, on_thread_start: Callable[[], object] | None = None) -> None:
        self.hostname = hostname
        self.on_answering_change: Callable[[bool], object] | None = None
        self.statistics = FrameStatistics()

        self._on_thread_start = on_thread_start
        self._abandoned = threading.Event()
        # Set when there is nothing more to wait for before the end.
        self._hurry = threading.Event()
        self._own_transceiver = Transceiver(hostname, self._abandoned)
        self._transceiver: BMPTransceiver = self._own_transceiver
        self._frame = FrameHardware(
            lambda: self._transceiver,
            self._abandoned,
            self.statistics,
            self._answering_changed,
            self._shortage_changed,
        )

        # Guards _queue, _fresh, _stop, _holds, _ended; notified when any of them changes.
        self._changed = threading.Condition(threading.Lock())
        self._queue = RequestQueue()
        # Whether requests have come since the thread last waited for more.
        self._fresh = False
        self._stop = False
        self._holds = 0
        self._ended = False
        # The frame's thread's own: batches of boards that configure their FPGAs.
        self._suspended: list[tuple[_Try, list[FPGAWait]]] = []

        # A daemon: a frame that is never stopped must not keep the process alive.
        self._spread = 0.75 + zlib.crc32(hostname.encode()) / 2**33
        self._thread = threading.Thread(target=self._run, name=f"bmp-{hostname}", daemon=True)
        self._thread.start()

    # --- any thread ---

    def add_requests(self, atomic_requests: AtomicRequests) -> None:
        """Queue requests; returns at once.

        After the thread has ended they are only kept in `unfinished`.

        Parameters
        ----------
        atomic_requests : AtomicRequests
            Not changed afterwards.
        """
        with self._changed:
            self._queue.add(atomic_requests)
            self._fresh = True
            self.statistics.requests += 1
            if self._ended:
                _log.warning("%s: requests added after the end", self.hostname)
            if not self._holds:
                self._changed.notify()

    def stop(self) -> None:
        """Let the thread end once all is done but background requests; returns at once."""
        self._hurry.set()
        with self._changed:
            self._stop = True
            self._changed.notify()

    def abandon(self) -> None:
        """Let the thread end within about a second, in the middle of anything.

        No callback is called for requests that are not done then; `unfinished` has them. A
        thread that is still inside `on_thread_start` or another callback has to return
        from there first.
        """
        self._abandoned.set()
        self.stop()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the thread has ended, after `stop` or `abandon`.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; without end if None.
        """
        self._thread.join(timeout)

    def is_alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    def __enter__(self) -> "AsyncBMPController":
        """Hold the queue until the end of the ``with`` block."""
        with self._changed:
            self._holds += 1
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the thread see the requests that were added."""
        with self._changed:
            self._holds -= 1
            self._changed.notify()

    @property
    def queue_length(self) -> int:
        """Number of requests that have not been answered."""
        with self._changed:
            return len(self._queue)

    @property
    def unfinished(self) -> list[AtomicRequests]:
        """Requests that have not been answered, and after `join` will never be."""
        with self._changed:
            return self._queue.unanswered

    @property
    def answering(self) -> bool | None:
        """Whether the frame answered when last asked; None before that."""
        return self._frame.answering

    @property
    def shortage(self) -> str | None:
        """A thing that this computer lacks to talk to the frame, for people; None if nothing."""
        return self._frame.shortage

    # --- the frame's thread only ---

    def _run(self) -> None:
        if self._on_thread_start is not None:
            self._call_back(self._on_thread_start)
        try:
            while (work := self._next_work()) is not None:
                work()
        except AbandonedError:
            _log.info("%s: gives up %d requests", self.hostname, self.queue_length)
        finally:
            with self._changed:
                self._ended = True
            self._own_transceiver.close()

    def _next_work(self) -> Callable[[], object] | None:
        """Wait for something to do; None for the end."""
        idle_since = _clock.monotonic()
        gathered = False
        while True:
            self._drop_overtaken()
            with self._changed:
                if gathered or not self._fresh:
                    gathered = self._fresh = False
                    now = _clock.monotonic()
                    if self._is_at_end():
                        return None
                    if (work := self._work_at(now, idle_since)) is not None:
                        return work
                    due = self._next_time(idle_since)
                    self._changed.wait(None if due is None else max(0.0, due - now))
                    continue
            # Requests added meanwhile need not wait again.
            self._hurry.wait(_SECONDS_TO_GATHER)
            gathered = True

    def _is_at_end(self) -> bool:
        done = self._stop and not self._holds and self._queue.is_idle and not self._suspended
        return done or self._abandoned.is_set()

    def _work_at(self, now: float, idle_since: float) -> Callable[[], object] | None:
        """Choose the next work; boards with usable FPGAs go before new requests."""
        if self._suspended and now >= self._usable_at():
            return self._continue
        if not self._holds:
            batch = self._queue.next_batch(now) or self._queue.next_background()
            if batch:
                due = self._queue.due_retries(now)
                # At once: a request that has not begun may be overtaken.
                self._queue.begin(batch)
                return partial(self._begin, batch, due)
        idle_at, idle_work = self._idle_work(idle_since)
        return idle_work if now >= idle_at else None

    def _next_time(self, idle_since: float) -> float | None:
        """When there is something to do though nobody asks; None for never."""
        times = [self._idle_work(idle_since)[0]]
        if self._suspended:
            times.append(self._usable_at())
        if not self._holds and (due := self._queue.next_due()) is not None:
            times.append(due)
        earliest = min(times)
        return None if earliest == math.inf else earliest

    def _idle_work(self, idle_since: float) -> tuple[float, Callable[[], object]]:
        """Return work for a thread that has been idle for a while, and when it is due."""
        if self._suspended:
            return idle_since + _SECONDS_BETWEEN_LOOKS, self._frame.take_late_answers
        if not self._queue.is_idle:
            return math.inf, self._frame.probe
        if self.answering is False:
            return idle_since + _SECONDS_BETWEEN_PROBES, self._frame.probe
        return idle_since + _SECONDS_BETWEEN_QUESTIONS * self._spread, self._frame.ask

    def _usable_at(self) -> float:
        """When the first of the suspended batches may go on."""
        return min(map(_over_at, self._suspended))

    def _begin(self, batch: Sequence[AtomicRequests], due: list[AtomicRequests]) -> None:
        """Begin a try of one batch; `due` are the second tries that are due."""
        self._guarded(batch, lambda: self._advance(self._try(batch, due)))

    def _try(self, batch: Sequence[AtomicRequests], due: list[AtomicRequests]) -> _Try:
        run = BatchRun(batch, self._frame, self._succeeded)
        return _Try(batch, run, run.run(), due)

    def _continue(self) -> None:
        """Go on with the batch that is due, unless a late answer puts it off."""
        self._frame.take_late_answers()
        first = min(self._suspended, key=_over_at)
        if _over_at(first) <= _clock.monotonic():
            self._suspended.remove(first)
            self._guarded(first[0].batch, lambda: self._advance(first[0]))

    def _guarded(self, batch: Sequence[AtomicRequests], work: Callable[[], object]) -> None:
        """Work on a batch; a fault of this program is its own."""
        try:
            work()
        except AbandonedError:
            raise
        except Exception:  # noqa: BLE001 - top of the thread; it is logged
            self._broke(batch)

    def _advance(self, attempt: _Try) -> None:
        """Do a batch up to its next wait or its end, and answer failed requests."""
        waits = next(attempt.steps, None)
        if waits is not None:
            self._suspended.append((attempt, waits))
            return
        with self._changed:
            self._queue.end(attempt.batch)
        retry_at = _clock.monotonic() + _SECONDS_BETWEEN_TRIES
        for request, faults in attempt.run.failed:
            self._failed(request, faults, retry_at)
        if attempt.run.silent and attempt.batch[0] in attempt.due:
            # Trying the others would find the same silence, one after the other.
            for request in attempt.due:
                if request is not attempt.batch[0]:
                    self._failed(request, [], retry_at)

    def _succeeded(self, request: AtomicRequests) -> None:
        self._answer(request, True, None)

    def _failed(
        self, request: AtomicRequests, faults: Sequence[BoardFault], retry_at: float
    ) -> None:
        """Have a request tried again, or answer it if that was its last try."""
        self._frame.forget(request.boards)
        reason = self._reason(faults)
        with self._changed:
            again = self._queue.try_again(request, retry_at)
        # Failures of known-bad boards are told by the tests.
        if again:
            level = logging.DEBUG if request.background else logging.WARNING
            self.statistics.retries += 1
            _log.log(level, "%s; trying once more", reason, extra={"job_id": request.job_id})
        else:
            self.statistics.failures += 1
            level = logging.DEBUG if request.background else logging.ERROR
            _log.log(level, "%s", reason, extra={"job_id": request.job_id})
            self._answer(request, False, reason)

    def _broke(self, batch: Sequence[AtomicRequests]) -> None:
        """Answer a batch that met a fault of this program, so that it is not done for ever."""
        _log.exception("%s: batch failed", self.hostname)
        with self._changed:
            self._queue.end(batch)
            left = [request for request in batch if request in self._queue.unanswered]
        for request in left:
            self.statistics.failures += 1
            text = f"Requests failed on BMP {self.hostname}: internal error"
            self._answer(request, False, FailureReason(text))

    def _reason(self, faults: Sequence[BoardFault]) -> FailureReason:
        text = f"Requests failed on BMP {self.hostname}: "
        if not faults:
            return FailureReason(text + "it does not answer", silent=True)
        boards: dict[str, list[str]] = {}
        for fault in faults:
            boards.setdefault(fault.what, []).append(str(fault.board))
        text += "; ".join(
            f"board{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}: {what}"
            for what, numbers in boards.items()
        )
        return FailureReason(text, faults)

    def _drop_overtaken(self) -> None:
        with self._changed:
            overtaken = self._queue.overtaken
        for request in overtaken:
            self._answer(
                request, False, FailureReason("Overtaken by other requests for its boards")
            )

    def _answer(
        self, request: AtomicRequests, success: bool, reason: FailureReason | None
    ) -> None:
        if self._abandoned.is_set():
            raise AbandonedError
        with self._changed:
            self._queue.remove(request)
        self._call_back(request.on_done, success, reason)

    def _answering_changed(self, answering: bool) -> None:
        if answering:
            _log.info("BMP %s answers again", self.hostname)
        else:
            _log.warning("BMP %s does not answer", self.hostname)
        if self.on_answering_change is not None:
            self._call_back(self.on_answering_change, answering)

    def _shortage_changed(self, lack: str | None) -> None:
        if lack is None:
            _log.info("%s: can be talked to again", self.hostname)
        else:
            _log.error("%s: %s here, not the frame's fault; trying again", self.hostname, lack)

    def _call_back(self, callback: Callable[..., object], *args: object) -> None:
        """Call out; a fault there must not end the thread.

        SystemExit would end it without a word, and nobody interrupts it from a keyboard.
        """
        try:
            callback(*args)
        except BaseException:  # noqa: BLE001 - somebody else's code; it is logged
            _log.exception("%s: callback failed", self.hostname)


def _over_at(suspended: tuple[_Try, list[FPGAWait]]) -> float:
    """When the boards of a suspended batch are usable."""
    return max(wait.over_at for wait in suspended[1])
