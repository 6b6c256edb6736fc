"""Output that waits, with clients that take as much as the test says."""

import pytest

from spalloc_server._wire import outgoing as _outgoing
from spalloc_server._wire.outgoing import Outgoing
from tests.support.fake_client import FakeClient


def test_output_goes_in_order_and_at_once_if_there_is_room() -> None:
    outgoing, client = Outgoing(), FakeClient()
    assert outgoing.add(client, b"one") == 3
    assert outgoing.add(client, b"two") == 6

    assert outgoing.send(client) is True

    assert client.sent == b"onetwo"
    assert client not in outgoing
    assert outgoing.size(client) == 0


@pytest.mark.parametrize("room", range(7))
def test_what_the_kernel_does_not_take_waits(room: int) -> None:
    outgoing, client = Outgoing(), FakeClient(room=room)
    outgoing.add(client, b"one")
    outgoing.add(client, b"two")

    done = outgoing.send(client)

    assert done is (room >= 6)
    assert client.sent == b"onetwo"[:room]
    assert outgoing.size(client) == 6 - room
    client.room = None
    assert outgoing.send(client) is True
    assert client.sent == b"onetwo"


def test_small_pieces_are_sent_together_and_large_ones_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    class Counting(FakeClient):
        def send(self, data: bytes) -> int:
            sizes.append(len(data))
            return super().send(data)

    monkeypatch.setattr(_outgoing, "_JOIN", 10)
    outgoing, client = Outgoing(), Counting()
    for size in (4, 4, 4, 50, 3):
        outgoing.add(client, b"x" * size)

    outgoing.send(client)

    assert sizes == [12, 50, 3]


def test_nothing_to_send_is_sent_at_once() -> None:
    assert Outgoing().send(FakeClient()) is True


def test_a_stand_in_that_does_not_say_how_much_it_took_took_all() -> None:
    class Silent:
        def send(self, data: bytes) -> int:
            return None  # type: ignore[return-value]

    outgoing, client = Outgoing(), Silent()
    outgoing.add(client, b"all")

    assert outgoing.send(client) is True
    assert outgoing.size(client) == 0


def test_a_client_that_is_gone_is_the_caller_s_matter() -> None:
    outgoing, client = Outgoing(), FakeClient()
    client.fails = ConnectionResetError()
    outgoing.add(client, b"x")

    with pytest.raises(ConnectionResetError):
        outgoing.send(client)

    outgoing.forget(client)
    assert list(outgoing) == []


def test_the_fullest_is_told_once_all_together_hold_too_much(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_outgoing, "MAX_TOTAL", 10)
    outgoing, small, large = Outgoing(), FakeClient(), FakeClient()
    outgoing.add(small, b"x" * 4)
    outgoing.add(large, b"x" * 6)
    assert outgoing.fullest_beyond_total() is None

    outgoing.add(small, b"x")

    assert outgoing.fullest_beyond_total() is large
    outgoing.forget(large)
    outgoing.forget(large)
    assert outgoing.fullest_beyond_total() is None


def test_the_limits_are_those_of_the_specification() -> None:
    assert _outgoing.MAX_PER_CLIENT == 16 * 2**20
    assert _outgoing.MAX_TOTAL == 256 * 2**20
    assert _outgoing.PAUSE_ABOVE == 2**20


@pytest.mark.parametrize("room", range(4))
def test_new_output_goes_at_once_as_far_as_there_is_room(room: int) -> None:
    outgoing, client = Outgoing(), FakeClient(room=room)

    done = outgoing.send_new(client, b"one")

    assert done is (room >= 3)
    assert client.sent == b"one"[:room]
    assert outgoing.size(client) == 3 - room
    client.room = None
    assert outgoing.send_new(client, b"two") is True
    assert client.sent == b"onetwo"


def test_new_output_goes_behind_what_waits() -> None:
    outgoing, client = Outgoing(), FakeClient(room=0)
    outgoing.add(client, b"one")

    assert outgoing.send_new(client, b"two") is False

    client.room = None
    assert outgoing.send(client) is True
    assert client.sent == b"onetwo"


def test_a_client_is_paused_while_much_waits_for_it() -> None:
    outgoing, client = Outgoing(), FakeClient()
    outgoing.add(client, b"x" * _outgoing.PAUSE_ABOVE)
    assert not outgoing.paused(client)

    outgoing.add(client, b"x")

    assert outgoing.paused(client)
    outgoing.forget(client)
    assert not outgoing.paused(client)
