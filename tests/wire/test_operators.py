"""Orders at the control socket, as the loop carries them out and answers them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from spalloc_server._wire.control_socket import ask
from spalloc_server._wire.operators import Operators


class StandInAhead:
    """Outcomes whose positions are given out and become safe by hand."""

    def __init__(self) -> None:
        self.position = 300
        self.safe = 300

    def commit(self) -> int:
        return self.position


class Loop:
    """What stands around operators: a loop that is woken, orders, and a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ahead = StandInAhead()
        self.woken = threading.Semaphore(0)
        self.obeyed: list[tuple[str, int]] = []
        self.operators = Operators(path, self.woken.release, self.ahead, self._obey)  # type: ignore[arg-type]
        self.answers: list[str] = []
        self._threads: list[threading.Thread] = []

    def _obey(self, order: str, uid: int) -> str:
        self.obeyed.append((order, uid))
        return f"did {order}"

    def order(self, text: str) -> threading.Thread:
        """Give an order in a thread, and wait until the loop is woken for it."""
        thread = threading.Thread(target=self._ask, args=(text,))
        thread.start()
        self._threads.append(thread)
        assert self.woken.acquire(timeout=20)
        return thread

    def _ask(self, text: str) -> None:
        self.answers.append(ask(self.path, text, "the server").decode().rstrip())

    def close(self) -> None:
        self.operators.stop()
        for thread in self._threads:
            thread.join()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path / "control")
    yield loop
    loop.close()


def is_woken(loop: Loop) -> bool:
    return loop.woken.acquire(blocking=False)


def test_before_the_socket_is_open_there_is_nothing_to_do(loop: Loop) -> None:
    loop.operators.see_to()
    loop.operators.stop()

    assert not loop.operators.busy
    assert not loop.path.exists()


def test_an_order_is_carried_out_and_answered_when_it_is_safe(loop: Loop) -> None:
    loop.operators.open()
    thread = loop.order("out m 0 0 0")
    assert loop.operators.busy
    loop.ahead.position = 301

    loop.operators.see_to()
    assert loop.obeyed == [("out m 0 0 0", os.geteuid())]
    assert is_woken(loop)  # Clients that watch are told.
    assert loop.operators.busy
    loop.operators.see_to()
    assert loop.operators.busy
    assert not is_woken(loop)
    assert loop.answers == []

    loop.ahead.safe = 301
    loop.operators.see_to()
    thread.join(20)
    assert loop.answers == ["did out m 0 0 0"]
    assert not loop.operators.busy
    assert len(loop.obeyed) == 1


@pytest.mark.parametrize("safe", [300, 301])
def test_an_order_is_answered_at_once_if_nothing_is_to_be_written(loop: Loop, safe: int) -> None:
    loop.operators.open()
    thread = loop.order("list")
    loop.ahead.safe = safe

    loop.operators.see_to()

    thread.join(20)
    assert loop.answers == ["did list"]
    assert not loop.operators.busy


def test_without_orders_nothing_is_done(loop: Loop) -> None:
    loop.operators.open()

    loop.operators.see_to()

    assert not loop.operators.busy
    assert not is_woken(loop)
    assert loop.obeyed == []


def test_operators_who_wait_for_the_disk_are_answered_at_the_end(loop: Loop) -> None:
    loop.operators.open()
    thread = loop.order("free m 0 0 0")
    loop.ahead.position = 301
    loop.operators.see_to()

    loop.operators.stop()

    thread.join(20)
    assert loop.answers == ["did free m 0 0 0"]
    assert not loop.path.exists()
    loop.operators.stop()


def test_a_socket_that_cannot_be_made_is_told_and_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Loop(tmp_path / "none" / "control")

    loop.operators.open()

    loop.operators.see_to()
    loop.close()
    (line,) = caplog.messages
    assert line.startswith("spalloc-state cannot reach this server: ")
    assert str(tmp_path / "none") in line


def test_without_a_descriptor_for_the_socket_there_are_no_orders(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(os, "pipe", fail)

    loop.operators.open()

    loop.operators.see_to()
    assert caplog.messages == [
        "spalloc-state cannot reach this server: [Errno 24] Too many open files"
    ]
