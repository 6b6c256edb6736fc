"""Options, settings and answers that all commands have in common."""

import argparse
import copy
import difflib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn

from spalloc_client._address import check_hostname
from spalloc_client._program import CommandError, note
from spalloc_client._session import Session
from spalloc_client._settings import Settings, merge, search_path, usual_sources
from spalloc_client._version import __version__
from spalloc_client.states import JobState

#: A word that argparse takes for an option, known or not; numbers below zero are none.
_OPTION = re.compile(r"-(?!\d+$|\d*\.\d+$)[^ ]+")


#: Shells that --print-completion knows.
_SHELLS = ("bash", "zsh", "fish")


class _PrintCompletion(argparse.Action):
    """Prints the completion script of the whole parser for a shell, and exits."""

    def __call__(
        self, parser: argparse.ArgumentParser, _namespace: Any, values: Any, _option: Any = None
    ) -> NoReturn:
        import shtab  # noqa: PLC0415 (nothing else needs it)

        assert isinstance(parser, Parser)
        for action in parser.whole._actions:
            if action.metavar == "FILE":
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        parser._print_message(shtab.complete(parser.whole, shell=values), sys.stdout)
        parser.exit()


class Parser(argparse.ArgumentParser):
    """An argument parser that complains in one line, and knows the common options.

    Options may stand before, between and after the other arguments; after ``--`` there are none.
    """

    def __init__(self, prog: str, description: str, epilog: str | None = None) -> None:
        super().__init__(prog=prog, description=description, epilog=epilog)
        self.whole = self  # also in the parts that `_only` makes
        self.add_argument(
            "--print-completion",
            action=_PrintCompletion,
            choices=_SHELLS,
            metavar="SHELL",
            help="print the completion script for a shell: bash, zsh or fish",
        )
        self.add_argument(
            "--version", "-V", action="version", version=f"%(prog)s {__version__}"
        )

    def add_server_arguments(self) -> argparse._ArgumentGroup:
        """Add the options that say which server, and how patient to be with it."""
        group = self.add_argument_group(
            "server",
            "Not given here, these come from the environment (SPALLOC_HOSTNAME and so on) or the "
            "configuration files; "
            "`python -m spalloc_client.config` shows them.",
        )
        group.add_argument(
            "--hostname",
            "-H",
            type=hostname,
            metavar="NAME",
            help="the server's host, or the path of its Unix socket",
        )
        group.add_argument("--port", "-P", type=port, help="the server's port")
        group.add_argument(
            "--timeout", type=positive, metavar="SECONDS", help="how long to wait for an answer"
        )
        group.add_argument(
            "--tls", action="store_true", default=None, help="encrypt, and make sure of the server"
        )
        group.add_argument(
            "--ca", metavar="FILE", help="trust these authorities instead of the system's"
        )
        group.add_argument("--cert", metavar="FILE", help="our own certificate")
        group.add_argument("--key", metavar="FILE", help="its key, if in a file of its own")
        return group

    def parse_known_args(  # type: ignore[override]  # the library's is a row of overloads
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Read the options first, then the other words; returns also the surplus."""
        # As it is, argparse has arguments that may be left out match nothing at the first
        # option; its `parse_intermixed_args` loses a "--".
        given = list(sys.argv[1:] if args is None else args)
        options = [action for action in self._actions if action.option_strings]
        others = [action for action in self._actions if not action.option_strings]
        end = given.index("--") if "--" in given else len(given)
        if options:  # said before anything about the words behind it, which may belong to it
            self._refuse_unknown(given[:end])
        if not options or not others:
            return super().parse_known_args(given, namespace)
        namespace, left = self._only(options).parse_known_args(given[:end], namespace)
        words = left + given[end + 1 :]
        # They are no options, whichever sign they begin with.
        quoted = ["--", *words] if words else []
        return self._only(others).parse_known_args(quoted, namespace)

    def _refuse_unknown(self, words: list[str]) -> None:
        """Complain about an option that is none of ours, and name those that it resembles."""
        known = self._option_string_actions
        for word in filter(_OPTION.fullmatch, words):
            option = word.partition("=")[0]
            short = {option, option[:2]} if option[1] != "-" else {option}
            if short & known.keys() or any(name.startswith(option) for name in known):
                continue
            names = [name for name in known if name.startswith("--")]
            meant = " or ".join(difflib.get_close_matches(option, names, n=2, cutoff=0.7))
            self.error(
                f"unknown option {option}" + (f"; did you mean {meant}?" if meant else "")
            )

    def _only(self, actions: list[argparse.Action]) -> "Parser":
        """Return a parser of some of the arguments, which explains them all."""
        part = copy.copy(self)
        vars(part).update(
            _actions=actions, format_help=self.format_help, format_usage=self.format_usage
        )
        return part

    def _print_message(self, message: str, file: Any = None) -> None:
        # The library's keeps it to itself when nobody reads the help.
        (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Complain about the arguments and exit with status 2."""
        raise CommandError(f"{message} (--help shows all options)", status=2)


# --- types of arguments; ArgumentTypeError's text names the values that are allowed ---


def hostname(text: str) -> str:
    """Read the name or address of a host."""
    try:
        return check_hostname(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


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


def number(text: str, most: float = sys.float_info.max, span: str = "from 0") -> float:
    """Read a number from 0 to `most`; `span` says so in the complaint."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 <= value <= most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number {span}")
    return value


def ratio(text: str) -> float:
    """Read a number from 0 to 1."""
    return number(text, 1.0, "from 0 to 1")


def positive(text: str) -> float:
    """Read a number of seconds above 0."""
    value = number(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0")
    return value


# --- the server ---


def settings_for(arguments: argparse.Namespace) -> Settings:
    """Read the configuration and lay the arguments over it; a hostname there must be."""
    sources = usual_sources()
    for source in sources:
        for remark in source.remarks:
            note(remark)
    settings = merge(sources)
    given = {
        name: value
        for name in ("hostname", "port", "timeout", "owner", "tls", "ca", "cert", "key")
        if (value := getattr(arguments, name, None)) is not None
    }
    settings = settings._replace(**given)
    if settings.hostname is None:
        places = ", ".join(search_path())
        raise CommandError(
            f"no hostname: give --hostname, set SPALLOC_HOSTNAME, or write it into one of {places}"
        )
    for name in {"ca", "cert", "key"} & given.keys():
        if not settings.tls:
            raise CommandError(f"--{name} is of no use without --tls", status=2)
    return settings


@contextmanager
def session_with(settings: Settings) -> Iterator[Session]:
    """Give a session with the server, closed at the end."""
    session = Session(settings.endpoint(), settings.timeout, settings.reconnect_delay)
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
