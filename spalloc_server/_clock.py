"""The one place that reads clocks, so that a test replaces time here.

Callers write ``_clock.monotonic()``, never ``from ... import monotonic``.
"""

import time

#: Seconds on a clock that never steps; for deadlines and rest times.
monotonic = time.monotonic

#: Unix time, UTC, in seconds; only for times that people read.
wall = time.time
