"""``spalloc-history replay``: past jobs, with another scheduling."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from spalloc_server._configuration_file import ConfigurationError, load_configuration
from spalloc_server._history.errors import HistoryError
from spalloc_server._history.options import add_json
from spalloc_server._history.past_jobs import Past, PastError, read_past
from spalloc_server._history.replay import Comparison, Order, replay, shapes_of
from spalloc_server._history.simulation import REST, SchedulingError
from spalloc_server._history.transfer_commands import time_zone
from spalloc_server._history.waits import Figures

if TYPE_CHECKING:
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]

_ALL = ("fcfs", "fcfs-grid", "overtaking")

#: The limits of every replay.
_CAVEATS = (
    "Users would have asked for other boards, at other times, had they waited less or more.",
    "Lives are those of the log, from the first boards to the end: power-on, and the time that "
    "users took to notice that their boards were ready, are in them.",
    "Boards that were out of service then are in service here, and dead boards are those of "
    "the configuration today.",
    "The machines are empty at the beginning; the first tenth of the jobs is left out.",
)


def add_to(commands: Commands) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "replay",
        help="run past jobs again with another scheduling",
        description="Run past jobs again through the server's own queue, in simulated time, and "
        "print how long they would have waited beside how long they did. LOG is a job log of this "
        "server or of the original (several, if it was rotated), an export as JSON lines, a "
        "history database, or a trace, which needs no CONFIG.",
        epilog=" ".join(_CAVEATS),
    )
    parser.add_argument("files", nargs="+", metavar="LOG [LOG ...] CONFIG", help="see above")
    parser.add_argument(
        "--scheduling",
        action="append",
        choices=_ALL,
        help="compare this one; may be given several times (all are compared)",
    )
    parser.add_argument(
        "--patience",
        action="append",
        type=_patience,
        metavar="SECONDS",
        help="of overtaking; may be given several times (7200)",
    )
    parser.add_argument(
        "--timezone", type=time_zone, metavar="ZONE", help="of a log's times (this computer's)"
    )
    add_json(parser)
    parser.set_defaults(run=_run)


def _patience(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no patience, expected seconds, 0 or more")
    return seconds


def _run(options: argparse.Namespace) -> int:
    try:
        past, compared = _replay(options)
    except ConfigurationError as e:
        print(f"spalloc-history replay: {e}", file=sys.stderr)
        return 1
    except (OSError, HistoryError, PastError, SchedulingError) as e:
        print(f"spalloc-history replay: {', '.join(options.files)}: {e}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(_plain(past, compared), indent=2))
    else:
        _print(past, compared)
    return 0


def _replay(options: argparse.Namespace) -> tuple[Past, Comparison]:
    *logs, config = options.files
    configuration, rest = None, REST
    if logs:
        configuration = load_configuration(config)
        rest = configuration.seconds_before_free
    past = read_past(logs or [config], configuration, options.timezone)
    machines = past.machines
    if configuration is not None:
        machines = shapes_of(configuration)
    if not machines:
        raise PastError("a CONFIG is needed, which names the machines")
    patiences = options.patience or [7200.0]
    orders = [
        Order(scheduling, patience)
        for scheduling in options.scheduling or _ALL
        for patience in (patiences if scheduling == "overtaking" else patiences[:1])
    ]
    return past, replay(past, machines, list(dict.fromkeys(orders)), rest)


# --- the result ---


def _plain(past: Past, compared: Comparison) -> dict[str, object]:
    columns = {
        name: {
            **{part: getattr(each, part)._asdict() for part in ("all", "small", "big")},
            "utilisation": each.utilisation,
            "overtakes": each.overtakes,
            "without_boards": each.refused,
        }
        for name, each in compared.columns.items()
    }
    return {
        "jobs": compared.jobs,
        "compared": compared.compared,
        "big": compared.big,
        "columns": columns,
        "refused": past.refused,
        "unfinished": past.unfinished,
        "not_understood": past.strange,
        "not_known": list(_CAVEATS),
    }


def _print(past: Past, compared: Comparison) -> None:
    from spalloc_server._history import show  # noqa: PLC0415 - needs rich

    lines: tuple[tuple[str, Callable[[Figures], str]], ...] = (
        ("wait, mean", lambda of: show.duration(of.all.mean)),
        ("  95 % waited less than", lambda of: show.duration(of.all.p95)),
        ("  longest", lambda of: show.duration(of.all.longest)),
        (f"below {compared.big} boards, mean", lambda of: show.duration(of.small.mean)),
        ("  95 %", lambda of: show.duration(of.small.p95)),
        (f"{compared.big} boards or more, mean", lambda of: show.duration(of.big.mean)),
        ("  95 %", lambda of: show.duration(of.big.p95)),
        ("  longest", lambda of: show.duration(of.big.longest)),
        ("boards in use", lambda of: f"{of.utilisation:.1%}"),
        ("started before an older one", lambda of: f"{of.overtakes:,}"),
        ("never got boards", lambda of: f"{of.refused:,}"),
    )
    rows = [(name, *(of(each) for each in compared.columns.values())) for name, of in lines]
    console = show.console()
    title = f"{compared.jobs:,} jobs, {compared.compared:,} of them compared"
    names = list(compared.columns)
    console.print(show.table(title, ["", *names], rows, names))
    told = (
        (past.refused, "requests that no machine suited are left out"),
        (past.unfinished, "jobs had not ended: they count as if they had at the log's end"),
        (past.strange, "records were not understood"),
    )
    for number, words in told:
        if number:
            console.print(f"{number:,} {words}.")
    console.print("\nWhat this cannot know:")
    for words in _CAVEATS:
        console.print(f"- {words}")
