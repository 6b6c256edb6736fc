"""The kernel's counts of a connection are the bytes that were read and written."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import pytest

from spalloc_server._wire.kernel_counts import Counts, counts


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        there = socket.create_connection(listening.getsockname())
        here, _ = listening.accept()
        with here, there:
            here.setblocking(False)
            yield here, there


def test_only_what_was_read_counts_as_read(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    before = counts(here)
    there.sendall(b"x" * 1000)
    while len(here.recv(2000, socket.MSG_PEEK)) < 1000:
        continue
    assert counts(here) == before

    here.recv(300)

    assert counts(here) == Counts(before.read + 300, before.written)


def test_written_is_what_the_kernel_was_given(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    here, there = pair
    before, sent = counts(here), 0
    for _ in range(50):
        try:
            sent += here.send(b"y" * 100_000)
        except BlockingIOError:
            break
    assert counts(here).written == before.written + sent

    there.recv(50_000)  # some is acknowledged meanwhile

    assert counts(here) == Counts(before.read, before.written + sent)


def test_any_traffic_adds_up(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    dice, began = random.Random(5), counts(here)
    read = written = 0
    for _ in range(200):
        there.sendall(b"x" * dice.randrange(1, 3000))
        read += len(here.recv(dice.randrange(1, 3000)))
        written += here.send(b"y" * dice.randrange(1, 3000))
        there.recv(10_000)

        assert counts(here) == Counts(began.read + read, began.written + written)


def test_the_other_side_s_end_is_no_byte(pair: tuple[socket.socket, socket.socket]) -> None:
    here, there = pair
    before = counts(here)
    there.sendall(b"abc")
    there.shutdown(socket.SHUT_WR)
    while here.recv(100):
        continue

    assert counts(here) == Counts(before.read + 3, before.written)


def test_what_is_no_tcp_connection_is_refused() -> None:
    here, there = socket.socketpair()
    with here, there, pytest.raises(OSError, match=r".+"):
        counts(here)
