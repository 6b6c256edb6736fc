"""A connection's record is right at every instant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server._wire.kernel_counts import Counts
from spalloc_server._wire.record import MAX_BODY, Record, read_record


@pytest.fixture
def record() -> Iterator[Record]:
    record = Record.new()
    yield record
    record.close()


def body(record: Record) -> dict[str, Any] | None:
    told = read_record(record.descriptor)
    return None if told is None else told.body


def test_a_record_tells_what_was_written(record: Record) -> None:
    record.write_counts(5, 7)
    record.write_body({"watches": {"jobs": [1, 2]}, "identity": None})

    told = read_record(record.descriptor)

    assert told is not None
    assert Counts(5, 7) in told.counts
    assert told.body == {"watches": {"jobs": [1, 2]}, "identity": None}


def test_the_counts_before_are_right_until_the_new_ones_come_true(record: Record) -> None:
    record.write_body({})
    for n in range(5):
        record.write_counts(n, 10 * n)
        record.write_counts(n + 1, 10 * n + 10)
        told = read_record(record.descriptor)
        assert told is not None
        assert set(told.counts) == {Counts(n, 10 * n), Counts(n + 1, 10 * n + 10)}


def test_a_body_replaces_the_one_before_in_one_step(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    seen = []

    def write_and_look(descriptor: int, data: bytes, place: int) -> int:
        half = len(data) // 2
        pwrite(descriptor, data[:half], place)
        seen.append(body(record))  # as the next process would, were this one killed now
        return pwrite(descriptor, data[half:], place + half) + half

    record.write_body({"number": 0})
    monkeypatch.setattr(os, "pwrite", write_and_look)
    for number in range(1, 6):
        record.write_body({"number": number, "more": "x" * number * 100})

    assert [each and each["number"] for each in seen] == [0, 1, 2, 3, 4]
    last = body(record)
    assert last is not None
    assert last["number"] == 5


def test_a_body_that_is_too_long_makes_the_record_void(record: Record) -> None:
    record.write_body({})

    assert record.write_body({"names": "x" * MAX_BODY}) is False

    assert body(record) is None


def test_a_void_record_tells_of_nothing(record: Record) -> None:
    assert body(record) is None
    record.write_body({})
    assert body(record) == {}

    record.void()

    assert body(record) is None


@pytest.mark.parametrize(
    "content",
    [
        b"", b"spalloc1", b"\x00" * 100_000, b"spalloc2" + b"\x01" * 5000,
        b"spalloc1" + b"\xff" * 80_000,
        b"spalloc1" + bytes(36) + b"\x00\x10\x00\x00" + bytes(5000),
        b"spalloc1" + bytes(32) + b"\x04\x00\x00\x00\x00\x10\x00\x00" + bytes(4048) + b"oops",
        b"spalloc1" + bytes(32) + b"\x04\x00\x00\x00\x00\x10\x00\x00" + bytes(4048) + b"1234",
    ],
)  # fmt: skip
def test_what_is_no_record_tells_of_nothing(content: bytes) -> None:
    descriptor = os.memfd_create("test")
    try:
        os.pwrite(descriptor, content, 0)
        assert read_record(descriptor) is None
    finally:
        os.close(descriptor)
