"""Signals that ask for a stop, sent to ourselves."""

import signal
import threading

import pytest

from spalloc_server._programs.signals import StopSignals

ALL = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait(number: int) -> None:
    with StopSignals() as signals:
        assert signals.arrived is False
        assert signals.wait(0) is False

        signal.raise_signal(number)

        assert signals.arrived is True
        assert signals.wait(60) is True
        assert signals.wait(60) is True


def test_later_signals_are_told_at_once() -> None:
    calls: list[int] = []
    with StopSignals() as signals:
        signals.on_second = lambda: calls.append(1)
        signal.raise_signal(signal.SIGTERM)
        assert calls == []

        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)

    assert calls == [1, 1]


def test_sighup_does_nothing_where_nobody_listens_to_it() -> None:
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGHUP)

        assert signals.wait(0) is False
        assert signals.arrived is False


def test_signals_that_were_ignored_are_handled_and_then_ignored_again() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.arrived

        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_everything_is_as_before_afterwards() -> None:
    before = [signal.getsignal(number) for number in ALL], signal.set_wakeup_fd(-1)

    with StopSignals():
        pass

    assert [signal.getsignal(number) for number in ALL] == before[0]
    assert signal.set_wakeup_fd(before[1]) == -1


def test_other_threads_do_without() -> None:
    before = [signal.getsignal(number) for number in ALL]
    seen = []

    def run() -> None:
        with StopSignals() as signals:
            seen.append(signals.wait(0))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()

    assert seen == [False]
    assert [signal.getsignal(number) for number in ALL] == before
