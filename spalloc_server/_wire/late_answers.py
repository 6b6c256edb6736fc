"""Answers that other threads work out, on their way back to the loop.

Owns the answers that have come and are not sent yet.  Must not know the questions, nor how an
answer is sent.
"""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from spalloc_server._wire.peer import Peer


class Later:
    """The value of a command that is answered when another thread has it.

    Parameters
    ----------
    ask : callable
        Called with a function that takes the answer, as JSON, from any thread.
    """

    __slots__ = ("ask",)

    def __init__(self, ask: Callable[[Callable[[bytes], None]], object]) -> None:
        self.ask = ask

    def wait(self) -> Any:
        """Wait for the answer, and return it; not for the loop."""
        answers: list[bytes] = []
        done = threading.Event()

        def take(answer: bytes) -> None:
            answers.append(answer)
            done.set()

        self.ask(take)
        done.wait()
        return json.loads(answers[0])


class LateAnswers:
    """Answers of other threads; loop thread, but where they come in.

    Parameters
    ----------
    wake : callable
        Called without arguments, from any thread, when an answer has come.

    Attributes
    ----------
    come : deque
        (peer, answer as JSON), the oldest first.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self.come: deque[tuple[Peer, bytes]] = deque()

    def ask(self, peer: Peer, later: Later) -> None:
        """Have another thread work out an answer; until then the peer waits."""
        peer.awaits = True

        def take(answer: bytes) -> None:
            self.come.append((peer, answer))
            self._wake()

        later.ask(take)

    def take(self) -> Iterator[tuple[Peer, bytes]]:
        """Hand out the answers that have come, for peers that can still be answered."""
        while self.come:
            peer, answer = self.come.popleft()
            peer.awaits = False
            if not peer.closed and not peer.gone:
                yield peer, answer
