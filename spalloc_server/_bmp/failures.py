"""Why a frame could not do a request: faulty boards, silence.

Owns the reason that is told with a failure, and the facts that it carries. Knows nothing
of the requests themselves, of hardware or of threads.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class BoardFault(NamedTuple):
    """A fault of one board.

    Attributes
    ----------
    board : int
        Number of the board within its frame.
    what : str
        The fault, for people.
    during : str
        ``"power_on"``, ``"fpga"``, ``"link"`` or ``"power_off"``.
    """

    board: int
    what: str
    during: str


class FailureReason(str):
    """Why a request failed: a text that also carries the facts.

    Attributes
    ----------
    faults : tuple of BoardFault
        The boards known to be at fault; empty if that is not known.
    silent : bool
        True if the frame did not answer at all.
    """

    __slots__ = ("faults", "silent")

    faults: tuple[BoardFault, ...]
    silent: bool

    def __new__(
        cls, text: str, faults: Iterable[BoardFault] = (), silent: bool = False
    ) -> FailureReason:
        """Make a reason that reads `text`."""
        reason = super().__new__(cls, text)
        reason.faults = tuple(faults)
        reason.silent = silent
        return reason
