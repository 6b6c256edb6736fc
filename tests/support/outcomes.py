"""A controller whose outcomes a test hears of."""

from __future__ import annotations

from collections.abc import Callable

from spalloc_server._jobs.book import Outcome
from spalloc_server._jobs.outlet import AtOnce
from spalloc_server.controller import Controller


class Told(AtOnce):
    """An outlet that calls a function with each outcome."""

    def __init__(self, hear: Callable[[Outcome], object]) -> None:
        self._hear = hear

    def note(self, outcome: Outcome) -> None:
        """Pass an outcome on."""
        self._hear(outcome)


def hear_outcomes(controller: Controller, hear: Callable[[Outcome], object]) -> None:
    """Have a function called with each outcome of a controller from now on."""
    controller._records.outlet = Told(hear)
