"""Watches of clients: on jobs by id and machines by name, or on all of them.

Owns the rules by which watches come and go, and the memory that one takes.  The tables
{client: set of ids or names, or None for all} belong to the server, where other programs may read
and fill them.
"""

from __future__ import annotations

import sys
from typing import Any

#: Ids or names that one client may watch (protocol).
MAX_WATCHED = 10_000
#: Bytes that an element of a set takes beside the object itself, on the average.
_BYTES_IN_SET = 64

Watches = dict[Any, "set[Any] | None"]


def watch(watches: Watches, client: Any, name: int | str | None, kind: str) -> None:
    """Have a client told of changes to one job or machine, or to all (None).

    Raises
    ------
    ValueError
        If it watches too many already.
    """
    if name is None:
        watches[client] = None
        return
    watched = watches.setdefault(client, set())
    if watched is None or name in watched:
        return
    if len(watched) >= MAX_WATCHED:
        raise ValueError(
            f"{len(watched)} {kind} are watched already, {MAX_WATCHED} are allowed; "
            "null watches all"
        )
    watched.add(name)


def unwatch(watches: Watches, client: Any, name: int | str | None) -> None:
    """Have a client told no more of one job or machine, or of any (None)."""
    if name is None:
        watches.pop(client, None)
        return
    watched = watches.get(client)
    if watched is not None:
        watched.discard(name)
        if not watched:
            del watches[client]


def how_many(watches: Watches, client: Any) -> int:
    """Return how many ids or names a client watches; watching all counts as none."""
    return len(watches.get(client) or ())


def bytes_of(name: int | str | None) -> int:
    """Return the bytes of memory that watching one id or name takes."""
    # The allocator needs a quarter more than the object.
    return sys.getsizeof(name) * 5 // 4 + _BYTES_IN_SET
