"""Lines are cut out of bytes in the same way however these come in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._wire import line_buffer
from spalloc_server._wire.line_buffer import LineBuffer
from spalloc_server._wire.messages import MAX_LINE, MalformedError


def lines_of(lines: LineBuffer) -> list[bytes]:
    """Take all whole lines."""
    return list(iter(lines.next_line, None))


@pytest.mark.parametrize(
    ("data", "lines", "rest"),
    [
        (b"", [], b""),
        (b"\n", [b""], b""),
        (b"one", [], b"one"),
        (b"one\n", [b"one"], b""),
        (b"one\ntwo\n", [b"one", b"two"], b""),
        (b"one\r\n\n \nhalf", [b"one\r", b"", b" "], b"half"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_lines_and_a_rest(data: bytes, lines: list[bytes], rest: bytes, whole: bool) -> None:
    buffer, found = LineBuffer(), []
    for piece in [data] if whole else [data[n : n + 1] for n in range(len(data))]:
        buffer.feed(piece)
        found += lines_of(buffer)
        assert buffer.settle() == buffer.held

    assert found == lines
    assert buffer.held == rest
    assert len(buffer) == len(rest)
    assert buffer.taken == len(data) - len(rest)
    assert not buffer.has_line()


@given(
    st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=20),
    st.lists(st.integers(1, 40), max_size=40),
    st.lists(st.booleans(), max_size=60),
    st.sampled_from([0, 5, 1000]),
)
def test_any_pieces_taken_at_any_time(
    lines: list[bytes], sizes: list[int], takes: list[bool], short: int
) -> None:
    """As if all had come at once, and as if bytes of any length were long."""
    data = b"".join(line + b"\n" for line in lines) + b"rest"
    buffer, found, at = LineBuffer(), [], 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(line_buffer, "_SHORT", short)
        for number, size in enumerate([*sizes, len(data)]):
            buffer.feed(data[at : at + size])
            at += size
            for take in takes[number : number + 2]:
                if take and buffer.has_line():
                    found.append(buffer.next_line())
            buffer.settle()
            came = min(at, len(data))
            assert buffer.taken + len(buffer) == came
            assert buffer.held == data[buffer.taken : came]
        found += lines_of(buffer)

    assert found == lines
    assert buffer.settle() == b"rest"
    assert isinstance(buffer.held, bytes) or len(buffer) > short


def test_a_line_may_be_1_mib_long_and_no_longer() -> None:
    buffer = LineBuffer(b"x" * MAX_LINE)
    assert buffer.next_line() is None
    buffer.feed(b"\n" + b"y" * MAX_LINE + b"\n")
    assert lines_of(buffer) == [b"x" * MAX_LINE, b"y" * MAX_LINE]

    for end in (b"", b"\n"):
        buffer = LineBuffer()
        buffer.feed(b"x" * (MAX_LINE + 1) + end)
        with pytest.raises(MalformedError, match="longer than 1048576 bytes"):
            buffer.next_line()


def test_what_is_long_is_neither_copied_nor_searched_again() -> None:
    searched = []

    class Spied(bytearray):
        def find(self, *args: object) -> int:
            searched.append(args)
            return super().find(*args)  # type: ignore[arg-type]

    held = Spied(b"x" * 100_000)
    buffer = LineBuffer(held)
    assert buffer.next_line() is None

    for _ in range(3):
        buffer.feed(b"y")
        assert buffer.next_line() is None
        assert buffer.settle() is held

    assert searched == [(b"\n", 0), (b"\n", 100_000), (b"\n", 100_001), (b"\n", 100_002)]
    buffer.feed(b"\nz")
    assert buffer.next_line() == b"x" * 100_000 + b"yyy"
    assert buffer.settle() == b"z"


def test_everything_can_be_dropped() -> None:
    buffer = LineBuffer(b"one\ntwo\n")
    buffer.next_line()

    buffer.clear()

    assert buffer.next_line() is None
    assert buffer.settle() == b""
    buffer.feed(b"three\n")
    assert buffer.next_line() == b"three"


@pytest.mark.parametrize(
    ("first", "second", "kind"),
    [(0, 9000, bytes), (96, 4000, bytes), (4000, 96, bytes), (97, 4000, bytearray),
     (4000, 97, bytearray), (2048, 4096, bytearray), (5000, 1, bytearray)],
)  # fmt: skip
def test_pieces_stay_bytes_up_to_four_kibibytes(first: int, second: int, kind: type) -> None:
    buffer = LineBuffer(b"x" * first)

    buffer.feed(b"y" * second)

    assert type(buffer.held) is kind
    assert buffer.held == b"x" * first + b"y" * second


@pytest.mark.parametrize(("rest", "kind"), [(10, bytes), (4096, bytes), (4097, bytearray)])
def test_a_long_rest_can_be_appended_to_in_place(rest: int, kind: type) -> None:
    for held in (b"one\n" + b"x" * rest, bytearray(b"one\n" + b"x" * rest)):
        buffer = LineBuffer(held)
        assert buffer.next_line() == b"one"

        assert type(buffer.settle()) is kind

        assert buffer.held == b"x" * rest


def test_lines_that_were_taken_are_not_counted_any_more() -> None:
    buffer = LineBuffer(b"one\nthree\nhal")
    assert len(buffer) == 13

    for left in (9, 3):
        buffer.next_line()
        assert len(buffer) == left

    buffer.settle()
    assert len(buffer) == 3


def test_lines_that_were_taken_do_not_make_a_buffer_too_long() -> None:
    buffer = LineBuffer(b"one\n" + b"x" * MAX_LINE)
    assert buffer.is_too_long()

    buffer.next_line()

    assert not buffer.is_too_long()
