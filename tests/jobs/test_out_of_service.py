"""Boards out of service, in lines of text."""

import pytest

from spalloc_server._jobs.out_of_service import counted
from spalloc_server._places import Board

BOARDS: list[Board] = [(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 0, 0), (1, 1, 1), (2, 0, 0)]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1, "board (0, 0, 0)"),
        (2, "2 boards (0, 0, 0), (0, 0, 1)"),
        (4, "4 boards (0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 0, 0)"),
        (5, "5 boards (0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 0, 0), ..."),
        (6, "6 boards (0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 0, 0), ..."),
    ],
)
def test_boards_are_counted_and_four_of_them_named(number: int, text: str) -> None:
    assert counted(set(BOARDS[:number])) == text
    assert counted(BOARDS[:number][::-1]) == text
