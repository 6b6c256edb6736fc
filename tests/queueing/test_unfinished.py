"""A search for a place that takes too long goes on at the next opportunity."""

from collections.abc import Iterator

import pytest

from spalloc_server._allocation import grid_allocator
from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.queueing import Owner


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch, clock: FakeClock) -> Owner:
    """A machine on which the filter has to be asked about each block, and may be asked once."""
    monkeypatch.setattr(grid_allocator, "_BOARDS_IN_ONE_GO", 1)
    owner = Owner(seconds_before_free=0)
    # Board 1 of most triads is cut off; triad (2, 0) has one dead cable, the last none.
    links = {(x, 0, 1, link) for x in (0, 1, 3, 4) for link in Links}
    links.add((2, 0, 1, Links.west))
    owner.queue.add_machine("m", 6, 1, dead_links=links)
    owner.queue.create_job(5, 0, 0, job_id=1)
    return owner


def go_on(owner: Owner) -> int:
    """Let searches go on until they end, and count the goes."""
    goes = 0
    while owner.queue.next_rested() is not None:
        goes += 1
        owner.queue.check_free()
    return goes


@pytest.mark.parametrize("scheduling", ["fcfs-grid", "overtaking"])
def test_a_place_is_found_in_several_goes(owner: Owner, scheduling: str) -> None:
    owner.queue.scheduling = scheduling
    owner.news()

    owner.queue.create_job(1, 1, job_id=2, max_dead_boards=0)
    owner.queue.create_job(job_id=3)

    assert owner.news() == []
    assert go_on(owner) >= 1
    assert owner.news() == [("allocate", 2, "m"), ("allocate", 3, "m")]
    assert owner.queue.outcome_of("m", 2) == ("triads", 2, 0, 1, 1)


def test_nobody_gets_a_region_before_the_search_is_over(owner: Owner) -> None:
    owner.queue.scheduling = "overtaking"
    owner.queue.create_job(2, 0, 0, job_id=2)

    owner.queue.create_job(1, 1, job_id=3, max_dead_boards=0)

    assert owner.queue.region_of(3) is None
    assert go_on(owner) >= 3
    region = owner.queue.region_of(3)
    assert region is not None
    assert region.place in {(2, 0, 1, 1), (5, 0, 1, 1)}


def test_a_newcomer_whose_search_is_not_over_waits_behind_others(owner: Owner) -> None:
    owner.queue.scheduling = "overtaking"
    owner.queue.create_job(5, 0, 0, job_id=2)
    owner.news()

    owner.queue.create_job(1, 1, job_id=3, max_dead_boards=0)

    assert owner.news() == []
    assert go_on(owner) >= 1
    assert owner.news() == [("allocate", 3, "m")]


@pytest.fixture
def full(owner: Owner, clock: FakeClock) -> Owner:
    """Each triad has one board in use, the last one for long; job 9 waits for a whole triad."""
    clock.advance(400)
    owner.queue.scheduling = "overtaking"
    for x in range(5):
        owner.queue.create_job(x, 0, 0, job_id=2 + x)
    owner.queue.create_job(1, 1, job_id=9, max_dead_boards=0)
    return owner


def test_the_search_for_a_region_goes_on_too(full: Owner) -> None:
    assert full.queue.region_of(9) is None

    assert go_on(full) >= 1

    region = full.queue.region_of(9)
    assert region is not None
    assert region.place == (2, 0, 1, 1)


def test_a_region_stays_until_the_search_for_another_is_over(full: Owner) -> None:
    go_on(full)
    links = full.queue._machines["m"].allocator.dead_links
    assert isinstance(links, set)

    links.update((2, 0, 1, link) for link in Links)
    full.queue.create_job(1, 1, job_id=10, max_dead_boards=0)

    region = full.queue.region_of(9)
    assert region is not None
    assert region.place == (2, 0, 1, 1)
    assert go_on(full) >= 1
    region = full.queue.region_of(9)
    assert region is not None
    assert region.place == (5, 0, 1, 1)
