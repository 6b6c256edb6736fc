"""What objects of other programs may leave out."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from spalloc_server._wire import stand_ins
from spalloc_server.controller import Controller
from tests.support.fake_client import FakeClient


@pytest.mark.parametrize(("sent", "taken"), [(3, 3), (0, 0), (None, 7), ("x", 7)])
def test_a_send_that_says_no_number_took_all(sent: object, taken: int) -> None:
    assert stand_ins.bytes_taken(sent, 7) == taken


def test_an_address_is_text_or_none() -> None:
    assert stand_ins.address(FakeClient()) == "10.0.0.7"
    for told in ("", (5, 6), (None,)):
        assert stand_ins.address(SimpleNamespace(getpeername=lambda told=told: told)) is None
    assert stand_ins.address(SimpleNamespace()) is None
    assert stand_ins.address(SimpleNamespace(getpeername=lambda: 7)) is None


def test_a_mock_of_a_controller_is_none_of_ours() -> None:
    assert stand_ins.is_ours(Controller())
    assert not stand_ins.is_ours(Mock(spec=Controller))
    assert not stand_ins.is_ours(SimpleNamespace())


def test_another_controller_is_asked_to_do_everything_each_turn() -> None:
    controller = Mock()
    other = stand_ins.OtherController(controller)

    with other.undisturbed:
        other.tend()

    assert controller.mock_calls[0][0] == "destroy_timed_out_jobs"
    assert controller.mock_calls[1][0] == "check_free"
    other.take_changes()
    other.next_due(5.0)


@pytest.mark.parametrize("ours", [True, False])
def test_another_controller_is_stopped_and_waited_for(ours: bool) -> None:
    joined: list[Any] = []
    controller: Any = Controller() if ours else Mock()

    stand_ins.stop(controller, joined.append)

    if ours:
        assert joined == [controller.frames]
    else:
        assert [call[0] for call in controller.mock_calls] == ["stop", "join"]
