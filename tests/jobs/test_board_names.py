"""Names that operators give to boards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs.board_names import physical_name, read_boards
from spalloc_server._places import Board, Place

#: Two frames of four boards.
PLACES = {(x, 0, z): Place((0, x, z)) for x in range(2) for z in range(3)}


def named(text: str) -> set[Board]:
    wanted = read_boards(text)
    assert wanted.machine == "m"
    return {board for board, place in PLACES.items() if wanted.has(board, place)}


@pytest.mark.parametrize(
    ("text", "boards"),
    [
        ("m:1,0,2", {(1, 0, 2)}),
        ("m:(1, 0, 2)", {(1, 0, 2)}),
        ("m:0,0,1-1,0,2", {(0, 0, 1), (0, 0, 2), (1, 0, 1), (1, 0, 2)}),
        ("m:(0,0,2) - (1,0,2)", {(0, 0, 2), (1, 0, 2)}),
        ("m:c0f1b2", {(1, 0, 2)}),
        ("m:c0f1b1-7", {(1, 0, 1), (1, 0, 2)}),
        ("m:c0f1", {(1, 0, 0), (1, 0, 1), (1, 0, 2)}),
        ("m:c0f0-1", set(PLACES)),
        ("m", set(PLACES)),
        ("m:c3f0", set()),
        ("m:9,9,9", set()),
        ("m:1,0,2-0,0,0", set()),
    ],
)
def test_boards_are_named_by_place_frame_range_or_machine(text: str, boards: set[Board]) -> None:
    assert named(text) == boards


@pytest.mark.parametrize("text", ["m:1,2", "m:1,2,-3", "m:", "a:b", "m:c0", "m:c0f0b"])
def test_other_texts_may_be_names_of_machines(text: str) -> None:
    assert read_boards(text).machine == text


@pytest.mark.parametrize("text", ["", " ", "1,2,0", "c0f2", "c0f2b3", ":1,2,0", ":c0f2"])
def test_boards_without_a_machine_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no (machine|boards); write MACHINE:X,Y,Z"):
        read_boards(text)


def test_a_machine_may_have_a_colon_in_its_name() -> None:
    assert read_boards("a:b:1,2,0").machine == "a:b"


@given(st.tuples(st.integers(0, 99), st.integers(0, 99), st.integers(0, 23)))
def test_physical_names_can_be_read(place: tuple[int, int, int]) -> None:
    wanted = read_boards(f"m:{physical_name(place)}")

    assert (wanted.first, wanted.physical, wanted.is_one) == (place, True, True)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("m:1,0,2", True), ("m:1,0,2-1,0,2", True), ("m:c0f1b2-2", True), ("m:1,0,2-1,1,2", False),
        ("m:1,0,2-0,0,0", False), ("m:c0f1b2-3", False), ("m:c0f1b2-1", False), ("m:c0f1", False),
        ("m:c0f0-0", False), ("m", False),
    ],
)  # fmt: skip
def test_one_board_is_named_by_three_numbers_without_a_range(text: str, is_one: bool) -> None:
    assert read_boards(text).is_one is is_one
