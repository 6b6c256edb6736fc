import threading

import pytest
from spalloc_client._connection import Outcome
from spalloc_client.errors import ServerLostError


def test_an_outcome_is_unknown_until_it_is_settled() -> None:
    outcome = Outcome()
    assert not outcome.known
    assert not outcome.wait(0)

    outcome.settle(7)

    assert outcome.known
    assert outcome.wait(0)
    assert outcome.wait(None)
    assert outcome.result() == 7


def test_an_outcome_may_be_an_error() -> None:
    outcome = Outcome()
    outcome.settle(error=ServerLostError("gone"))

    with pytest.raises(ServerLostError, match="gone"):
        outcome.result()


def test_a_thread_waits_for_another() -> None:
    outcome = Outcome()
    thread = threading.Thread(target=outcome.settle, args=(1,))
    thread.start()

    assert outcome.wait(30)
    thread.join()


def test_a_wait_that_was_interrupted_with_the_lock_in_hand_can_be_repeated() -> None:
    outcome = Outcome()
    outcome.settle(1)
    outcome._pending.acquire()  # as if an exception had come before the release

    assert outcome.known
    assert outcome.wait(0)
