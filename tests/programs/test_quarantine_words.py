"""Words of ``spalloc-state quarantine`` for few boards and for many, once and often."""

import pytest

from spalloc_server._jobs.out_of_service import OutOfService
from spalloc_server._places import Place
from spalloc_server._programs.quarantine_tool import _MOST_NAMED, _named, _often


def test_few_boards_are_named_one_by_one_and_many_are_counted() -> None:
    few = [(x, 0, 0) for x in range(_MOST_NAMED)]

    assert list(_named(few)) == [f"board ({x}, 0, 0)" for x in range(_MOST_NAMED)]
    (line,) = _named([*few, (_MOST_NAMED, 0, 0)])
    assert line.startswith(f"{_MOST_NAMED + 1} boards ")


@pytest.mark.parametrize(
    ("faults", "tests", "words"),
    [(0, 0, "-"), (1, 0, "once"), (2, 1, "2 times, 1 test"), (1, 3, "once, 3 tests")],
)
def test_faults_and_tests_are_counted_in_words(faults: int, tests: int, words: str) -> None:
    row = OutOfService(
        *("m", (0, 0, 1), Place((0, 3, 1)), "frame", None, "fpga", "what", 1.7e9),
        *(faults, tests, None, None),
    )

    assert _often(row) == words
