"""One segment of the events file, read by numbers."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._saved import event_segment
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.event_segment import Segment

HEAD = b'{"previous":3}\n'


def line(number: int, length: int = 0) -> bytes:
    return b'{"number":%d,"text":"%s"}' % (number, b"x" * length)


def segment(path: Path, *lines: bytes, rest: bytes = b"") -> Segment:
    path.write_bytes(HEAD + b"".join(each + b"\n" for each in lines) + rest)
    return Segment(Disk(), path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_segment, "_CHUNK", 64)


def test_a_segment_without_events_ends_behind_its_first_line(path: Path) -> None:
    found = segment(path)

    assert (found.previous, found.last, found.size) == (3, 3, len(HEAD))
    assert list(found.lines(0, 10, 1000, first=True)) == []


@pytest.mark.parametrize("length", [0, 20, 63, 64, 65, 200, 5000])
@pytest.mark.parametrize(
    "rest", [b"", b"{", b'{"number":9', b"x\n", b'{"number":9,"a":}\n', b"\0" * 300]
)
def test_a_segment_ends_behind_its_last_whole_event(
    path: Path, small_chunks: None, length: int, rest: bytes
) -> None:
    lines = [line(5), line(7, length)]

    found = segment(path, *lines, rest=rest)

    assert (found.previous, found.last) == (3, 7)
    assert found.size == path.stat().st_size - len(rest)
    assert list(found.lines(0, 10, 10**6, first=True)) == lines


def test_an_end_is_not_looked_for_beyond_the_longest_line(
    path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_segment, "_LONGEST", 256)

    near = segment(path, line(5), rest=b"\0" * 900)
    assert near.last == 5
    far = segment(path, line(5), *[line(6)] * 9, rest=b"\0" * 5000)
    assert (far.last, far.size) == (3, len(HEAD))


@pytest.mark.parametrize(
    "head", [b"", b"rubbish\n", b"{}\n", b'{"previous":"x"}\n', b'{"previous":3}']
)
def test_a_file_that_does_not_begin_like_a_segment_is_refused(path: Path, head: bytes) -> None:
    path.write_bytes(head)

    with pytest.raises((ValueError, KeyError)):
        Segment(Disk(), path)


def expected(
    lines: list[bytes], after: int, most: int, room: int, first: bool
) -> list[bytes]:
    found: list[bytes] = []
    for each in lines:
        if json.loads(each)["number"] <= after:
            continue
        fits = len(each) <= room or (first and not found)
        if len(found) >= most or room <= 0 or not fits:
            break
        found.append(each)
        room -= len(each) + 1
    return found


@given(
    st.lists(st.tuples(st.integers(1, 3), st.integers(0, 150)), max_size=40),
    st.integers(0, 90),
    st.tuples(st.integers(0, 12), st.integers(-1, 600), st.booleans()),
)
def test_lines_are_found_by_number_within_limits(
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[int, int]], after: int, limits: tuple[int, int, bool],
) -> None:
    most, room, first = limits
    number, lines = 3, []
    for step, length in steps:
        number += step
        lines.append(line(number, length))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_segment, "_CHUNK", 64)
        found = segment(tmp_path_factory.getbasetemp() / "segment", *lines)

        told = list(found.lines(after, most, room, first=first))

    assert told == expected(lines, after, most, room, first)


@pytest.mark.parametrize(("most", "room"), [(0, 100), (1, 0), (1, -1)])
def test_without_room_no_line_is_read_not_even_a_first_one(
    path: Path, most: int, room: int
) -> None:
    found = segment(path, line(5))

    assert list(found.lines(0, most, room, first=True)) == []
    assert list(found.lines(0, 1, 1, first=True)) == [line(5)]


def test_rubbish_between_lines_is_passed_over(path: Path) -> None:
    found = segment(path, line(5), b"rubbish", line(6))

    assert list(found.lines(0, 10, 1000, first=False)) == [line(5), line(6)]


def test_lines_that_were_added_are_read_once_they_are_noted(path: Path) -> None:
    found = segment(path, line(5))
    with path.open("ab") as file:
        file.write(line(6) + b"\n")
    assert list(found.lines(0, 10, 1000, first=False)) == [line(5)]

    found.grown(path.stat().st_size, 6)

    assert list(found.lines(0, 10, 1000, first=False)) == [line(5), line(6)]
    assert found.last == 6


def test_a_file_that_was_cut_has_no_more_lines(path: Path) -> None:
    found = segment(path, line(5), line(6))
    path.write_bytes(HEAD + line(5) + b"\n")

    assert list(found.lines(0, 10, 1000, first=False)) == [line(5)]


def test_events_of_a_usual_length_are_found_with_few_readings(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = []

    def pread(fd: int, length: int, offset: int) -> bytes:
        lengths.append(length)
        return os.pread(fd, length, offset)

    monkeypatch.setattr(event_segment, "os", SimpleNamespace(pread=pread, O_RDONLY=os.O_RDONLY))

    found = segment(path, *[line(number, 60_000) for number in range(10, 30)])
    assert lengths == [65_536], "the last line, and no more than needed"
    lengths.clear()
    assert len(list(found.lines(19, 1, 10**6, first=False))) == 1
    assert len(lengths) <= 8, "halved until a few lines are left"


def test_few_bytes_are_read_for_a_number_far_down(path: Path, small_chunks: None) -> None:
    found = segment(path, *[line(number) for number in range(10, 5000)])
    with path.open("rb") as file:
        start = found._offset_after(file.fileno(), 4000)

    where = path.read_bytes().index(line(4001))
    assert where - 3 * 64 <= start <= where
