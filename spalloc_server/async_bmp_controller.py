"""One thread per frame that does what is asked of its boards, in the background.

Owns the thread, its lock and the callbacks. What is done next is decided by
`_bmp.request_queue`, how it is done by `_bmp.batch_run`, and the packets are `_bmp.transceiver`'s.
Knows nothing of jobs or machines.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from types import TracebackType

from spalloc_server import _clock
from spalloc_server._bmp.batch_run import BatchRun
from spalloc_server._bmp.frame_hardware import (
    FPGA_LINK_STOP_REGISTERS,
    FrameHardware,
    FrameStatistics,
)
from spalloc_server._bmp.interface import AbandonedError, BMPTransceiver
from spalloc_server._bmp.request_queue import RequestQueue
from spalloc_server._bmp.requests import (
    AtomicRequests,
    BoardFault,
    FailureReason,
    LinkRequest,
)
from spalloc_server._bmp.transceiver import Transceiver

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


class AsyncBMPController:
    """Powers boards and switches links of one frame, in a thread of its own.

    Used as a context manager it holds its queue: what is added inside is seen by the
    thread all at once.

    Parameters
    ----------
    hostname : str
        The frame's BMP, as configured. Nothing is sent to it before it is asked to do
        something.
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
        self._own_transceiver = Transceiver(hostname, self._abandoned)
        self._transceiver: BMPTransceiver = self._own_transceiver
        self._frame = FrameHardware(
            lambda: self._transceiver, self._abandoned, self.statistics, self._answering_changed
        )

        # Guards _queue, _stop, _holds, _ended; notified when any of them changes.
        self._changed = threading.Condition(threading.Lock())
        self._queue = RequestQueue()
        self._stop = False
        self._holds = 0
        self._ended = False

        # A daemon: a frame that is never stopped must not keep the process alive.
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
            self.statistics.requests += 1
            if self._ended:
                _log.warning("%s: requests added after the end", self.hostname)
            if not self._holds:
                self._changed.notify()

    def stop(self) -> None:
        """Let the thread end once all is done but background requests; returns at once."""
        with self._changed:
            self._stop = True
            self._changed.notify()

    def abandon(self) -> None:
        """Let the thread end within about a second, whatever it is doing.

        No callback is called for what is not done then; it is found in `unfinished`. A
        thread that is still inside `on_thread_start` or another callback has to return
        from there first.
        """
        self._abandoned.set()
        with self._changed:
            self._stop = True
            self._changed.notify()

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
        """Let the thread see what was added."""
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

    # --- the frame's thread only ---

    def _run(self) -> None:
        if self._on_thread_start is not None:
            self._call_back(self._on_thread_start)
        try:
            while (work := self._next_work()) is not None:
                if work:
                    self._do(work)
                else:
                    self._frame.probe()
        except AbandonedError:
            _log.info("%s: gives up %d requests", self.hostname, self.queue_length)
        finally:
            with self._changed:
                self._ended = True
            self._own_transceiver.close()

    def _next_work(self) -> Sequence[AtomicRequests] | None:
        """Wait for something to do: a batch, nothing (for a probe), or None for the end."""
        probe_at = _clock.monotonic() + _SECONDS_BETWEEN_PROBES
        while True:
            self._drop_overtaken()
            with self._changed:
                if self._abandoned.is_set():
                    return None
                now = _clock.monotonic()
                due: float | None = None
                if not self._holds:
                    if batch := self._queue.next_batch(now):
                        return batch
                    if self._stop and self._queue.is_idle:
                        return None
                    if batch := self._queue.next_background():
                        return batch
                    due = self._queue.next_due()
                if self._queue.is_idle and self.answering is False:
                    if now >= probe_at:
                        return ()
                    due = probe_at
                self._changed.wait(None if due is None else max(0.0, due - now))

    def _do(self, batch: Sequence[AtomicRequests]) -> None:
        """Try one batch, and answer those whose outcome is known."""
        with self._changed:
            due = self._queue.due_retries(_clock.monotonic())
        try:
            run = BatchRun(batch, self._frame, self._succeeded)
            run.run()
        except AbandonedError:
            raise
        except Exception:  # noqa: BLE001 - top of the thread; it is logged
            self._broke(batch)
            return
        retry_at = _clock.monotonic() + _SECONDS_BETWEEN_TRIES
        for request, faults in run.failed:
            self._failed(request, faults, retry_at)
        if run.silent and batch[0] in due:
            # Trying the others would find the same silence, one after the other.
            for request in due:
                if request is not batch[0]:
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
        if again:
            self.statistics.retries += 1
            _log.warning("%s; trying once more", reason, extra={"job_id": request.job_id})
        else:
            self.statistics.failures += 1
            _log.error("%s", reason, extra={"job_id": request.job_id})
            self._answer(request, False, reason)

    def _broke(self, batch: Sequence[AtomicRequests]) -> None:
        """Answer a batch that met a mistake of ours, so that it is not done for ever."""
        _log.exception("%s: batch failed", self.hostname)
        with self._changed:
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

    def _call_back(self, callback: Callable[..., object], *args: object) -> None:
        """Call out; what goes wrong there must not end the thread.

        SystemExit would end it without a word, and nobody interrupts it from a keyboard.
        """
        try:
            callback(*args)
        except BaseException:  # noqa: BLE001 - somebody else's code; it is logged
            _log.exception("%s: callback failed", self.hostname)
