"""Which boards are switched and which links are set in a batch."""

import pytest

from spalloc_server._bmp.batch_run import in_order, links_to_set
from spalloc_server._bmp.requests import LinkRequest
from spalloc_server.links import Links
from tests.support.frame_requests import asking


def test_boards_are_switched_once_in_the_order_of_first_sight() -> None:
    assert in_order([3, 1, 3, 2, 1]) == [3, 1, 2]


@pytest.mark.parametrize("later", ["+1", "-1", "+1 ~1"])
def test_links_of_a_board_that_is_switched_again_first_are_skipped(later: str) -> None:
    batch = [asking("+1 ~1 ~2"), asking("+3 ~3"), asking(later)]

    first, second, third = links_to_set(batch)

    assert first == [LinkRequest(2, Links.north, False)]
    assert second == [LinkRequest(3, Links.north, False)]
    assert len(third) == later.count("~")


def test_a_request_that_is_alone_sets_its_links_whatever_it_switches() -> None:
    assert links_to_set([asking("+1 ~1 -1")]) == [[LinkRequest(1, Links.north, False)]]
