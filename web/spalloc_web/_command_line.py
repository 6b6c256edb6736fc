"""The command line of ``spalloc-web``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from spalloc_web._settings import (
    DEFAULT_LISTEN,
    DEFAULT_PROXIES,
    DEFAULT_SERVER,
    Destination,
    SettingError,
    Settings,
    read_file,
    settings_of,
)
from spalloc_web._version import __version__


def parser() -> argparse.ArgumentParser:
    """Return the parser, which the manual page is made of, too."""
    made = argparse.ArgumentParser(
        prog="spalloc-web",
        description="Shows the boards that a spalloc server shares as live web pages.",
        epilog="Options of the command line beat those of the file.  'spalloc-web user --help'"
        " tells of users that may log in.",
    )
    made.add_argument("-V", "--version", action="version", version=f"%(prog)s {__version__}")
    made.add_argument("--config", metavar="FILE", help="INI file with a section [web]")
    made.add_argument(
        "--server",
        metavar="HOST:PORT|unix:PATH",
        help=f"the spalloc server (default {DEFAULT_SERVER}); on its Unix socket, and with a rule"
        " of class front, orders can be given for users",
    )
    made.add_argument(
        "--listen",
        metavar="ADDRESS:PORT",
        help=f"where pages are served (default {DEFAULT_LISTEN}); beyond this computer only"
        " with --cert or --behind-proxy",
    )
    made.add_argument(
        "--history", metavar="URL", help="history database, as spalloc-history keeps it"
    )
    _add_tls(made)
    made.add_argument("--base", metavar="/PREFIX", help="what stands before all paths")
    made.add_argument(
        "--anonymous",
        metavar="none|states|all",
        help="how much readers see that are not logged in: nothing, no names or texts (default),"
        " or all",
    )
    made.add_argument(
        "--users",
        metavar="FILE",
        help="users that may log in, a file that spalloc-web user keeps; without it nobody can",
    )
    made.add_argument(
        "--health", metavar="URL", help="the server's /health page, for notices of disk trouble"
    )
    made.add_argument(
        "--state-dir", metavar="FOLDER", help="where it is remembered which notices were sent"
    )
    made.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="how much is logged to standard error (default info)",
    )
    return made


def _add_tls(made: argparse.ArgumentParser) -> None:
    made.add_argument("--cert", metavar="FILE", help="certificate chain for TLS (PEM)")
    made.add_argument("--key", metavar="FILE", help="private key of the certificate (PEM)")
    made.add_argument(
        "--behind-proxy",
        action="store_const",
        const="yes",
        help="a web server in front does TLS and hands requests on",
    )
    made.add_argument(
        "--proxies",
        metavar="NETWORKS",
        help="web servers in front whose X-Forwarded-For and X-Forwarded-Proto are believed"
        f" (default {DEFAULT_PROXIES})",
    )


def read_settings(arguments: argparse.Namespace) -> Settings:
    """Put file and command line together.

    Parameters
    ----------
    arguments
        As `parser` returns them.

    Raises
    ------
    SettingError
        If something cannot be.
    """
    values: dict[str, str] = {}
    destinations: tuple[Destination, ...] = ()
    if arguments.config:
        values, destinations = read_file(Path(arguments.config))
    for option, value in vars(arguments).items():
        if value is not None and option not in {"config", "log_level"}:
            values[option] = value
    return settings_of(values, destinations)


def parse(words: Sequence[str] | None = None) -> tuple[Settings, str]:
    """Read the command line; ends the process with status 2 and words if it is wrong.

    Returns
    -------
    settings, log_level
    """
    made = parser()
    arguments = made.parse_args(words)
    try:
        return read_settings(arguments), arguments.log_level.upper()
    except SettingError as e:
        made.error(str(e))
