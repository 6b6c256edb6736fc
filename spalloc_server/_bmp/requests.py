"""Requests to a frame.

Owns the data that passes between the controller and a frame's thread. Knows nothing
of hardware, threads or the order in which requests are done.
"""

from __future__ import annotations

from collections.abc import Callable
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
