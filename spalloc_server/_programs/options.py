"""The options of ``spalloc_server``.

Owns the command line and which options go together.  Knows nothing of servers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from spalloc_server import __version__
from spalloc_server._checks.settings import DURABILITIES
from spalloc_server._jobs import job_log
from spalloc_server._jobs.first_id import CLOCK, LIMIT
from spalloc_server._programs import logs
from spalloc_server._programs.parser import Parser
from spalloc_server._programs.simulated_hardware import DEFAULT_PORT
from spalloc_server._saved.crash_points import CrashingDisk, kill_at
from spalloc_server._wire.endpoints import Endpoint, Kind, proxy_endpoint


def read(args: Sequence[str] | None) -> argparse.Namespace:
    """Read a command line; SystemExit 2 with words if it makes no sense."""
    parser = _parser()
    options = parser.parse_args(args)
    _refuse_nonsense(parser, options)
    return options


def _refuse_nonsense(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    looks_only = options.check or options.diff
    if options.config_file is None and (looks_only or not options.simulate):
        parser.error("give a configuration file, or --simulate for a built-in one")
    if options.real_time and not options.simulate:
        parser.error("--real-time goes with --simulate")
    if options.fault and not options.simulate:
        parser.error("--fault goes with --simulate")
    if options.json and not looks_only:
        parser.error("--json goes with --check and --diff")
    if options.check and options.diff:
        parser.error("--check or --diff, one at a time")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="spalloc_server",
        description="Shares SpiNNaker machines among users. "
        "SIGINT and SIGTERM stop it, SIGHUP has the configuration file read again.",
    )
    parser.add_argument("--version", "-V", action="version", version=f"%(prog)s {__version__}")
    parser.add_argument(
        "config_file", metavar="CONFIG_FILE", nargs="?", help="what machines there are (Python)"
    )
    parser.add_argument("--quiet", "-q", action="store_true", help="log errors only")
    parser.add_argument(
        "--cold-start",
        action="store_true",
        help="forget the saved state, and switch off all boards",
    )
    parser.add_argument(
        "--port",
        "-p",
        type=_port,
        default=DEFAULT_PORT,
        help=f"TCP port ({DEFAULT_PORT}); 0 chooses a free one",
    )
    _add_endpoint_options(parser.add_argument_group("where clients connect"))
    _add_state_options(parser.add_argument_group("state"))
    _add_hardware_options(parser.add_argument_group("hardware"))
    _add_look_options(parser.add_argument_group("without running"))
    _add_metrics_options(parser.add_argument_group("monitoring"))
    log_options = parser.add_argument_group("logs")
    log_options.add_argument(
        "--log-format",
        choices=logs.FORMATS,
        default="text",
        help="of what goes to standard error: text for people, or a JSON object a line",
    )
    log_options.add_argument(
        "--job-log", metavar="FILE", help=f"what happens to jobs ({job_log.DEFAULT_FILE})"
    )
    log_options.add_argument(
        "--job-log-days",
        metavar="N",
        type=_positive,
        default=job_log.DEFAULT_DAYS,
        help=f"how many days of it are kept ({job_log.DEFAULT_DAYS})",
    )
    return parser


def _add_state_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--state-dir", metavar="DIR", help="where jobs are saved (beside CONFIG_FILE)"
    )
    group.add_argument(
        "--durability",
        choices=DURABILITIES,
        help="what a job survives: the death of the process (default), always also a power cut, "
        "or none but a clean stop; beats the configuration file",
    )
    group.add_argument(
        "--stop-timeout",
        metavar="SECONDS",
        type=_seconds,
        help="how long a stop waits for hardware (30)",
    )
    group.add_argument(
        "--first-id",
        metavar="N|clock",
        type=_first_id,
        help="id of the first job if there is no saved state (1): a number, or the seconds since "
        "2025; for a state that was moved away, and for a new host",
    )
    group.add_argument("--crash-at", type=_crash_point, help=argparse.SUPPRESS)


def _add_endpoint_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--bind",
        metavar="ADDRESS",
        type=_tcp_endpoint,
        action="append",
        help="listen on this address in the place of the configuration's; may be repeated; :: is "
        "all of IPv6",
    )
    group.add_argument(
        "--unix-socket",
        metavar="PATH",
        type=_unix_endpoint,
        help="serve users of this computer on a Unix socket, too",
    )
    group.add_argument(
        "--proxy",
        metavar="PLACE",
        action="append",
        type=_proxy_endpoint,
        default=[],
        help="serve a proxy that sends PROXY protocol headers (version 2): the path of a Unix "
        "socket, or ADDRESS:PORT that only the proxy reaches; may be repeated",
    )
    group.add_argument(
        "--proxy-group", metavar="GROUP", help="may connect to the proxy's Unix socket"
    )


def _add_look_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--check", action="store_true", help="say what CONFIG_FILE is and what is wrong with it"
    )
    group.add_argument(
        "--diff",
        action="store_true",
        help="say which jobs of the saved state a reload of CONFIG_FILE would end",
    )
    group.add_argument("--json", action="store_true", help="say it as JSON")


def _add_metrics_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--metrics-port",
        metavar="PORT",
        type=_port,
        help="serve /metrics and /health over HTTP here; 0 chooses a free port",
    )
    group.add_argument(
        "--metrics-host",
        metavar="HOST",
        default="127.0.0.1",
        help="on this address (127.0.0.1, for programs on this computer only)",
    )


def _add_hardware_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--simulate",
        action="store_true",
        help="run on simulated frames; without CONFIG_FILE, one of 24 boards",
    )
    group.add_argument(
        "--real-time", action="store_true", help="simulated boards take as long as real ones"
    )
    group.add_argument(
        "--fault",
        metavar="TEXT",
        action="append",
        default=[],
        help="of the simulated frames, see spalloc-simulator --help; may be repeated",
    )
    group.add_argument(
        "--fpga-wait",
        metavar="SECONDS",
        type=_seconds,
        help="what boards need after power-on (5; 0 if simulated without --real-time)",
    )


def _tcp_endpoint(text: str) -> Endpoint:
    if not text or "," in text:
        raise argparse.ArgumentTypeError(f"{text!r} is no address: expected one, such as 10.1.0.1")
    return Endpoint(Kind.tcp, text)


def _unix_endpoint(text: str) -> Endpoint:
    return Endpoint(Kind.unix, str(Path(text).absolute()))


def _proxy_endpoint(text: str) -> Endpoint:
    try:
        return proxy_endpoint(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def _port(word: str) -> int:
    try:
        port = int(word)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{word!r} is not a port, 0 to 65535")
    return port


def _positive(word: str) -> int:
    try:
        number = int(word)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of at least 1")
    return number


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds, 0 or more")
    return seconds


def _crash_point(word: str) -> Any:
    try:
        return CrashingDisk(kill_at(word))
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from e


def _first_id(word: str) -> int | str:
    if word == CLOCK:
        return word
    number = int(word) if word.isascii() and word.isdigit() else 0
    if not 1 <= number < LIMIT:
        raise argparse.ArgumentTypeError(
            f"{word!r} is not {CLOCK}, nor a number from 1 to {LIMIT - 1}"
        )
    return number
