"""A thread's rests, which a test ends one by one."""

from __future__ import annotations

from queue import SimpleQueue

from tests.support.simulated_server import PATIENCE


class Rests:
    """Stands for the event that ends a thread's rests; each `set` ends one."""

    def __init__(self) -> None:
        self._begun: SimpleQueue[float | None] = SimpleQueue()
        self._over: SimpleQueue[None] = SimpleQueue()

    def begin(self) -> float | None:
        """Wait until the thread rests, and return for how many seconds it would."""
        return self._begun.get(timeout=PATIENCE)

    def wait(self, timeout: float | None = None) -> None:
        self._begun.put(timeout)
        self._over.get(timeout=PATIENCE)

    def set(self) -> None:
        self._over.put(None)

    def is_set(self) -> bool:
        return not self._over.empty()

    def clear(self) -> None:
        """A rest that was ended stays so."""
