"""All memory that clients can make the server hold, counted in one place.

Owns the sum over all clients of unfinished input, unread output and watches, and the choice of
the client to drop if the sum is too large.  Loop thread only.
"""

from __future__ import annotations

from collections.abc import Collection

from spalloc_server._wire.peer import Peer

#: Bytes that all clients together may make the server hold.
MAX_TOTAL = 256 << 20


class Memory:
    """Bytes that clients make the server hold.

    Attributes
    ----------
    total : int
        Of all clients that were counted.
    """

    __slots__ = ("total",)

    def __init__(self) -> None:
        self.total = 0

    def count(self, peer: Peer) -> None:
        """Count a peer anew, since its input, output or watches changed."""
        weight = peer.weigh()
        self.total += weight - peer.weight
        peer.weight = weight

    def release(self, peer: Peer) -> None:
        """Count a peer no longer."""
        self.total -= peer.weight
        peer.weight = 0

    def fullest(self, peers: Collection[Peer]) -> Peer | None:
        """Return the peer to drop next; None while all hold no more than they may."""
        if self.total <= MAX_TOTAL:
            return None
        return max(peers, key=lambda peer: peer.weight, default=None)
