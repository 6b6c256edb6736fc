"""How long the jobs of a machine ran, and how long others may be expected to."""

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._queueing.lifetimes import Lifetimes


@given(st.lists(st.floats(0, 1e6), max_size=30), st.floats(0, 1e6))
def test_the_rest_of_a_life_is_guessed_from_longer_ones(lives: list[float], age: float) -> None:
    lifetimes = Lifetimes()
    for life in lives:
        lifetimes.add(life)

    longer = [life for life in lives if life > age]
    if len(longer) >= 6:
        assert lifetimes.remaining(age) == pytest.approx(median(longer) - age)
    else:
        assert lifetimes.remaining(age) == max(age, 300)
    assert lifetimes.typical == (median(lives) if len(lives) >= 10 else 300)
    assert lifetimes.idle_at_most == (median(lives) / 2 if len(lives) >= 10 else 300)


def test_the_last_four_hundred_lifetimes_count() -> None:
    lifetimes = Lifetimes()
    for life in [*range(1000), *[7.0] * 400]:
        lifetimes.add(life)

    assert len(lifetimes) == 400
    assert lifetimes.typical == 7
    assert lifetimes.remaining(7) == 300
