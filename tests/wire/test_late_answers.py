"""Answers of other threads come back to the loop."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from spalloc_server._wire.late_answers import LateAnswers, Later
from spalloc_server._wire.peer import Peer

Take = Callable[[bytes], None]


@pytest.fixture
def asked() -> list[Take]:
    """The functions that take the answers of the questions so far."""
    return []


@pytest.fixture
def wakes() -> list[None]:
    return []


@pytest.fixture
def late(wakes: list[None]) -> LateAnswers:
    return LateAnswers(lambda: wakes.append(None))


def test_a_peer_waits_until_its_answer_is_taken(
    late: LateAnswers, asked: list[Take], wakes: list[None]
) -> None:
    peer = Peer(object())

    late.ask(peer, Later(asked.append))
    assert peer.awaits
    assert list(late.take()) == []
    asked[0](b"[7]")
    assert wakes == [None]

    assert list(late.take()) == [(peer, b"[7]")]
    assert not peer.awaits
    assert not late.come


@pytest.mark.parametrize("end", ["closed", "gone"])
def test_an_answer_for_one_that_has_left_is_dropped(
    late: LateAnswers, asked: list[Take], end: str
) -> None:
    left, other = Peer(object()), Peer(object())
    for peer in (left, other):
        late.ask(peer, Later(asked.append))
    setattr(left, end, True)

    for take in asked:
        take(b"1")

    assert list(late.take()) == [(other, b"1")]


def test_a_call_from_within_waits_for_another_thread() -> None:
    def ask(take: Take) -> None:
        thread = threading.Thread(target=take, args=(b'{"events": []}',))
        thread.start()
        thread.join()

    assert Later(ask).wait() == {"events": []}
