import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spalloc_client._framing import LineBuffer, encode_call
from spalloc_client.errors import ProtocolError

MESSAGES = [{"return": 1}, {"exception": "Köln\n"}, {"jobs_changed": [1, 2]}]
STREAM = b"".join(json.dumps(message, ensure_ascii=False).encode() + b"\n" for message in MESSAGES)


def test_a_stream_fed_whole_gives_its_messages() -> None:
    assert LineBuffer().feed(STREAM) == MESSAGES


def test_a_stream_fed_byte_by_byte_gives_its_messages() -> None:
    lines = LineBuffer()

    messages = [message for byte in STREAM for message in lines.feed(bytes([byte]))]

    assert messages == MESSAGES


def test_trailing_bytes_wait_for_the_rest() -> None:
    lines = LineBuffer()

    assert lines.feed(STREAM + b'{"ret') == MESSAGES
    assert lines.feed(b'urn": 2}\n') == [{"return": 2}]


def test_blank_lines_and_carriage_returns_are_skipped() -> None:
    assert LineBuffer().feed(b'\r\n  \n{"return": 1}\r\n\n') == [{"return": 1}]


@given(st.lists(st.integers(0, len(STREAM))))
def test_a_stream_cut_anywhere_gives_its_messages(cuts: list[int]) -> None:
    lines = LineBuffer()
    ends = [0, *sorted(cuts), len(STREAM)]

    pieces = [lines.feed(STREAM[a:b]) for a, b in itertools.pairwise(ends)]

    assert [message for piece in pieces for message in piece] == MESSAGES


@pytest.mark.parametrize("line", [b"\xff", b"{", b"[1]", b"1", b"null", b"[" * 100_000])
def test_nonsense_is_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        LineBuffer().feed(line + b"\n")


def test_an_endless_line_is_a_protocol_error() -> None:
    lines = LineBuffer(max_line=10)

    lines.feed(b"1234567890")

    with pytest.raises(ProtocolError, match="more than 10 bytes"):
        lines.feed(b"1")


def test_a_call_is_a_line_of_json() -> None:
    line = encode_call("create_job", (1, None), {"owner": "Jürgen\n"})

    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "command": "create_job",
        "args": [1, None],
        "kwargs": {"owner": "Jürgen\n"},
    }


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), object()])
def test_what_json_cannot_say_is_refused(bad: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        encode_call("create_job", (bad,), {})
