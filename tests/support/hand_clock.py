"""Both of the server's clocks, moved by hand."""

import pytest

from spalloc_server import _clock


class HandClock:
    """Stands for both clocks of `_clock` during a test.

    Attributes
    ----------
    now, today : float
        Monotonic seconds, and Unix time.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 5000.0
        self.today = 1_700_000_000.0
        monkeypatch.setattr(_clock, "monotonic", lambda: self.now)
        monkeypatch.setattr(_clock, "wall", lambda: self.today)

    def advance(self, seconds: float) -> None:
        """Let time pass on both."""
        self.now += seconds
        self.today += seconds
