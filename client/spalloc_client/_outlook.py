"""Words for the prospects of waiting jobs, from the server's own outlook."""

from collections.abc import Iterable

from spalloc_client._extensions import Obstacle, Outlook
from spalloc_client._text import clean, when

#: Units of time: a span is told in the largest of which it has two, or in the next below.
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))


def span(seconds: float) -> str:
    """Tell a number of seconds roughly, as in ``45 s``, ``12 min`` or ``3 h``."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


def place_text(outlook: Outlook) -> str:
    """Tell a job's place in line, and which jobs are ahead; empty if that is not known."""
    if outlook.position is None:
        return ""
    if not outlook.ahead:
        return "first in line"
    ahead = ", ".join(map(str, outlook.first_ahead))
    if outlook.first_ahead and len(outlook.first_ahead) < outlook.ahead:
        ahead += " ..."
    jobs = f"{outlook.ahead} job{'s' * (outlook.ahead != 1)} ahead"
    return f"number {outlook.position} in line, {jobs}" + (f": {ahead}" if ahead else "")


def why_text(outlook: Outlook) -> str:
    """Tell why a job waits; machines are named where they differ, or are several."""
    by_why: dict[str, list[str]] = {}
    for obstacle in outlook.obstacles:
        by_why.setdefault(_with_end(obstacle), []).append(clean(obstacle.machine))
    if len(outlook.obstacles) == 1:
        return next(iter(by_why))
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in by_why.items())


def expected_text(outlook: Outlook) -> str:
    """Tell how long it may take; empty without enough history."""
    if outlook.expected is None:
        return ""
    low, high = outlook.expected
    return f"similar requests waited {span(low)} to {span(high)} lately; not promised"


def brief_text(outlook: Outlook) -> str:
    """Tell place, reason and expectation in one line."""
    return "; ".join(part for part in _parts(outlook) if part)


def _parts(outlook: Outlook) -> Iterable[str]:
    yield place_text(outlook)
    yield why_text(outlook)
    yield expected_text(outlook)


def _with_end(obstacle: Obstacle) -> str:
    why = clean(obstacle.why)
    if obstacle.until is None or "until" in why:
        return why
    return f"{why} (until {when(obstacle.until)})"
