"""The life of a command: every fault is a status and a line."""

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from spalloc_client import scripts
from spalloc_client._program import CommandError, Terminated, _Signals, run, shield

from tests.fake_server import FakeServer


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


PROGRAMS = [
    *(f"from spalloc_client.scripts import {name} as main" for name in
      ("spalloc", "spalloc_ps", "spalloc_machine", "spalloc_job", "spalloc_where_is")),
    "from spalloc_client.config import main",
]

#: Runs a program; its reader goes away before anything is written.
_UNREAD = """
import os, sys
ears, mouth = os.pipe()
os.dup2(mouth, 1)
os.close(ears)
os.close(mouth)
{}
sys.argv = ["program", *sys.argv[1:]]
sys.exit(main())
"""


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_a_program_that_nobody_reads_ends_as_shells_expect(program: str, option: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNREAD.format(program), option],
        stderr=subprocess.PIPE,
        check=False,
    )

    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")


def test_closed_outputs_are_replaced(server: FakeServer, tmp_path: Path) -> None:
    code = (
        "import sys; from spalloc_client.scripts import spalloc_ps as main; sys.argv = sys.argv;"
        "sys.exit(main())"
    )
    line = '"$@" >&- 2>&-'
    address = ["-H", "127.0.0.1", "-P", str(server.port)]

    done = subprocess.run(
        ["/bin/sh", "-c", line, "sh", sys.executable, "-c", code, *address], check=False
    )

    assert done.returncode == 0
    assert [name for name, *_ in server.heard] == ["version", "list_jobs"]


class Terminal(io.StringIO):
    """Looks like a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_line_that_an_interrupt_broke_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = Terminal()
    monkeypatch.setattr("sys.stderr", shown)

    assert run("p", lambda _: raising(KeyboardInterrupt()), []) == 128 + signal.SIGINT
    assert shown.getvalue() == "\n"


def test_a_terminal_that_is_gone_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(Terminal):
        def write(self, text: str) -> int:
            raise OSError("gone")

    monkeypatch.setattr("sys.stderr", Gone())

    assert run("p", lambda _: raising(KeyboardInterrupt()), []) == 128 + signal.SIGINT


def test_a_signal_handler_of_the_caller_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["spalloc-ps", "--version"])
    calls: list[int] = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        with pytest.raises(SystemExit):
            scripts.spalloc_ps()
        signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)

    assert calls == [1]


def test_a_password_in_a_url_is_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    words = "cannot use https://me:secret@host/x or http://u@h"

    assert run("p", lambda _: raising(CommandError(words)), []) == 1

    assert capsys.readouterr().err == "p: cannot use https://...@host/x or http://...@h\n"


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
