"""The controller that a server begins with: of a saved state, or a fresh one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spalloc_server._jobs.first_id import first_id
from spalloc_server.controller import Controller

if TYPE_CHECKING:
    from spalloc_server._jobs.book import Book
    from spalloc_server._jobs.outlet import Outlet

log = logging.getLogger(__name__)


def revive(state: Book, outlet: Outlet) -> Controller | None:
    """Return the controller of a saved state; None if that contradicts itself."""
    try:
        controller = Controller.restore(state, outlet)
    except (LookupError, TypeError, ValueError, AttributeError):
        log.exception("the saved state contradicts itself: it is kept aside, the jobs lost")
        return None
    log.info("jobs taken over from the saved state: %d", len(controller.list_jobs()))
    return controller


def begin_anew(
    known: int, wanted: int | str | None, traces: Sequence[str], outlet: Outlet
) -> Controller:
    """Return a controller without jobs; see `first_id` for the other parameters."""
    number, reason = first_id(known, wanted, traces)
    if reason:
        log.warning("ids of jobs begin at %d: %s", number, reason)
    return Controller(next_id=number, outlet=outlet)
