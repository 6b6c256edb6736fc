"""A search for a place that takes too long goes on at the next opportunity."""

from collections.abc import Iterator

import pytest

from spalloc_server._allocation import grid_allocator
from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.queueing import Owner


@pytest.fixture
def owner(monkeypatch: pytest.MonkeyPatch) -> Iterator[Owner]:
    """A machine on which the filter has to be asked about each block, and may be asked once."""
    monkeypatch.setattr(grid_allocator, "_BOARDS_IN_ONE_GO", 1)
    owner = Owner(seconds_before_free=0)
    # Board 1 of most triads is cut off; triad (2, 0) has one dead cable, the last none.
    links = {(x, 0, 1, link) for x in (0, 1, 3, 4) for link in Links}
    links.add((2, 0, 1, Links.west))
    with FakeClock().installed():
        owner.queue.add_machine("m", 6, 1, dead_links=links)
        owner.queue.create_job(5, 0, 0, job_id=1)
        yield owner


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
