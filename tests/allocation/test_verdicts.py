"""What is remembered of blocks, and for how long."""

from typing import Any

import pytest

from spalloc_server._allocation import verdicts as _verdicts
from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.verdicts import Verdicts

LIMITS: dict[str, Any] = {"max_dead_boards": 0, "max_dead_links": None, "require_torus": False}


class Judge(_CandidateFilter):
    """Counts how often it is asked."""

    def __init__(self, dead_boards: Any = frozenset(), **limits: Any) -> None:
        super().__init__(3, 3, dead_boards, frozenset(), **(LIMITS | limits))
        self.asked = 0

    def __call__(self, x: int, y: int, width: int, height: int) -> bool:
        self.asked += 1
        return super().__call__(x, y, width, height)


def test_a_verdict_is_found_out_once() -> None:
    verdicts, judge = Verdicts(), Judge({(1, 1, 1)})

    answers = [verdicts.accepts(judge, *corner, 1, 1) for corner in [(0, 0), (1, 1)] * 3]

    assert answers == [True, False] * 3
    assert judge.asked == 2


@pytest.mark.parametrize(
    "limits",
    [
        {"max_dead_boards": 1},
        {"max_dead_links": 0},
        {"require_torus": True},
        {"expected_boards": 2},
    ],
)
def test_verdicts_under_other_limits_are_others(limits: dict[str, Any]) -> None:
    verdicts, first, second = Verdicts(), Judge(), Judge(**limits)

    verdicts.accepts(first, 0, 0, 1, 1)
    verdicts.accepts(second, 0, 0, 1, 1)

    assert (first.asked, second.asked) == (1, 1)


def test_a_filter_is_spared_what_it_refuses_but_not_what_it_accepts() -> None:
    verdicts, judge = Verdicts(), Judge({(1, 1, 1)})
    spared = verdicts.sparing(judge)

    assert [spared(1, 1, 1, 1) for _ in range(3)] == [False] * 3
    assert judge.asked == 1
    assert [spared(0, 0, 1, 1) for _ in range(3)] == [True] * 3
    assert judge.asked == 4
    assert judge.boards == {(0, 0, 0), (0, 0, 1), (0, 0, 2)}


def test_what_one_way_finds_out_the_other_knows() -> None:
    verdicts, judge = Verdicts(), Judge({(1, 1, 1)})

    verdicts.accepts(judge, 1, 1, 1, 1)
    verdicts.sparing(judge)(1, 1, 1, 1)
    verdicts.sparing(judge)(0, 0, 1, 1)
    verdicts.accepts(judge, 0, 0, 1, 1)

    assert judge.asked == 2


def test_all_is_forgotten_at_once() -> None:
    verdicts = Verdicts()
    verdicts.answer(("question",), lambda: True)
    verdicts.find(("number",), lambda: 1)

    verdicts.forget()

    assert len(verdicts) == 0
    assert verdicts.find(("number",), lambda: 2) == 2


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_verdicts, "_MOST_VERDICTS", 10)
    verdicts = Verdicts()

    for question in range(100):
        assert verdicts.answer((question,), lambda: True)
        assert len(verdicts) <= 10
    for x in range(100):
        verdicts.sparing(Judge())(x % 3, 0, 1, 1 + x % 2)
        assert len(verdicts) <= 10
