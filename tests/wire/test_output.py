"""Output that waits, with clients that take as much as the test says."""

import socket
from itertools import takewhile
from random import Random
from typing import Any

import pytest

from spalloc_server._wire import output as output_module
from spalloc_server._wire.output import Client, Output
from tests.support.fake_client import FakeClient


def test_output_goes_in_order_and_at_once_if_there_is_room() -> None:
    output, client = Output(), FakeClient()
    output.add(b"one")
    output.add(b"two")
    assert output.size == 6

    assert output.send(client) is True

    assert client.sent == b"onetwo"
    assert output.size == 0


@pytest.mark.parametrize("room", range(7))
def test_what_the_kernel_does_not_take_waits(room: int) -> None:
    output, client = Output(), FakeClient(room=room)
    output.add(b"one")
    output.add(b"two")

    done = output.send(client)

    assert done is (room >= 6)
    assert client.sent == b"onetwo"[:room]
    assert output.size == 6 - room
    client.room = None
    assert output.send(client) is True
    assert client.sent == b"onetwo"


def test_small_pieces_are_sent_together_and_large_ones_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    class Counting(FakeClient):
        def send(self, data: bytes) -> int:
            sizes.append(len(data))
            return super().send(data)

    monkeypatch.setattr(output_module, "_JOIN", 10)
    output, client = Output(), Counting()
    for size in (4, 4, 4, 50, 3):
        output.add(b"x" * size)

    output.send(client)

    assert sizes == [12, 50, 3]


def test_nothing_to_send_is_sent_at_once() -> None:
    assert Output().send(FakeClient()) is True


def test_a_stand_in_that_does_not_say_how_much_it_took_took_all() -> None:
    class Silent:
        def send(self, data: bytes) -> int:
            return None  # type: ignore[return-value]

    output, client = Output(), Silent()
    output.add(b"all")

    assert output.send(client) is True
    assert output.size == 0


def test_a_client_that_is_gone_is_the_caller_s_matter() -> None:
    output, client = Output(), FakeClient()
    client.fails = ConnectionResetError()
    output.add(b"x")

    with pytest.raises(ConnectionResetError):
        output.send(client)

    output.clear()
    assert output.size == 0


def test_the_limits_are_those_of_the_specification() -> None:
    assert output_module.MAX_UNREAD == 16 * 2**20
    assert output_module.PAUSE_ABOVE == 2**20


@pytest.mark.parametrize("room", range(4))
def test_new_output_goes_at_once_as_far_as_there_is_room(room: int) -> None:
    output, client = Output(), FakeClient(room=room)

    done = output.send_new(client, b"one")

    assert done is (room >= 3)
    assert client.sent == b"one"[:room]
    assert output.size == 3 - room
    client.room = None
    assert output.send_new(client, b"two") is True
    assert client.sent == b"onetwo"


def test_new_output_goes_behind_what_waits() -> None:
    output, client = Output(), FakeClient(room=0)
    output.add(b"one")

    assert output.send_new(client, b"two") is False

    client.room = None
    assert output.send(client) is True
    assert client.sent == b"onetwo"


def _sent_part_by_part(client: Client) -> None:
    output = Output()
    output.add(b"abcdefgh")
    output.add(b"ij")
    sizes = [output.size]
    while not output.send(client):
        sizes.append(output.size)
    assert sizes == [10, 7, 4, 1]


def test_the_rest_of_a_long_piece_is_not_copied_for_each_send() -> None:
    kinds = []

    class Slow(socket.socket):
        def send(self, data: Any, _flags: int = 0) -> int:
            kinds.append(type(data))
            return super().send(data[:3])

    here, there = socket.socketpair()
    with Slow(fileno=here.detach()) as client, there:
        _sent_part_by_part(client)

        assert there.recv(100) == b"abcdefghij"
    assert kinds == [bytes, memoryview, memoryview, memoryview]


def test_a_stand_in_is_given_bytes() -> None:
    class Slow(FakeClient):
        def send(self, data: bytes) -> int:
            assert type(data) is bytes
            self.room = 3
            return super().send(data)

    client = Slow()

    _sent_part_by_part(client)

    assert client.sent == b"abcdefghij"


def test_a_reply_may_be_larger_than_what_may_be_left_unread() -> None:
    output, client = Output(), FakeClient(room=0)
    output.add(b"x" * 10)
    assert output.allowed == output_module.MAX_UNREAD

    output.add_reply(b"y" * 100)

    assert output.allowed == 110 + output_module.MAX_UNREAD
    assert output.send(client) is False
    assert output.allowed == 110 + output_module.MAX_UNREAD
    client.room = None
    output.send(client)
    assert output.allowed == output_module.MAX_UNREAD


def test_output_that_is_held_waits_with_all_that_comes_behind_it() -> None:
    output, client = Output(), FakeClient()
    output.add(b"one")
    output.hold(5)
    output.hold(5)  # nothing has come since
    output.add(b"two")

    assert output.send(client) is False
    output.release(4)
    assert output.send(client) is False
    assert client.sent == b""

    output.release(5)
    assert output.send(client) is True
    assert client.sent == b"onetwo"


def test_each_hold_is_released_by_its_own_position() -> None:
    output, client = Output(), FakeClient()
    output.add(b"one")
    output.hold(5)
    output.add(b"two")
    output.hold(6)

    output.release(5)

    assert output.send(client) is False
    assert client.sent == b"one"
    output.release(6)
    assert output.send(client) is True
    assert client.sent == b"onetwo"


@pytest.mark.parametrize("seed", range(20))
def test_bytes_wait_for_their_own_hold_and_for_all_before_them(seed: int) -> None:
    dice = Random(seed)
    output, client = Output(), FakeClient()
    # Of each byte that waits, the position it is held for; None if it is not held.
    waiting: list[int | None] = []
    position = sent = 0
    for step in dice.choices(["add", "hold", "send"], [4, 3, 2], k=200):
        if step == "add":
            number = dice.randint(1, 4)
            output.add(bytes(number))
            waiting += [None] * number
        elif step == "hold":
            position += 1
            output.hold(position)
            waiting = [position if held is None else held for held in waiting]
        else:
            released = max(0, position - dice.randint(0, 4))
            output.release(released)
            free = sum(1 for _ in takewhile(lambda held: (held or 0) <= released, waiting))  # noqa: B023
            del waiting[:free]
            sent += free
            assert output.send(client) is (not waiting)
            assert len(client.sent) == sent

        assert output.size == len(waiting)
