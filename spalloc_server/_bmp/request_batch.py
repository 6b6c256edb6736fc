"""Which waiting requests may be done together, and which of their links are set.

Owns the rules of order and merging. Pure: no hardware, threads or clocks.

A batch is done in four phases, each for all of its requests at once::

    power on  ->  check FPGAs  ->  set links  ->  power off

Per board everything stays first come, first served, so a request joins a batch only if
on each of its boards it begins no earlier in that row than the requests before it got
to, and if no request that it would overtake names one of its boards.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum

from spalloc_server._bmp.requests import AtomicRequests, LinkRequest


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
