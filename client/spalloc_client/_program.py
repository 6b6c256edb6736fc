"""The life of a program: errors, signals and closed pipes become an exit status.

A program gives a body; `run` calls it, prints at most one line on standard error, and
returns the status to exit with. It knows no options, no settings and no server.
"""

import io
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from spalloc_client._text import clean
from spalloc_client.errors import SpallocError

_log = logging.getLogger(__name__)

#: A shell reports a process ended by signal n with the status 128 + n.
_SIGNALLED = 128

#: The part of a URL that may hold a password.
_USER_PART = re.compile(r"(?<=://)[^/@\s]*@")

Body = Callable[[Sequence[str] | None], int]


class CommandError(Exception):
    """A line for the user; the program then ends with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; passes through everything, like KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run(prog: str, body: Body, argv: Sequence[str] | None) -> int:
    """Run the body of the program `prog` and return the status to exit with."""
    _open_missing_streams()
    try:
        with _signals():
            return _run_and_flush(body, argv)
    except (KeyboardInterrupt, Terminated, BrokenPipeError) as exc:
        return _stopped(exc)
    except (CommandError, SpallocError) as exc:
        return _complain(prog, str(exc), getattr(exc, "status", 1))
    except OSError as exc:  # a full disk behind standard output, say
        _abandon_output()
        return _complain(prog, str(exc))
    except Exception as exc:  # noqa: BLE001 (the user gets a line, not a traceback)
        _log.debug("unexpected failure", exc_info=True)
        return _complain(prog, f"unexpected failure: {type(exc).__name__}: {exc}")


def note(text: str) -> None:
    """Print a line on standard error; unprintable characters in it are shown escaped."""
    print(clean(_USER_PART.sub("...@", text)), file=sys.stderr, flush=True)


def _run_and_flush(body: Body, argv: Sequence[str] | None) -> int:
    try:
        status = body(argv)
    except SystemExit:  # --help and --version end in this way
        sys.stdout.flush()
        raise
    sys.stdout.flush()
    return status


def _open_missing_streams() -> None:
    """Give a program that was started with closed outputs some that lead nowhere.

    Without them the next file or socket would take their place and get the output.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_WRONLY)
            setattr(sys, name, io.TextIOWrapper(io.FileIO(descriptor, "w"), write_through=True))


def _stopped(exc: BaseException) -> int:
    """Return the status that a shell would give to a program ended by this signal."""
    if isinstance(exc, Terminated):
        return _SIGNALLED + exc.number
    if isinstance(exc, BrokenPipeError):  # `| head` has seen enough
        _abandon_output()
        return _SIGNALLED + signal.SIGPIPE
    end_interrupted_line()
    return _SIGNALLED + signal.SIGINT


def end_interrupted_line() -> None:
    """Begin a new line after the ``^C`` that the terminal shows for Ctrl-C."""
    try:
        if sys.stderr.isatty():
            print(file=sys.stderr, flush=True)
    except OSError:
        _log.debug("nobody reads standard error")


def _complain(prog: str, message: str, status: int = 1) -> int:
    try:
        sys.stderr.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    except (AttributeError, OSError):
        _log.debug("standard error stays as it is")
    try:
        note(f"{prog}: {' '.join(message.split())}")
    except OSError:
        _log.debug("nobody reads standard error")
    return status


def _abandon_output() -> None:
    """Keep the interpreter from writing the rest at its end, which would fail again."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
    except (OSError, ValueError):
        _log.debug("standard output is no file")


class _Signals:
    """The signals that have come, and whether they may strike."""

    def __init__(self) -> None:
        self.ending = False
        self.shielded = False
        self.pending: int | None = None

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """Strike at the first signal; the clean-up after it is not disturbed."""
        if self.ending:
            return
        if self.shielded:
            self.pending = number
            return
        self.ending = True
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise Terminated(number)


_signals_now = _Signals()


@contextmanager
def shield() -> Iterator[None]:
    """Have signals wait for the end of the block, which must be short, and strike there."""
    _signals_now.shielded = True
    try:
        yield
    finally:
        _signals_now.shielded = False
        if _signals_now.pending is not None:
            _signals_now.on_signal(_signals_now.pending, None)


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the first signal into an exception."""
    vars(_signals_now).update(vars(_Signals()))
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # nohup has SIGHUP ignored, and means it. A shell's & has SIGINT ignored, but
        # anybody who sends that to us on purpose wants us to end.
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
            before[number] = signal.signal(number, _signals_now.on_signal)
    try:
        yield
    finally:
        for number, old_handler in before.items():
            signal.signal(number, old_handler)
