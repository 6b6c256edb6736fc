"""Does one batch of requests on the hardware, and attributes each fault to a request.

Owns the phases of a batch, which links are set in it, and each request's own outcome.
Knows nothing of threads, queues or second tries; the hardware is behind `FrameHardware`.

While boards that were switched on configure their FPGAs, the run is suspended::

    power on -> set links and power off where no board configures
             -> (suspended) -> check FPGAs -> set links -> power off

Boards with wrong FPGAs are switched on again and the run is suspended once more. A
transceiver that blocks until the FPGAs are usable leaves nothing to wait for.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from enum import Enum

from spalloc_server._bmp.failures import BoardFault
from spalloc_server._bmp.frame_hardware import FrameHardware, FrameSilentError
from spalloc_server._bmp.interface import AbandonedError, describe
from spalloc_server._bmp.requests import AtomicRequests, LinkRequest
from spalloc_server._bmp.transceiver import FPGAWait

#: How often boards are powered on, in all, until their FPGAs come up right.
POWER_ON_TRIES = 3


class _State(Enum):
    """The outcome so far of one request of the batch."""

    LIVE = "not finished"
    DONE = "finished well"
    FAILED = "this try failed"
    BEHIND = "has to wait behind one that failed"


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
        In order of arrival; may be done together (see `_bmp.requests`).
    frame : FrameHardware
        The hardware.
    on_success : callable
        ``on_success(request)``, called as soon as a request is finished and nothing that
        is still under way can touch its boards.

    Attributes
    ----------
    failed : list of (AtomicRequests, faults)
        The requests that failed this time, in order of arrival, each with its list of BoardFault,
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
        # True for a request that silence of the frame would fail now.
        self._takes_part: Callable[[_Progress], object] = frozenset[_Progress]().__contains__
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

    def run(self) -> Iterator[list[FPGAWait]]:
        """Do it; the iterator ends when the batch has had its try.

        Yields
        ------
        list of FPGAWait
            The run is to be continued when all of them are over.

        Raises
        ------
        AbandonedError
            If the frame's thread was told to give up.
        """
        try:
            yield from self._run()
        except FrameSilentError:
            self.silent = True
            for progress in self._live():
                if self._takes_part(progress):
                    progress.state = _State.FAILED

    # --- phases ---

    def _run(self) -> Iterator[list[FPGAWait]]:
        switched = {p: in_order(p.request.power_on_boards) for p in self._live()}
        waits = self._switch(True, switched)
        self._settle()
        tries_left = POWER_ON_TRIES
        while True:
            tries_left -= 1
            if waits:
                self._finish(self._untouched_by(itertools.chain(*switched.values())))
                yield waits
            wrong = self._wrong_boards(switched)
            if not wrong or not tries_left:
                break
            self._finish(self._untouched_by(wrong))
            switched = {
                progress: [board for board in switched[progress] if board in wrong]
                for progress in self._live()
                if progress in switched
            }
            waits = self._switch(True, switched)
        for board, what in wrong.items():
            self._blame(BoardFault(board, what, "fpga"))
        self._finish(self._all)

    def _untouched_by(self, boards: Iterable[int]) -> list[_Progress]:
        """List requests that wait neither for boards nor behind requests that do."""
        awaited = set(boards)
        untouched = []
        for progress in self._all:
            if progress.state is _State.LIVE and not progress.boards & awaited:
                untouched.append(progress)
            elif progress.state is not _State.DONE:
                awaited |= progress.boards
        return untouched

    def _finish(self, group: Collection[_Progress]) -> None:
        """Set the links of requests, for their boards are on, and power off."""
        for progress in group:
            progress.complete = not progress.links and not progress.request.power_off_boards
        self._takes_part = lambda p: p in group and p.links and not p.complete
        self._settle()
        self._settle(lambda p: self._set_links_of(p) if p in group else None)
        self._power_off(group)
        self._settle()

    def _power_off(self, group: Collection[_Progress]) -> None:
        """Power off, also boards that a failed background request has powered on.

        It is not tried again, and nobody owns its board.
        """
        self._switch(
            False,
            {
                p: in_order(p.request.power_off_boards)
                for p in group
                if p.state is _State.LIVE or (p.state is _State.FAILED and p.request.background)
            },
        )
        for progress in group:
            progress.complete = progress.complete or progress.state is _State.LIVE

    # --- helpers ---

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

    def _switch(self, on: bool, wanted: dict[_Progress, list[int]]) -> list[FPGAWait]:
        """Give one power command for all; if it is refused, one for each request.

        Returns the waits after power-on that the transceiver left to us.
        """
        wanted = {progress: boards for progress, boards in wanted.items() if boards}
        boards = in_order(board for boards in wanted.values() for board in boards)
        self._takes_part = wanted.__contains__
        waits: list[FPGAWait] = []
        if not boards:
            return waits
        error = self._power(on, boards, waits)
        if error is not None and len(wanted) == 1:
            (progress,) = wanted
            self._refused(progress, on, boards, error)
        elif error is not None:
            self._switch_one_by_one(on, wanted, waits)
        return waits

    def _switch_one_by_one(
        self, on: bool, wanted: dict[_Progress, list[int]], waits: list[FPGAWait]
    ) -> None:
        """Give one power command for each request that asks for more than those before."""
        switched: set[int] = set()
        for progress, boards in wanted.items():
            if switched.issuperset(boards):
                continue
            error = self._power(on, boards, waits)
            if error is None:
                switched.update(boards)
            else:
                self._refused(progress, on, boards, error)

    def _power(self, on: bool, boards: list[int], waits: list[FPGAWait]) -> Exception | None:
        """Give one power command; silence is the frame's, anything else is returned."""
        try:
            wait = self._frame.power(on, boards)
        except (AbandonedError, FrameSilentError):
            raise
        except Exception as error:  # noqa: BLE001 - one hardware request
            return error
        if wait is not None:
            waits.append(wait)
        return None

    def _refused(
        self, progress: _Progress, on: bool, boards: Iterable[int], error: Exception
    ) -> None:
        what = describe(error)
        during = "power_on" if on else "power_off"
        self._fail(progress, [BoardFault(board, what, during) for board in boards])

    def _wrong_boards(self, switched: dict[_Progress, list[int]]) -> dict[int, str]:
        """Check boards that were switched on; a board that cannot be asked fails its requests."""
        wrong: dict[int, str] = {}
        self._takes_part = lambda p: p.request.power_on_boards
        live = [boards for p, boards in switched.items() if p.state is _State.LIVE]
        for board in in_order(itertools.chain.from_iterable(live)):
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
        """Finish complete requests; have those behind a failure wait.

        `step` is done for each request in turn, unless it has to wait.

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
                progress.state = _State.BEHIND
            if step is not None and progress.state is _State.LIVE:
                step(progress)
            if progress.state is not _State.LIVE:
                stuck |= progress.boards
            elif progress.complete and not progress.boards & unfinished:
                progress.state = _State.DONE
                self._on_success(progress.request)
                continue
            unfinished |= progress.boards


def in_order(boards: Iterable[int]) -> list[int]:
    """Each board once, in the order of first sight."""
    return list(dict.fromkeys(boards))


def links_to_set(batch: Sequence[AtomicRequests]) -> list[list[LinkRequest]]:
    """List the links that each request of a batch has to set.

    Links of a board that a later request of the batch switches are left out: the
    switching would undo them.

    Parameters
    ----------
    batch : sequence of AtomicRequests
        In order of arrival.

    Returns
    -------
    list of list of LinkRequest
        One list per request, in the same order.
    """
    switched_later: set[int] = set()
    links: list[list[LinkRequest]] = []
    for request in reversed(batch):
        links.append([link for link in request.link_requests if link.board not in switched_later])
        switched_later.update(request.power_on_boards, request.power_off_boards)
    links.reverse()
    return links
