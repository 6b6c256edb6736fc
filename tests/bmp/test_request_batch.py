"""What may be merged, and what that leaves to do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._bmp.request_batch import BatchBuilder, in_order, links_to_set
from spalloc_server._bmp.requests import AtomicRequests, LinkRequest
from spalloc_server.links import Links


def asking(text: str) -> AtomicRequests:
    """Requests from a text like ``"+1 ~1 -2"``: 1 on, a link of 1, 2 off."""
    requests = AtomicRequests(lambda *_: None)
    for word in text.split():
        board = int(word[1:])
        if word[0] == "~":
            requests.link(board, Links.north, False)
        else:
            requests.power(board, word[0] == "+")
    return requests


def merged(*texts: str) -> list[str]:
    """Those of the waiting requests that are done in one batch."""
    builder = BatchBuilder()
    return [text for text in texts if builder.join(asking(text))]


@pytest.mark.parametrize(
    "together",
    [
        ("+1", "+2"),
        ("+1 ~1", "+2 ~2", "-3"),
        ("-3", "+1"),
        ("+1", "+1"),
        ("-1", "-1"),
        ("+1", "-1"),
        ("+1 ~1", "-1"),
        ("~1", "+1"),
        ("~1", "~1"),
        ("~1", "-1"),
        ("+1 ~1", "+1 ~1"),
        ("+1", "+1 -1"),
        ("+1 -2", "+1"),
        ("+1 -2", "-2"),
        ("", "+1"),
    ],
)
def test_requests_are_merged_where_order_allows(together: tuple[str, ...]) -> None:
    assert merged(*together) == list(together)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("-1", "+1"),
        ("-1", "~1"),
        ("-1", "+1 -1"),
        ("+1 -1", "+1"),
        ("+1 -2", "+2"),
        ("+1 -1", "-1"),
        ("+1 -2", "-1"),
        ("~1 -2", "-1"),
    ],
)
def test_requests_are_not_merged_where_order_forbids(first: str, second: str) -> None:
    assert merged(first, second) == [first]


def test_a_request_left_behind_holds_back_later_ones_on_any_of_its_boards() -> None:
    assert merged("-1", "+1 +2", "-2", "+2", "+3") == ["-1", "+3"]


def test_boards_of_requests_that_wait_for_their_second_try_are_blocked() -> None:
    builder = BatchBuilder()
    builder.leave(asking("+1 ~2 -3"))

    assert not any(builder.join(asking(text)) for text in ("-1", "-2", "-3"))
    assert builder.join(asking("-4"))


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


requests = st.lists(
    st.lists(
        st.tuples(st.sampled_from("+~-"), st.integers(0, 3)).map(
            lambda word: f"{word[0]}{word[1]}"
        ),
        max_size=4,
    ).map(" ".join),
    max_size=8,
)


@given(requests)
def test_a_batch_done_phase_by_phase_is_done_in_order_on_each_board(texts: list[str]) -> None:
    batch = merged(*texts)

    for board in range(4):
        switched = [kind for text in batch for kind in "+-" if f"{kind}{board}" in text.split()]
        assert switched == sorted(switched), "power-on came after power-off"


@given(requests)
def test_no_request_overtakes_one_that_stays_behind_on_a_board(texts: list[str]) -> None:
    builder = BatchBuilder()
    behind: set[int] = set()
    for text in texts:
        request = asking(text)
        if builder.join(request):
            assert not behind & request.boards
        else:
            behind |= request.boards

    assert builder.blocked == behind
