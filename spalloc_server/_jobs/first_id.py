"""The id of the first job of a fresh state.

It is 1, unless an earlier state may have given ids out that are not known any more: clients
of then would take another's job for theirs.  Knows no files.
"""

from __future__ import annotations

from collections.abc import Sequence

from spalloc_server import _clock

#: The word for an id made of the time.
CLOCK = "clock"

#: 2025-01-01, 00:00 UTC, as Unix time.
_EPOCH = 1_735_689_600

#: Ids of a first job are below this: some programs keep them in 32 bits.
LIMIT = 2**31


def first_id(known: int, wanted: int | str | None, traces: Sequence[str]) -> tuple[int, str]:
    """Return the id of the first job of a fresh state, and the reason if it is not `known`.

    Parameters
    ----------
    known : int
        An id above all that are known to have been given out.
    wanted : int, "clock" or None
        The operator's choice; "clock" is the number of seconds since 2025.
    traces : sequence of str
        Names of files that tell of an earlier state whose ids are not all known.
    """
    if wanted is None and not traces:
        return known, ""
    reason = "as it was asked for"
    if wanted is None:
        reason = f"an earlier state, told by {', '.join(traces)}, may have given out others"
    number = wanted if isinstance(wanted, int) else _by_clock()
    return (number, reason) if number > known else (known, "")


def _by_clock() -> int:
    return min(max(int(_clock.wall()) - _EPOCH, 1), LIMIT - 1)
