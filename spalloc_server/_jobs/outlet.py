"""Where a controller's outcomes and requests go.

Owns the outlet of a controller by itself, `AtOnce`: nobody keeps the outcomes, and frames are
asked at once.  The server's is in `_jobs.write_ahead`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from spalloc_server._bmp.requests import AtomicRequests
    from spalloc_server._jobs.book import Outcome
    from spalloc_server.async_bmp_controller import AsyncBMPController


class Outlet(Protocol):
    """Where a controller's outcomes and requests go; all under the controller's lock."""

    def note(self, outcome: Outcome) -> None:
        """Take one outcome."""

    def send(self, frame: AsyncBMPController, request: AtomicRequests) -> None:
        """Ask a frame for something."""

    def stop(self, frame: AsyncBMPController) -> None:
        """Have a frame end behind all that it was asked for."""

    def drop_requests(self) -> None:
        """Forget the requests that no frame has been asked for yet."""


class AtOnce:
    """The outlet of a controller by itself: outcomes are not kept, requests not held back."""

    def note(self, outcome: Outcome) -> None:
        """Forget the outcome."""

    def send(self, frame: AsyncBMPController, request: AtomicRequests) -> None:
        """Ask the frame now."""
        frame.add_requests(request)

    def stop(self, frame: AsyncBMPController) -> None:
        """Have the frame end, now."""
        frame.stop()

    def drop_requests(self) -> None:
        """Do nothing: none are held back."""
