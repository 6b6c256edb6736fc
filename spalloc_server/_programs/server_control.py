"""Orders to a running server, as the operator's commands give them.

Owns the options by which a command says which server is meant, and what an operator reads when no
server answers.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from spalloc_server._wire import control_socket
from spalloc_server._wire.control import control_path
from spalloc_server._wire.control_socket import NobodyThere

#: Label of the files of a server that runs with --simulate.
SIMULATED = "simulated"

#: The party that is asked, for errors.
_ASKED = "a spalloc_server"


class ToolError(Exception):
    """A fault that an operator can mend, in words."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options by which a command says which server is meant."""
    parser.add_argument(
        "config", type=Path, metavar="CONFIG", help="the server's configuration file"
    )
    parser.add_argument(
        "--state-dir", type=Path, metavar="DIR", help="as given to the server (beside CONFIG)"
    )
    parser.add_argument(
        "--simulated", action="store_true", help="of the server that runs with --simulate"
    )


def state_of(options: argparse.Namespace) -> tuple[Path, str, str]:
    """Return folder, name and label of the server's files."""
    directory = options.state_dir or options.config.absolute().parent
    return directory, options.config.name, SIMULATED if options.simulated else ""


def ask(options: argparse.Namespace, **order: Any) -> dict[str, Any]:
    """Give the server an order, and return its answer.

    Raises
    ------
    ToolError
        If the server refuses it.
    NobodyThere, ControlFailed
        If no server runs, or it cannot be reached.
    """
    person = os.environ.get("SUDO_USER") or os.environ.get("USER")
    answer = json.loads(_reply(options, json.dumps({**order, "told": person})))
    if not answer["ok"]:
        raise ToolError(answer["text"])
    data: dict[str, Any] = answer["data"]
    return data


def ask_running(options: argparse.Namespace, **order: Any) -> dict[str, Any]:
    """As `ask`; that no server runs is a ToolError, too."""
    try:
        return ask(options, **order)
    except NobodyThere as e:
        raise ToolError(
            f"no server runs on {options.config}: nobody listens at "
            f"{control_path(*state_of(options))}. If it runs, with --simulate or --state-dir, "
            "say so"
        ) from e


def _reply(options: argparse.Namespace, order: str) -> bytes:
    """Send an order to the server; to a simulated one if no other runs."""
    directory, name, label = state_of(options)
    try:
        return control_socket.ask(control_path(directory, name, label), order, _ASKED)
    except NobodyThere as nobody:
        if label == SIMULATED:
            raise
        try:
            reply = control_socket.ask(control_path(directory, name, SIMULATED), order, _ASKED)
        except NobodyThere:
            raise nobody from None
    print(
        f"no server runs on {options.config} but one with --simulate; that one was asked",
        file=sys.stderr,
    )
    return reply
