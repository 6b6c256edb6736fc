"""What a frame does next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from spalloc_server._bmp.requests import AtomicRequests, BatchBuilder, RequestQueue
from tests.support.frame_requests import asking


def requests_for(*boards: int, on: bool = True, background: bool = False) -> AtomicRequests:
    requests = AtomicRequests(lambda *_: None)
    for board in boards:
        requests.power(board, on)
    requests.background = background
    return requests


def test_all_that_waits_is_merged() -> None:
    queue = RequestQueue()
    waiting = [requests_for(board) for board in range(24)]
    for request in waiting:
        queue.add(request)

    assert queue.next_batch(now=0.0) == waiting
    assert len(queue) == 24


def test_a_request_stays_until_it_is_removed() -> None:
    queue = RequestQueue()
    request = requests_for(1)
    queue.add(request)

    queue.next_batch(now=0.0)
    assert queue.unanswered == [request]
    queue.remove(request)

    assert queue.is_idle
    assert len(queue) == 0
    with pytest.raises(ValueError, match="not in the queue"):
        queue.remove(request)


def test_a_second_try_is_done_when_it_is_due_and_alone() -> None:
    queue = RequestQueue()
    first, second = requests_for(1), requests_for(2)
    for request in (first, second):
        queue.add(request)
        assert queue.try_again(request, due=15.0)

    assert queue.next_batch(now=14.9) == []
    assert queue.next_due() == 15.0
    assert queue.next_batch(now=15.0) == [first]
    assert queue.due_retries(now=15.0) == [first, second]


def test_there_is_no_third_try() -> None:
    queue = RequestQueue()
    request = requests_for(1)
    queue.add(request)

    assert queue.try_again(request, due=15.0)
    assert not queue.try_again(request, due=30.0)


def test_other_boards_are_served_between_tries_and_the_same_board_waits() -> None:
    queue = RequestQueue()
    failed, same_board, other_board = (
        requests_for(1),
        requests_for(1, on=False),
        requests_for(2),
    )
    queue.add(failed)
    queue.try_again(failed, due=15.0)
    queue.add(same_board)
    queue.add(other_board)

    assert queue.next_batch(now=1.0) == [other_board]
    queue.remove(other_board)
    assert queue.next_batch(now=1.0) == []
    assert queue.next_batch(now=15.0) == [failed]
    queue.remove(failed)
    assert queue.next_batch(now=15.0) == [same_board]


def test_a_second_try_waits_for_older_requests_that_were_held_back() -> None:
    queue = RequestQueue()
    failed, held, failed_too = requests_for(1), requests_for(1, 2), requests_for(2)
    for request in (failed, held, failed_too):
        queue.add(request)
    queue.try_again(failed, due=30.0)
    queue.try_again(failed_too, due=15.0)

    assert queue.next_batch(now=15.0) == []
    assert queue.next_due() == 30.0


def test_second_tries_take_turns_with_what_waits() -> None:
    queue = RequestQueue()
    failed = [requests_for(board) for board in range(3)]
    for request in failed:
        queue.add(request)
        queue.try_again(request, due=0.0)
    late = requests_for(9)
    queue.add(late)

    order = []
    for _ in range(4):
        (request,) = queue.next_batch(now=1.0)
        queue.remove(request)
        order.append(request)

    assert order.index(late) < 2
    assert [request for request in order if request is not late] == failed


def test_background_requests_wait_for_everything_else_and_come_singly() -> None:
    queue = RequestQueue()
    background = [requests_for(board, background=True) for board in (1, 2)]
    other = requests_for(3)
    for request in (*background, other):
        queue.add(request)

    assert queue.next_batch(now=0.0) == [other]
    assert queue.next_background() == []
    queue.try_again(other, due=15.0)
    assert queue.next_background() == []
    queue.remove(other)
    assert queue.next_batch(now=0.0) == []
    assert queue.next_background() == background[:1]
    assert not queue.try_again(background[0], due=15.0)


def test_a_background_request_is_overtaken_unless_it_has_begun() -> None:
    queue = RequestQueue()
    begun, waiting, other = (requests_for(b, background=True) for b in (1, 2, 3))
    for request in (begun, waiting, other):
        queue.add(request)
    assert queue.next_background() == [begun]
    queue.begin([begun])

    queue.add(requests_for(1, 2))

    assert queue.overtaken == [waiting]
    assert len(queue) == 4
    queue.remove(waiting)
    assert queue.overtaken == []


boards = st.sets(st.integers(0, 4), min_size=1, max_size=3)


class QueueMachine(RuleBasedStateMachine):
    """Any order of arrivals and outcomes, checked against the rules of order."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = RequestQueue()
        self.now = 0.0
        self.arrived: list[AtomicRequests] = []
        self.tries: dict[AtomicRequests, int] = {}
        self.under_way: list[AtomicRequests] = []

    @rule(boards=boards, on=st.booleans())
    def add(self, boards: set[int], on: bool) -> None:
        request = requests_for(*boards, on=on)
        self.queue.add(request)
        self.arrived.append(request)
        self.tries[request] = 0

    @precondition(lambda self: not self.under_way)
    @rule()
    def next(self) -> None:
        batch = list(self.queue.next_batch(self.now))
        if not batch and not self.queue.is_idle:
            due = self.queue.next_due()
            assert due is not None, "nothing can be done, and nothing is waited for"
            assert due > self.now, "would look again at once, for ever"
        for request in batch:
            ahead = self.arrived[: self.arrived.index(request)]
            for other in ahead:
                assert other in batch or not other.boards & request.boards
        if any(self.tries[request] for request in batch):
            assert len(batch) == 1
        self.under_way = batch

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def outcome(self, data: st.DataObject) -> None:
        request = self.under_way.pop(0)
        match data.draw(st.sampled_from(["done", "failed", "held"])):
            case "done":
                self.finish(request)
            case "failed":
                self.tries[request] += 1
                if not self.queue.try_again(request, self.now + 15.0):
                    assert self.tries[request] == 2
                    self.finish(request)

    def finish(self, request: AtomicRequests) -> None:
        self.queue.remove(request)
        self.arrived.remove(request)

    @rule(seconds=st.sampled_from([1.0, 7.0, 15.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.queue.unanswered == self.arrived


TestQueueMachine = QueueMachine.TestCase


@given(st.lists(boards, max_size=12))
def test_everything_is_done_in_the_end(waiting: list[set[int]]) -> None:
    queue = RequestQueue()
    for which in waiting:
        queue.add(requests_for(*which, on=sum(which) % 2 == 0))

    for _ in waiting:
        for request in queue.next_batch(now=0.0):
            queue.remove(request)

    assert queue.is_idle


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
