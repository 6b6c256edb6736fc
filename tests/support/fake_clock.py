"""A monotonic clock that a test moves by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from spalloc_server import _clock


class FakeClock:
    """Stands still until told otherwise.

    Attributes
    ----------
    now : float
        Seconds; begins anywhere, as a monotonic clock does.
    """

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds

    @contextmanager
    def installed(self) -> Iterator["FakeClock"]:
        """Let everything read this clock."""
        with patch.object(_clock, "monotonic", self.monotonic):
            yield self
