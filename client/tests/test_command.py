"""The life of a command: whatever it meets is a status and a line."""

import io
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import pytest
from spalloc_client.scripts._command import Terminated, _Signals, run, shield


def raising(error: BaseException) -> NoReturn:
    raise error


class Full(io.StringIO):
    """Takes nothing."""

    def write(self, text: str) -> int:
        raise OSError("no space")


def test_an_unexpected_failure_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("p", lambda _: raising(ZeroDivisionError("surprise")), []) == 1

    assert capsys.readouterr() == ("", "p: unexpected failure: ZeroDivisionError: surprise\n")


def test_standard_error_may_be_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = io.StringIO()
    for stream in (taken, Full()):
        monkeypatch.setattr("sys.stderr", stream)

        assert run("p", lambda _: raising(ValueError("x")), []) == 1

    assert taken.getvalue() == "p: unexpected failure: ValueError: x\n"


def test_a_reader_that_is_gone_may_have_been_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())

    assert run("p", lambda _: raising(BrokenPipeError()), []) == 128 + signal.SIGPIPE


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_only_the_first_signal_strikes(
    number: signal.Signals, error: type[BaseException]
) -> None:
    signals = _Signals()

    with pytest.raises(error):
        signals.on_signal(number, None)
    signals.on_signal(signal.SIGINT, None)

    assert signals.ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_command_with_the_status_that_shells_know(number: signal.Signals) -> None:
    def body(_: object) -> int:
        signal.raise_signal(number)
        return 0

    assert run("p", body, []) == 128 + number


@contextmanager
def handling(number: int, handler: signal.Handlers) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_a_hang_up_that_is_ignored_stays_so() -> None:
    handlers = []

    def look(_: object) -> int:
        handlers.extend([signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGINT)])
        return 0

    with (
        handling(signal.SIGHUP, signal.SIG_IGN),
        handling(signal.SIGINT, signal.SIG_IGN),
    ):
        assert run("p", look, []) == 0

    assert handlers[0] is signal.SIG_IGN
    assert callable(handlers[1])


def test_a_signal_during_a_short_block_strikes_at_its_end() -> None:
    done = []

    def body(_: object) -> int:
        with shield():
            signal.raise_signal(signal.SIGTERM)
            done.append("block")
        done.append("after")
        return 0

    assert run("p", body, []) == 128 + signal.SIGTERM
    assert done == ["block"]
