"""What clients make the server hold is counted, all of it, in one place."""

from __future__ import annotations

import random
import sys

import pytest

from spalloc_server._wire import memory as memory_module
from spalloc_server._wire.memory import Memory
from spalloc_server._wire.peer import Peer


def peer(*, unfinished: bytes = b"", unread: bytes = b"", watches: int = 0) -> Peer:
    made = Peer(object())
    made.lines.feed(unfinished)
    made.output.add(unread)
    made.watch_bytes = watches
    return made


def test_input_output_and_watches_count() -> None:
    memory = Memory()

    memory.count(peer(unfinished=b"x" * 1000))
    unfinished = memory.total
    assert unfinished >= sys.getsizeof(b"x" * 1000)
    memory.count(peer(unread=b"x" * 1000))
    memory.count(peer(watches=30))

    assert memory.total == unfinished + 1030


def test_an_idle_peer_holds_nothing() -> None:
    assert peer().weigh() == 0


def test_the_total_is_the_sum_whatever_changes() -> None:
    dice, memory = random.Random(7), Memory()
    peers = [peer() for _ in range(5)]
    for _ in range(500):
        each = dice.choice(peers)
        each.output.add(b"x" * dice.randrange(100))
        each.lines.feed(b"y" * dice.randrange(2000))
        if dice.random() < 0.2:
            each.lines.clear()
            each.output.clear()
        memory.count(each)
        if dice.random() < 0.1:
            memory.release(each)
            assert each.weight == 0
        assert memory.total == sum(each.weight for each in peers)


def test_the_fullest_is_told_once_all_together_hold_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_module, "MAX_TOTAL", 10)
    memory, small, large = Memory(), peer(unread=b"x" * 4), peer(watches=6)
    memory.count(small)
    memory.count(large)
    assert memory.fullest([small, large]) is None

    small.output.add(b"x")
    memory.count(small)

    assert memory.fullest([small, large]) is large
    memory.release(large)
    assert memory.fullest([small]) is None


def test_the_bound_is_that_of_the_specification() -> None:
    assert memory_module.MAX_TOTAL == 256 * 2**20
