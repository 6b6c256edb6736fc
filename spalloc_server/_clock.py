"""The one place that reads clocks, so that a test replaces time here.

Callers write ``_clock.monotonic()``, never ``from ... import monotonic``.
"""

import time
from datetime import datetime

import pytz

#: Seconds on a clock that never steps; for deadlines and rest times.
monotonic = time.monotonic


def wall() -> float:
    """Unix time, UTC, in seconds; only for times that people read."""
    return datetime.now(pytz.utc).timestamp()
