"""What all commands have in common: options, errors, signals, and how they end.

A command gives a parser and a body; `run` turns whatever happens into an exit status and,
at most, a line on standard error.
"""

import argparse
import copy
import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from spalloc_client._session import Session
from spalloc_client._settings import Settings
from spalloc_client._terminal import clean
from spalloc_client._version import __version__
from spalloc_client.config import read_config, search_path
from spalloc_client.errors import SpallocError
from spalloc_client.states import JobState

_log = logging.getLogger(__name__)

#: What a shell says of a process ended by signal n is 128 + n.
_SIGNALLED = 128

#: What argparse takes for an option, known or not; numbers below zero are none.
_OPTION = re.compile(r"-(?!\d+$|\d*\.\d+$)[^ ]+")


class CommandError(Exception):
    """Something to tell the user in a line; the command then ends with `status`."""

    def __init__(self, message: str, status: int = 1) -> None:
        super().__init__(message)
        self.status = status


class Terminated(BaseException):
    """SIGTERM or SIGHUP came; passes through everything, like KeyboardInterrupt."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line, and knows the common options.

    Options may stand before, between and after the other arguments; after ``--`` there are none.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog)
        self.add_argument(
            "--version", "-V", action="version", version=f"%(prog)s {__version__}"
        )

    def add_server_arguments(self) -> argparse._ArgumentGroup:
        """Add the options that say which server, and how patient to be with it."""
        group = self.add_argument_group(
            "server",
            "Not given here, these come from the configuration files; "
            "`python -m spalloc_client.config` shows them.",
        )
        group.add_argument("--hostname", "-H", metavar="NAME", help="the server's host")
        group.add_argument("--port", "-P", type=port, help="the server's port")
        group.add_argument(
            "--timeout", type=positive, metavar="SECONDS", help="how long to wait for an answer"
        )
        return group

    def parse_known_args(  # type: ignore[override]  # the library's is a row of overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read the options first, then what is left; returns also what nobody knows."""
        # As it is, argparse has arguments that may be left out match nothing at the first
        # option; its `parse_intermixed_args` loses a "--".
        given = list(sys.argv[1:] if args is None else args)
        options = [action for action in self._actions if action.option_strings]
        others = [action for action in self._actions if not action.option_strings]
        if not options or not others:
            return super().parse_known_args(given, namespace)
        end = given.index("--") if "--" in given else len(given)
        namespace, left = self._only(options).parse_known_args(given[:end], namespace)
        unknown = [word for word in left if _OPTION.fullmatch(word)]
        words = [word for word in left if not _OPTION.fullmatch(word)] + given[end + 1 :]
        # They are none, whatever they begin with.
        quoted = ["--", *words] if words else []
        namespace, surplus = self._only(others).parse_known_args(quoted, namespace)
        return namespace, unknown + surplus

    def _only(self, actions: list[argparse.Action]) -> "Parser":
        """Return a parser of some of the arguments, which explains them all."""
        part = copy.copy(self)
        vars(part).update(
            _actions=actions, format_help=self.format_help, format_usage=self.format_usage
        )
        return part

    def error(self, message: str) -> NoReturn:
        """Complain about the arguments and exit with status 2."""
        raise CommandError(f"{message} (--help shows what there is)", status=2)


# --- types of arguments; ArgumentTypeError's text says what is allowed ---


def whole(text: str) -> int:
    """Read a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None


def port(text: str) -> int:
    """Read a TCP port."""
    number = whole(text)
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 1 to 65535")
    return number


def number(text: str) -> float:
    """Read a number that is 0 or more."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0")
    return value


def positive(text: str) -> float:
    """Read a number of seconds above 0."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


# --- the life of a command ---


def run(prog: str, body: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None) -> int:
    """Run a command's body and return the status to exit with."""
    try:
        with _signals():
            status = body(argv)
            sys.stdout.flush()
            return status
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


def _stopped(exc: BaseException) -> int:
    """Return the status that a shell would give to a program ended by this signal."""
    if isinstance(exc, Terminated):
        return _SIGNALLED + exc.number
    if isinstance(exc, BrokenPipeError):  # `| head` has seen enough
        _abandon_output()
        return _SIGNALLED + signal.SIGPIPE
    return _SIGNALLED + signal.SIGINT


def settings_for(arguments: argparse.Namespace) -> Settings:
    """Read the configuration and lay the arguments over it; a hostname there must be."""
    settings = read_config()
    given = {
        name: value
        for name in ("hostname", "port", "timeout", "owner")
        if (value := getattr(arguments, name, None)) is not None
    }
    settings = settings._replace(**given)
    if settings.hostname is None:
        places = ", ".join(search_path())
        raise CommandError(f"no hostname: give --hostname, or write it into one of {places}")
    return settings


@contextmanager
def session_with(settings: Settings) -> Iterator[Session]:
    """Give a session with the server, closed at the end."""
    assert settings.hostname is not None
    session = Session(
        settings.hostname, settings.port, settings.timeout, settings.reconnect_delay
    )
    try:
        yield session
    finally:
        session.close()


def check_json(arguments: argparse.Namespace) -> None:
    """Refuse --json together with --watch."""
    if arguments.json and arguments.watch:
        raise CommandError("--json and --watch do not go together", status=2)


def no_such_machine(name: str, known: Iterable[str]) -> CommandError:
    """Make the error for a machine that the server does not have."""
    return CommandError(f"no machine is called {name}; there are: {', '.join(known) or 'none'}")


def with_state_name(job: dict[str, Any]) -> dict[str, Any]:
    """Add the state in words to a job of the protocol."""
    return {**job, "state_name": JobState(job["state"]).name}


def print_json(data: Any) -> None:
    """Print data for programs."""
    print(json.dumps(data, indent=2))


def note(text: str) -> None:
    """Print a line on standard error; what does not print in it is shown escaped."""
    print(clean(text), file=sys.stderr, flush=True)


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
    """Keep the interpreter from trying again, at its end, to write what nobody takes."""
    try:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
    except (OSError, ValueError):
        _log.debug("standard output is no file")



class _Signals:
    """What signals have come, and whether they may strike."""

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
        # nohup has SIGHUP ignored, and means it. A shell's & has SIGINT ignored, but who
        # sends that to us on purpose wants us to end.
        if signal.getsignal(number) is not signal.SIG_IGN or number != signal.SIGHUP:
            before[number] = signal.signal(number, _signals_now.on_signal)
    try:
        yield
    finally:
        for number, old_handler in before.items():
            signal.signal(number, old_handler)
