"""``spalloc-history follow``: the process that writes a server's events into the database.

Owns the signals and the service manager; the work is done by `follower` and `upkeep`.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from spalloc_server._history.errors import HistoryError
from spalloc_server._history.options import add_database, days
from spalloc_server._history.protocol import DEFAULT_PORT, ProtocolError, server_address
from spalloc_server._programs.sdnotify import ServiceManager

if TYPE_CHECKING:
    from spalloc_server._history.database import Database
    from spalloc_server._programs.parser import Parser

    Commands = argparse._SubParsersAction[Parser]

log = logging.getLogger(__name__)

#: Seconds between two looks for names and jobs past their day.
_UPKEEP = 3600.0


def add_to(commands: Commands) -> None:
    """Add the sub-command."""
    parser = commands.add_parser(
        "follow",
        help="follow a server and write its events into the database",
        description="Follow a server and write its events into the database, until SIGTERM or "
        "SIGINT. The database is made, or upgraded, at the start. The server may stop and come "
        "back: reading goes on where it ended. How long names are kept is set in the server's "
        "configuration (keep_names_days).",
        epilog="Exit status: 0 after a signal, 1 if the database cannot be written, or with "
        "--once if the server does not answer.",
    )
    parser.add_argument(
        "--server",
        default="localhost",
        metavar="HOST[:PORT]",
        help=f"the server (localhost:{DEFAULT_PORT})",
    )
    add_database(parser)
    parser.add_argument(
        "--keep-days",
        type=days,
        metavar="N",
        help="delete jobs that ended more than N days ago (they are kept for ever)",
    )
    parser.add_argument(
        "--once", action="store_true", help="read all events there are, then end"
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from spalloc_server._history.database import Database  # noqa: PLC0415
    from spalloc_server._history.follower import Follower, NoEvents  # noqa: PLC0415

    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.INFO)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its steps
    try:
        address = server_address(options.server)
        with closing(Database(options.database)) as database:
            if options.once:
                follower = Follower(database, address)
                follower.catch_up()
                _keep_up(database, follower.keep_names_days, options.keep_days)
            else:
                _follow(database, address, options.keep_days)
    except ValueError as e:
        print(f"spalloc-history follow: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"spalloc-history follow: server {options.server}: {e}", file=sys.stderr)
        return 1
    except (HistoryError, ProtocolError, NoEvents) as e:
        print(f"spalloc-history follow: {e}", file=sys.stderr)
        return 1
    return 0


def _follow(database: Database, address: tuple[str, int], keep_days: int | None) -> None:
    from spalloc_server._history.follower import IDLE, Follower  # noqa: PLC0415

    manager = ServiceManager()
    idle = IDLE if manager.watchdog is None else min(IDLE, manager.watchdog / 3)
    kept_up = -_UPKEEP

    def turn(status: str) -> None:
        nonlocal kept_up
        manager.tell(WATCHDOG=1, STATUS=status)
        if time.monotonic() - kept_up >= _UPKEEP:
            kept_up = time.monotonic()
            _keep_up(database, follower.keep_names_days, keep_days)

    with _signals() as (stopped, wake):
        follower = Follower(database, address, wake=[wake], on_turn=turn, idle=idle)
        manager.tell(READY=1, STATUS="started")
        log.info("following %s:%s into %s", *address, database)
        follower.follow(stopped)
        manager.tell(STOPPING=1)


def _keep_up(database: Database, keep_names_days: int | None, keep_days: int | None) -> None:
    """Forget names and jobs that are past their day."""
    from spalloc_server._history.upkeep import forget_jobs, forget_names  # noqa: PLC0415

    if keep_names_days is not None:
        forget_names(database, keep_names_days)
    if keep_days is not None:
        forget_jobs(database, keep_days)


@contextmanager
def _signals() -> Iterator[tuple[Callable[[], bool], int]]:
    """Catch SIGINT and SIGTERM; yields whether one came, and a file to be read from then on."""
    readable, writable = os.pipe()
    came = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal came
        came = True
        os.write(writable, b".")

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield (lambda: came), readable
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(readable)
        os.close(writable)
