"""The backlog: input of clients that has come and is not carried out yet.

Owns the lines of each peer, the order of the peers with whole lines that have yet to be taken, and
the bounds of one peer's turn.  Must not know how a command is carried out, nor how it is answered.
Loop thread only, but for calls from within, which have no bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from spalloc_server import _clock
from spalloc_server._wire import messages
from spalloc_server._wire.line_buffer import LineBuffer
from spalloc_server._wire.messages import Command, MalformedError
from spalloc_server._wire.peer import Peer

#: One client's commands in a turn: seconds, and how many, before another client has its turn.
SLICE, MOST_IN_A_SLICE = 0.0005, 128
#: Seconds of a turn for clients that send many commands at a time; others are served before.
SECONDS_OF_SLICES = 0.004
#: Blank lines that are skipped between two looks at the clock. # arbitrary
_BLANKS = 256


#: {client: bytes that came in and are not taken yet}
Buffers = MutableMapping[Any, "bytes | bytearray"]


class Backlog:
    """Input that waits, and the peers with whole lines in it.

    Parameters
    ----------
    buffers : callable
        Returns the server's table of input, which other programs may read, fill and replace.
    run : callable
        ``run(peer, command)`` carries out a command, and returns the monotonic time at which it
        was done.

    Attributes
    ----------
    peers : {peer: None}
        Those with whole lines, the next one first.
    """

    def __init__(
        self, buffers: Callable[[], Buffers], run: Callable[[Peer, Command], float]
    ) -> None:
        self._buffers = buffers
        self._run = run
        self.peers: dict[Peer, None] = {}
        # Bytes that each peer had sent at some moment, of those that are not served so far yet.
        self._served_before: dict[Peer, int] | None = None

    # --- lines ---

    def lines_of(self, peer: Peer) -> LineBuffer:
        """Return a peer's input, which others may have changed in the table."""
        held = self._buffers().get(peer.client, b"")
        if held is not peer.lines.held:
            peer.lines = LineBuffer(held)
        return peer.lines

    def _keep_rest(self, peer: Peer) -> None:
        """Note in the table that lines were taken."""
        rest = peer.lines.settle()
        buffers = self._buffers()
        if not peer.closed and (rest or peer.client in buffers):
            buffers[peer.client] = rest

    # --- turns ---

    def next_ones(self, until: float) -> Iterator[Peer]:
        """Hand out each peer once, at least one and the others as far as time goes.

        Parameters
        ----------
        until : float
            Monotonic time after which no other is handed out.
        """
        for peer in list(self.peers):
            if peer in self.peers:
                del self.peers[peer]
                yield peer
            if _clock.monotonic() >= until:
                return

    def run_slice(self, peer: Peer, *, bounded: bool) -> None:
        """Run commands of a peer until it is another's turn, or it must read its answers.

        Parameters
        ----------
        peer : Peer
        bounded : bool
            Whether others have their turns, too; else the peer has all the time there is.

        Raises
        ------
        MalformedError
            If a line is no command; those before it were carried out, those behind are dropped.
        """
        try:
            self._run_slice(peer, bounded=bounded)
        except MalformedError:
            peer.lines.clear()
            raise
        finally:
            self._keep_rest(peer)

    def _run_slice(self, peer: Peer, *, bounded: bool) -> None:
        lines = peer.lines
        until = _clock.monotonic() + SLICE if bounded else math.inf
        most = MOST_IN_A_SLICE if bounded else math.inf
        done = blanks = 0
        while not (peer.paused or peer.closed) and (line := lines.next_line()) is not None:
            if not line or line.isspace():
                blanks += 1
                if not blanks % _BLANKS and _clock.monotonic() >= until:
                    return
                continue
            ended = self._run(peer, messages.decode(line))
            done += 1
            if done >= most or ended >= until:
                return

    # --- deadlines ---

    def begin_to_note(self) -> None:
        """Have `all_served` tell of the commands that have come by its next call."""
        self._served_before = None

    def all_served(self) -> bool:
        """Whether all commands were run that had come in at the first call.

        Every socket that was readable then has been read since; of clients that send
        many commands at a time some may wait, here or in the socket.
        """
        before = self._served_before
        if before is None:
            before = {peer: peer.bytes_come() for peer in self.peers}
        self._served_before = {
            peer: bytes_come
            for peer, bytes_come in before.items()
            if peer in self.peers and peer.bytes_served() < bytes_come
        }
        return not self._served_before
