"""The id of the first job of a fresh state."""

from __future__ import annotations

import pytest

from spalloc_server import _clock
from spalloc_server._jobs.first_id import first_id


@pytest.fixture(autouse=True)
def wall(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a thousand seconds into 2025."""
    monkeypatch.setattr(_clock, "wall", lambda: 1_735_690_600.0)


def test_a_fresh_state_begins_with_the_first_id_that_is_free() -> None:
    assert first_id(1, None, []) == (1, "")
    assert first_id(42, None, []) == (42, "")


def test_traces_of_an_earlier_state_begin_it_at_the_time() -> None:
    number, reason = first_id(1, None, [".a.cfg.lock", ".a.cfg.journal"])

    assert number == 1000
    assert ".a.cfg.lock, .a.cfg.journal" in reason


def test_the_operator_may_choose() -> None:
    assert first_id(1, 77, [])[0] == 77
    assert first_id(1, "clock", [])[0] == 1000
    assert first_id(1, 77, ["trace"])[0] == 77


@pytest.mark.parametrize("wanted", [77, "clock", None])
def test_no_id_that_was_given_out_comes_again(wanted: int | str | None) -> None:
    assert first_id(5000, wanted, ["trace"]) == (5000, "")


@pytest.mark.parametrize(("now", "number"), [(0.0, 1), (1e12, 2**31 - 1)])
def test_a_wrong_clock_gives_a_number_that_programs_can_keep(
    monkeypatch: pytest.MonkeyPatch, now: float, number: int
) -> None:
    monkeypatch.setattr(_clock, "wall", lambda: now)

    assert first_id(1, "clock", [])[0] == max(number, 1)
