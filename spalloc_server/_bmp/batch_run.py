"""Does one batch of requests on the hardware, and sorts out whose fault a fault is.

Owns the phases of a batch and each request's own outcome. Knows nothing of threads,
queues or second tries; the hardware is behind `FrameHardware`.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from enum import Enum

from spalloc_server._bmp.frame_hardware import FrameHardware, FrameSilentError
from spalloc_server._bmp.interface import AbandonedError, describe
from spalloc_server._bmp.request_batch import in_order, links_to_set
from spalloc_server._bmp.requests import AtomicRequests, BoardFault, LinkRequest

#: How often boards are powered on, in all, until their FPGAs come up right.
POWER_ON_TRIES = 3


class _State(Enum):
    """What became of one request of the batch."""

    LIVE = "not finished"
    DONE = "finished well"
    FAILED = "this try failed"
    HELD = "has to wait behind one that failed"


class _Progress:
    """One request on its way through the batch."""

    __slots__ = ("boards", "complete", "faults", "links", "request", "state")

    def __init__(self, request: AtomicRequests, links: list[LinkRequest]) -> None:
        self.request = request
        self.links = links
        self.boards = request.boards
        self.state = _State.LIVE
        self.complete = False
        self.faults: list[BoardFault] = []


class BatchRun:
    """One try of one batch.

    Parameters
    ----------
    batch : sequence of AtomicRequests
        In order of arrival; may be done together (see `_bmp.request_batch`).
    frame : FrameHardware
        The hardware.
    on_success : callable
        ``on_success(request)``, called as soon as a request is finished and nothing that
        is still under way can touch its boards.

    Attributes
    ----------
    failed : list of (AtomicRequests, faults)
        Those whose try failed, in order of arrival, each with its list of BoardFault,
        which is empty if the frame's silence was the reason. Requests that are neither
        here nor were finished have not had their try.
    silent : bool
        True if the frame stopped answering.
    """

    def __init__(
        self,
        batch: Sequence[AtomicRequests],
        frame: FrameHardware,
        on_success: Callable[[AtomicRequests], None],
    ) -> None:
        self.silent = False
        self._frame = frame
        self._on_success = on_success
        self._all = [
            _Progress(request, links)
            for request, links in zip(batch, links_to_set(batch), strict=True)
        ]

    @property
    def failed(self) -> list[tuple[AtomicRequests, list[BoardFault]]]:
        """See the class."""
        return [
            (progress.request, progress.faults)
            for progress in self._all
            if progress.state is _State.FAILED
        ]

    def run(self) -> None:
        """Do it.

        Raises
        ------
        AbandonedError
            If the frame's thread was told to give up.
        """
        phases: list[tuple[Callable[[], None], Callable[[_Progress], object]]] = [
            (self._power_on, lambda p: p.request.power_on_boards),
            (self._check_fpgas, lambda p: p.request.power_on_boards),
            (self._set_links, lambda p: p.links and not p.complete),
            (self._power_off, lambda p: p.request.power_off_boards),
        ]
        for phase, takes_part in phases:
            try:
                phase()
            except FrameSilentError:
                self.silent = True
                for progress in self._live():
                    if takes_part(progress):
                        progress.state = _State.FAILED
                return
            self._settle()

    # --- phases ---

    def _power_on(self) -> None:
        self._switch(True, {p: in_order(p.request.power_on_boards) for p in self._live()})

    def _check_fpgas(self) -> None:
        """Check what was powered on, and power-cycle boards that came up wrong."""
        wrong = self._wrong_boards(p.request.power_on_boards for p in self._live())
        for _ in range(POWER_ON_TRIES - 1):
            if not wrong:
                break
            self._go_on_without(wrong)
            again = {
                progress: [b for b in in_order(progress.request.power_on_boards) if b in wrong]
                for progress in self._live()
            }
            self._switch(True, again)
            wrong = self._wrong_boards(again[progress] for progress in self._live())
        for board, what in wrong.items():
            self._blame(BoardFault(board, what, "fpga"))
        for progress in self._live():
            progress.complete = not progress.links and not progress.request.power_off_boards

    def _set_links(self) -> None:
        self._settle(self._set_links_of)

    def _power_off(self) -> None:
        """Power off, also what a failed background request has powered on.

        It is not tried again, and nobody owns its board.
        """
        self._switch(
            False,
            {
                p: in_order(p.request.power_off_boards)
                for p in self._all
                if p.state is _State.LIVE or (p.state is _State.FAILED and p.request.background)
            },
        )
        for progress in self._live():
            progress.complete = True

    # --- helpers ---

    def _go_on_without(self, wrong: Iterable[int]) -> None:
        """Set the links of requests that need not wait for boards to be power-cycled."""
        waiting = set(wrong)
        for progress in self._all:
            if progress.state is _State.LIVE and not progress.boards & waiting:
                self._set_links_of(progress)
            elif progress.state is not _State.DONE:
                waiting |= progress.boards
        self._settle()

    def _set_links_of(self, progress: _Progress) -> None:
        for link in progress.links:
            try:
                self._frame.set_link(link)
            except (AbandonedError, FrameSilentError):
                raise
            except Exception as error:  # noqa: BLE001 - one hardware request
                self._fail(progress, [BoardFault(link.board, describe(error), "link")])
                return
        progress.links = []
        progress.complete = not progress.request.power_off_boards

    def _switch(self, on: bool, wanted: dict[_Progress, list[int]]) -> None:
        """Give one power command for all; if it is refused, one for each request."""
        wanted = {progress: boards for progress, boards in wanted.items() if boards}
        boards = in_order(board for boards in wanted.values() for board in boards)
        if not boards:
            return
        error = self._power(on, boards)
        if error is None:
            return
        if len(wanted) == 1:
            (progress,) = wanted
            self._refused(progress, on, boards, error)
        else:
            self._switch_one_by_one(on, wanted)

    def _switch_one_by_one(self, on: bool, wanted: dict[_Progress, list[int]]) -> None:
        """Give one power command for each request that asks for more than those before."""
        switched: set[int] = set()
        for progress, boards in wanted.items():
            if switched.issuperset(boards):
                continue
            error = self._power(on, boards)
            if error is None:
                switched.update(boards)
            else:
                self._refused(progress, on, boards, error)

    def _power(self, on: bool, boards: list[int]) -> Exception | None:
        """Give one power command; silence is the frame's, anything else is returned."""
        try:
            self._frame.power(on, boards)
        except (AbandonedError, FrameSilentError):
            raise
        except Exception as error:  # noqa: BLE001 - one hardware request
            return error
        return None

    def _refused(
        self, progress: _Progress, on: bool, boards: Iterable[int], error: Exception
    ) -> None:
        what = describe(error)
        during = "power_on" if on else "power_off"
        self._fail(progress, [BoardFault(board, what, during) for board in boards])

    def _wrong_boards(self, boards: Iterable[Iterable[int]]) -> dict[int, str]:
        """Check boards; those that cannot even be asked fail their requests."""
        wrong: dict[int, str] = {}
        for board in in_order(itertools.chain.from_iterable(boards)):
            try:
                what = self._frame.wrong_fpgas(board)
            except (AbandonedError, FrameSilentError):
                raise
            except Exception as error:  # noqa: BLE001 - one hardware request
                self._blame(BoardFault(board, describe(error), "fpga"))
            else:
                if what is not None:
                    wrong[board] = what
        return wrong

    def _blame(self, fault: BoardFault) -> None:
        """Fail every request that wants the board powered on."""
        for progress in self._all:
            if (
                progress.state in (_State.LIVE, _State.FAILED)
                and fault.board in progress.request.power_on_boards
            ):
                self._fail(progress, [fault])

    def _fail(self, progress: _Progress, faults: Iterable[BoardFault]) -> None:
        progress.state = _State.FAILED
        progress.faults.extend(faults)

    def _live(self) -> list[_Progress]:
        return [progress for progress in self._all if progress.state is _State.LIVE]

    def _settle(self, step: Callable[[_Progress], None] | None = None) -> None:
        """Finish what is complete; hold back what comes behind a failure.

        `step` is done for each request in turn, unless it is held back.

        A request that follows a failed one on a board must not go on: the failed one
        will be tried again, and has to be done with that board first. For the same
        reason none is finished before those in front of it on its boards.
        """
        stuck: set[int] = set()
        unfinished: set[int] = set()
        for progress in self._all:
            if progress.state is _State.DONE:
                continue
            if progress.state is _State.LIVE and progress.boards & stuck:
                progress.state = _State.HELD
            if step is not None and progress.state is _State.LIVE:
                step(progress)
            if progress.state is not _State.LIVE:
                stuck |= progress.boards
            elif progress.complete and not progress.boards & unfinished:
                progress.state = _State.DONE
                self._on_success(progress.request)
                continue
            unfinished |= progress.boards
