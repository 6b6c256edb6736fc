"""Counts of the kernel that cannot be had, and records that cannot be kept."""

from __future__ import annotations

import os
import socket

import pytest

from spalloc_server._wire import kernel_counts
from spalloc_server._wire.kernel_counts import Counts, counts
from spalloc_server._wire.record import Record


def test_traffic_that_never_pauses_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = iter(range(1000))
    monkeypatch.setattr(kernel_counts, "_info", lambda _: Counts(next(numbers), 0))
    monkeypatch.setattr(kernel_counts, "waiting", lambda *_: 0)

    with socket.socket() as client, pytest.raises(OSError, match="do not come to rest"):
        counts(client)


def test_a_kernel_that_counts_no_bytes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old(socket.socket):
        def getsockopt(self, *_: object) -> bytes:  # type: ignore[override]
            return b"short"

    with Old() as client, pytest.raises(OSError, match="does not count the bytes"):
        kernel_counts._info(client)


def test_a_record_that_cannot_be_made_leaves_no_descriptor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[int] = []
    create = os.memfd_create

    def remember(name: str, flags: int) -> int:
        made.append(create(name, flags))
        return made[-1]

    def refuse(*_: object) -> None:
        raise OSError("no memory")

    monkeypatch.setattr(os, "memfd_create", remember)
    monkeypatch.setattr(os, "ftruncate", refuse)

    with pytest.raises(OSError, match="no memory"):
        Record.new()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])
