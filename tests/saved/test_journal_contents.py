"""A journal is read again: every cut and every flipped byte."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spalloc_server._saved.journal import encode
from spalloc_server._saved.journal_contents import decode, read
from spalloc_server._saved.saved_file import DamagedError, Header, first_line
from tests.saved.test_journal import HEADER, PAYLOADS, path, written

__all__ = ("path",)


def test_records_come_back_in_order(path: Path) -> None:
    data = written(path)

    assert read(data) == (PAYLOADS, len(data), [], None, False)
    assert first_line(data) == HEADER.line()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=60)
@given(st.lists(st.lists(JSON, min_size=1, max_size=3).map(tuple), max_size=3))
def test_outcomes_come_back_as_they_were(outcomes: list[tuple[object, ...]]) -> None:
    payload = encode(outcomes)

    assert decode(payload) == outcomes
    assert payload.isascii()
    assert b"\n" not in payload


def test_numbers_that_json_does_not_have_come_back() -> None:
    ((kind, huge, negative, nan),) = decode(
        encode([("odd", math.inf, -math.inf, math.nan)])
    )

    assert (kind, huge, negative) == ("odd", math.inf, -math.inf)
    assert math.isnan(nan)


@pytest.mark.parametrize("payload", [b"", b"{", b"{}", b"[1]", b"[[]]", b"7", b"[" * 100000])
def test_a_payload_that_is_no_list_of_outcomes_is_damage(payload: bytes) -> None:
    with pytest.raises(DamagedError):
        decode(payload)


# --- damage ---


def test_cut_at_any_byte_the_whole_records_before_it_count(path: Path) -> None:
    data = written(path)
    ends = [len(written(path, PAYLOADS[:count])) for count in range(len(PAYLOADS) + 1)]

    for cut in range(ends[0], len(data) + 1):
        contents = read(data[:cut])

        whole = sum(end <= cut for end in ends) - 1
        assert contents.payloads == PAYLOADS[:whole]
        assert contents.size == ends[whole]
        assert contents.stray == []
        assert (contents.problem is None) == (cut in ends)
        assert contents.torn == (cut not in ends)


def test_flipped_anywhere_the_records_before_it_count(path: Path) -> None:
    data = written(path)
    ends = [len(written(path, PAYLOADS[:count])) for count in range(len(PAYLOADS) + 1)]

    for place in range(ends[0], len(data)):
        for flip in (0x01, 0x20, 0x80, 0xFF):
            broken = bytearray(data)
            broken[place] ^= flip
            contents = read(bytes(broken))

            whole = sum(end <= place for end in ends) - 1
            assert contents.payloads == PAYLOADS[:whole]
            assert contents.problem is not None
            # A flipped line feed takes the next record with it.
            assert len(contents.stray) in (len(PAYLOADS) - whole - 1, len(PAYLOADS) - whole - 2, 0)


def test_records_after_a_damaged_one_are_strays(path: Path) -> None:
    data = bytearray(written(path))
    data[len(HEADER.line()) + 20] ^= 1

    contents = read(bytes(data))

    assert contents.payloads == []
    assert contents.stray == PAYLOADS[1:]
    assert contents.problem is not None
    assert "record 1 is damaged" in contents.problem
    assert not contents.torn


def test_zeros_after_the_last_record_are_cut_off(path: Path) -> None:
    data = written(path)

    contents = read(data + bytes(5000))

    assert contents.payloads == PAYLOADS
    assert contents.size == len(data)


def test_a_missing_record_ends_the_journal(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)

    contents = read(b"".join(lines[:2] + lines[3:]))

    assert contents.payloads == PAYLOADS[:1]
    assert contents.stray == PAYLOADS[2:]


def test_another_journals_records_do_not_count(path: Path) -> None:
    other = Header("journal", 3, 7, "ffffffffffffffff", 42, "1.0.0")
    foreign = written(path, header=other)[len(other.line()) :]

    contents = read(HEADER.line() + foreign)

    assert contents.payloads == []
    assert contents.stray == []


@given(st.binary())
def test_nothing_after_the_header_makes_reading_fail(data: bytes) -> None:
    contents = read(HEADER.line() + data)

    assert contents.payloads == []


def test_foreign_lines_between_records_cost_no_record(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)
    data = b"".join([*lines[:2], b"rubbish\n", b"and more\n", *lines[2:]])

    contents = read(data)

    assert contents.payloads == PAYLOADS
    assert contents.size == len(data)
    assert (contents.stray, contents.torn) == ([], False)
    assert contents.problem is not None
    assert "17 bytes between the records are not ours; no record is missing" in contents.problem


def test_foreign_bytes_in_front_of_a_record_cost_no_record(path: Path) -> None:
    lines = written(path).splitlines(keepends=True)

    contents = read(b"".join([*lines[:3], b"0 3 rubbish 1 3 ", *lines[3:]]))

    assert contents.payloads == PAYLOADS


def test_foreign_bytes_after_the_last_record_do_not_count(path: Path) -> None:
    data = written(path)

    contents = read(data + b"rubbish\n")

    assert contents.payloads == PAYLOADS
    assert not contents.torn
    assert contents.problem is not None
    assert "record 5 is damaged: the last 8 bytes" in contents.problem
