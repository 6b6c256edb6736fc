"""Programs that tests start without having coverage measured."""

import os


def unmeasured() -> dict[str, str]:
    """Return the environment for a program that a signal will strike.

    Our signal handlers raise exceptions. Coverage has a lock that it holds for moments; an
    exception at such a moment leaves it locked, and the program waits for ever.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("COVERAGE_PROCESS_")
    }
