"""The command line of ``spalloc-web user``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from spalloc_web._accounts.rights import ACCESS

_ACCESS_HELP = "read: sees names; use: also ends own jobs; operate: also gives operators' orders"


def parser() -> argparse.ArgumentParser:
    """Return the parser, which the manual page is made of, too."""
    made = argparse.ArgumentParser(
        prog="spalloc-web user",
        description="Keeps the file of users that may log in on the pages.  A running spalloc-web"
        " takes changes at once.",
        epilog="A password is asked for twice, without echo; if standard input is no terminal, its"
        " first line is the password.  It never stands on a command line.",
    )
    orders = made.add_subparsers(dest="order", required=True, metavar="ORDER")
    add = _order(orders, "add", "Adds a user, with a password.")
    add.add_argument("--access", required=True, choices=ACCESS, help=_ACCESS_HELP)
    change = _order(orders, "change", "Changes a user.  A new password ends the user's sessions.")
    change.add_argument("--access", choices=ACCESS, help=_ACCESS_HELP)
    change.add_argument("--password", action="store_true", help="ask for a new password")
    for each in (add, change):
        each.add_argument(
            "--label",
            action="append",
            metavar="OWNER",
            help="an owner, as jobs have it, that stands for this user beside the name; may be"
            " repeated, and replaces all earlier ones; empty for none",
        )
    _order(orders, "remove", "Removes a user, and ends the user's sessions.")
    _order(orders, "list", "Lists all users.", name=False)
    return made


def _order(
    orders: argparse._SubParsersAction[argparse.ArgumentParser],
    word: str,
    about: str,
    *,
    name: bool = True,
) -> argparse.ArgumentParser:
    made = orders.add_parser(word, help=about, description=about)
    if name:
        made.add_argument("name", metavar="NAME", help="1 to 64 letters, digits and ._@+-")
    made.add_argument("--users", metavar="FILE", help="the users' file")
    made.add_argument("--config", metavar="FILE", help="INI file whose [web] names it as users")
    return made


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; ends the process with status 2 and words if it is wrong."""
    return parser().parse_args(words)
