"""How long jobs waited: counts, and spans for those that still wait."""

import random

import pytest

from spalloc_server._jobs.waits import (
    BOUNDS,
    LEAST_WAITS,
    MOST_WAITS,
    SECONDS_FRESH,
    SIZES,
    ExpectedWaits,
    Span,
    Start,
    WaitTally,
)


def history(*waits: float, machine: str = "m", boards: int = 3) -> ExpectedWaits:
    known = ExpectedWaits()
    for wait in waits:
        known.note(machine, boards, wait)
    return known


def test_without_history_nothing_is_expected() -> None:
    known = history(*range(LEAST_WAITS - 1))

    assert known.span(1, ["m"], 3, -1.0, 0.0) is None


def test_the_span_has_eight_of_ten_waits() -> None:
    known = history(*range(100))

    assert known.span(1, ["m"], 3, -1.0, 7.0) == Span(10.0, 90.0, 7.0)


def test_shorter_waits_than_the_own_are_left_out() -> None:
    known = history(*range(100))

    assert known.span(1, ["m"], 3, 49.0, 7.0) == Span(55.0, 95.0, 7.0)
    assert known.span(1, ["m"], 3, 95.0, 7.0) is None


@pytest.mark.parametrize(("boards", "similar"), [(3, True), (4, True), (2, False), (5, False)])
def test_similar_requests_have_the_same_size_class(boards: int, similar: bool) -> None:
    known = history(*range(100))

    assert (known.span(1, ["m"], boards, -1.0, 7.0) is not None) == similar


def test_waits_of_all_machines_of_a_job_count() -> None:
    known = history(*range(LEAST_WAITS - 1))
    known.note("n", 3, 99.0)

    assert known.span(1, ["n", "m"], 3, -1.0, 7.0) == Span(1.0, 99.0, 7.0)
    assert known.span(1, ["m"], 3, -1.0, 7.0) is None


def test_spans_are_worked_out_once_a_minute() -> None:
    known = history(*range(100))
    before = known.span(1, ["m"], 3, -1.0, 0.0)

    for wait in range(1000, 1100):
        known.note("m", 3, wait)

    assert known.span(2, ["m"], 3, -1.0, SECONDS_FRESH - 0.1) == before
    later = known.span(2, ["m"], 3, -1.0, SECONDS_FRESH)
    assert later is not None
    assert (later.high, later.made) == (1080.0, SECONDS_FRESH)


def test_old_waits_are_forgotten() -> None:
    known = history(*[1.0] * 50, *[5.0] * MOST_WAITS)

    assert known.span(1, ["m"], 3, -1.0, 0.0) == Span(5.0, 5.0, 0.0)


def test_a_job_is_judged_by_its_first_span() -> None:
    known = history(*range(100))
    known.span(1, ["m"], 3, -1.0, 0.0)
    known.span(1, ["m"], 3, 80.0, 1.0)
    known.span(2, ["m"], 3, -1.0, 0.0)
    known.span(3, ["m"], 3, -1.0, 0.0)

    known.starts += [Start(1, "m", 3, 15.0), Start(2, "m", 3, 200.0)]
    known.forget(3)
    known.starts.append(Start(3, "m", 3, 50.0))
    known.count_starts()

    assert (known.judged, known.held) == (2, 1)


def test_a_start_counts_before_waits_are_read() -> None:
    known = history(*range(LEAST_WAITS - 1))

    known.starts.append(Start(7, "m", 3, 9.0))
    assert known.span(1, ["m"], 3, -1.0, 0.0) == Span(1.0, 9.0, 0.0)
    known.count_starts()

    assert sum(known.tally.counts["2-3"]) == 1
    assert known.tally.totals["2-3"] == 9.0


def test_the_first_start_is_history() -> None:
    known = ExpectedWaits()
    assert not known

    known.starts.append(Start(7, "m", 3, 9.0))
    assert known


def test_starts_do_not_pile_up_while_jobs_end() -> None:
    known = ExpectedWaits()

    known.starts.append(Start(7, "m", 3, 9.0))
    known.forget(7)

    assert known.starts == []
    assert sum(known.tally.counts["2-3"]) == 1


@pytest.mark.parametrize("trend", [1.0, 1.004])
def test_in_the_long_run_eight_of_ten_spans_hold(trend: float) -> None:
    dice = random.Random("waits")
    known = history(*[dice.lognormvariate(4, 1) for _ in range(100)])
    scale = 1.0

    for job in range(3000):
        scale = scale * trend if job < 1000 else scale / trend if job < 2000 else 1.0
        known.span(job, ["m"], 3, -1.0, job * SECONDS_FRESH)
        known.starts.append(Start(job, "m", 3, scale * dice.lognormvariate(4, 1)))

    known.count_starts()
    assert known.judged == 3000
    assert 0.77 < known.held / known.judged < 0.83


@pytest.mark.parametrize(
    ("boards", "size"),
    [(1, "1"), (2, "2-3"), (3, "2-3"), (4, "4-24"), (24, "4-24"), (25, "25-120"), (1200, "121+")],
)
def test_each_wait_is_in_one_class_of_size(boards: int, size: str) -> None:
    tally = WaitTally()

    tally.note(boards, 5.0)

    assert {each: sum(tally.counts[each]) for each in SIZES} == {
        each: int(each == size) for each in SIZES
    }
    assert tally.totals[size] == 5.0


@pytest.mark.parametrize(("seconds", "place"), [(-1.0, 0), (1.0, 0), (1.1, 1), (1e9, len(BOUNDS))])
def test_each_wait_is_in_one_class_of_duration(seconds: float, place: int) -> None:
    tally = WaitTally()

    tally.note(1, seconds)

    assert tally.counts["1"][place] == 1
    assert tally.totals["1"] == max(0.0, seconds)


@pytest.mark.parametrize(
    ("waited", "held"), [(9.9, 0), (10.0, 1), (50.0, 1), (90.0, 1), (90.1, 0)]
)
def test_a_span_has_both_of_its_ends(waited: float, held: int) -> None:
    known = history(*range(100))
    assert known.span(1, ["m"], 3, -1.0, 0.0) == Span(10.0, 90.0, 0.0)

    known.starts.append(Start(1, "m", 3, waited))
    known.count_starts()

    assert (known.judged, known.held) == (1, held)


@pytest.mark.parametrize(("waited", "low", "high"), [(50.0, 25.0, 75.0), (1e9, 0.0, 99.0)])
def test_spans_that_always_hold_become_half_as_wide_and_others_as_wide_as_can_be(
    waited: float, low: float, high: float
) -> None:
    known = history(*range(100))

    for job in range(1000):
        known.span(job, ["m"], 3, -1.0, 0.0)
        known.starts.append(Start(job, "another", 3, waited))

    assert known.span(1000, ["m"], 3, -1.0, 0.0) == Span(low, high, 0.0)


def test_a_clock_that_stands_still_keeps_a_span_fresh() -> None:
    known = history(*range(100))
    before = known.span(1, ["m"], 3, -1.0, 7.0)
    for _ in range(MOST_WAITS):
        known.note("m", 3, 5000.0)

    assert known.span(2, ["m"], 3, -1.0, 7.0) == before
    assert known.span(3, ["m"], 3, -1.0, 6.9) == Span(5000.0, 5000.0, 6.9)


@pytest.mark.parametrize(("wait", "counted"), [(-5.0, 0.0), (0.0, 0.0), (0.25, 0.25)])
def test_no_wait_is_shorter_than_none(wait: float, counted: float) -> None:
    known = history(*[wait] * LEAST_WAITS)

    assert known.span(1, ["m"], 3, -1.0, 0.0) == Span(counted, counted, 0.0)


def test_a_single_board_is_a_size_class_of_its_own() -> None:
    known = history(*range(100), boards=1)

    assert known.span(1, ["m"], 1, -1.0, 0.0) is not None
    assert known.span(2, ["m"], 2, -1.0, 0.0) is None
