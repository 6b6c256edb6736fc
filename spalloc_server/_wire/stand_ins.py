"""Objects that other programs put in the place of ours.

Test suites and scripts written for the original server hand in clients that are no sockets and
controllers with the specified methods only.  All that is done for them alone is here, so that
the loop need not know them.  Must not be needed by a server that nobody tampers with.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from spalloc_server.controller import Controller

log = logging.getLogger(__name__)


def bytes_taken(sent: object, length: int) -> int:
    """Return how many of `length` bytes a `send` took, from the value that it returned.

    A stand-in's ``send`` may return anything but a number; then it took all bytes.
    """
    return sent if isinstance(sent, int) else length


def address(client: Any) -> str | None:
    """Return the IP address of a client; None if it has none, or calls something else one."""
    try:
        told = client.getpeername()
        name = told[0] if told else None  # the other end of a Unix socket has no address
    except Exception as e:  # noqa: BLE001 - stand-ins need not have an address
        log.debug("a client has no address: %s", e)
        return None
    return name if isinstance(name, str) else None


def is_ours(controller: object) -> bool:
    """Whether a controller is one of ours, also if it is a `Mock` that claims to be one."""
    return issubclass(type(controller), Controller)


class OtherController:
    """A controller with the specified methods only, for the loop.

    Such a controller does not say when it has something to do: `tend` asks it to
    do everything, each turn.
    """

    undisturbed: AbstractContextManager[Any] = nullcontext()

    def __init__(self, controller: Any) -> None:
        self._controller = controller

    def take_changes(self) -> None:
        """Return no changes: `changed_jobs` and `changed_machines` tell them."""

    def next_due(self, _now: float) -> None:
        """Return no time."""

    def tend(self) -> None:
        """End the jobs whose time is over, and give out boards that have rested."""
        self._controller.destroy_timed_out_jobs()
        self._controller.check_free()


def adapted(controller: Any) -> Any:
    """Return a controller, or an adapter of one that other programs put in the place of ours."""
    return controller if is_ours(controller) else OtherController(controller)


def principal_of(controller: Any, job_id: int) -> str | None:
    """Return the identity that a job belongs to; None if the controller knows no identities."""
    return controller.belonging.principal_of(job_id) if is_ours(controller) else None


def stop(controller: Any, join_frames: Callable[[Any], object]) -> None:
    """Stop a controller that was put in the place of ours."""
    try:
        controller.stop()
        if is_ours(controller):
            join_frames(controller.frames)
        else:
            controller.join()
    except Exception:
        log.exception("the controller that was put in the place of ours did not stop")
