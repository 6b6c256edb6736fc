"""The simulated frames of ``spalloc_server --simulate``.

Owns the simulation of one server, its control socket, and the greeting that tells a new
user the next command.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spalloc_server import __version__
from spalloc_server._bmp import wiring
from spalloc_server._wire.serving import StartError

if TYPE_CHECKING:
    from spalloc_server._jobs.book import Book
    from spalloc_server._simulator import Simulation

log = logging.getLogger(__name__)

#: Where clients look unless they are told otherwise (protocol).
DEFAULT_PORT = 22244
#: The word that sets a simulation's files apart from those of the real machine.
SIMULATED = "simulated"


def simulate(options: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """Start simulated frames.

    Parameters
    ----------
    options : Namespace
        Of the command line; without a configuration file it gets a built-in one.
    stack : ExitStack
        Ends the simulation.

    Returns
    -------
    dict
        Options of the server.

    Raises
    ------
    StartError
        If a fault cannot be read.
    """
    from spalloc_server._simulator import Simulation  # noqa: PLC0415 - only where it is used

    simulation = stack.enter_context(Simulation(real_time=options.real_time))
    for fault in options.fault:
        try:
            simulation.inject(fault)
        except ValueError as e:
            raise StartError(f"--fault {fault!r}: {e}") from e
    if options.config_file is None:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spalloc-")))
        options.config_file = str(_write_builtin(folder))
    if options.fpga_wait is not None:
        wiring.fpga_wait = options.fpga_wait
    elif not options.real_time:
        wiring.fpga_wait = 0.0
    wiring.resolve = simulation.resolve
    _listen_to_control(options, simulation)

    def agree(book: Book) -> None:
        _agree_on_power(simulation, book)

    return {"label": SIMULATED, "before_hardware": agree}


def greeting(port: int, machines: Sequence[Mapping[str, Any]]) -> str:
    """Tell a new user the machines, and the next command to type."""
    where = "localhost" if port == DEFAULT_PORT else f"localhost --port {port}"
    listed = "\n".join(f"    {_in_words(machine)}" for machine in machines)
    return f"""
spalloc_server {__version__} listens on port {port}, with simulated boards:

{listed}

In a second terminal:

    python3 -m venv try-spalloc && . try-spalloc/bin/activate
    pip install ./client            # or a published one: 'spalloc==1!7.0.0'
    spalloc --hostname {where} --owner me 3
    spalloc-ps --hostname {where}

Ctrl-C here stops the server; its jobs are there again at the next start.
"""


def _write_builtin(folder: Path) -> Path:
    from spalloc_server._simulator import builtin  # noqa: PLC0415 - only where it is used

    config = folder / "builtin.cfg"
    config.write_text(builtin.CONFIGURATION, encoding="utf-8")
    return config


def _listen_to_control(options: argparse.Namespace, simulation: Simulation) -> None:
    """Let faults be set while the simulation runs, if there is a place for the socket."""
    from spalloc_server._simulator.control import ControlFailed  # noqa: PLC0415 - likewise

    config = Path(options.config_file).absolute()
    folder = Path(options.state_dir).absolute() if options.state_dir else config.parent
    path = folder / f".{config.name}.{SIMULATED}.control"
    try:
        simulation.listen(path)
    except (ControlFailed, OSError) as e:
        log.warning("no faults can be set while this runs: %s", e)
        return
    log.info("simulated frames: spalloc-simulator --control %s frames|power|links|seen|...", path)


def _agree_on_power(simulation: Simulation, book: Book) -> None:
    """Switch on the simulated boards that a saved state says are on."""
    for job in book["jobs"].values():
        allocation = job["allocation"]
        if allocation is None or not job["power"]:
            continue
        machine = book["machines"][allocation["machine"]]
        places = {tuple(board): place for board, place in machine["board_locations"]}
        hosts = {tuple(frame): host for frame, host in machine["bmp_ips"]}
        for board in allocation["boards"]:
            cabinet, frame, number = places[tuple(board)]
            simulation.set_power(hosts[(cabinet, frame)], number, on=True)


def _in_words(machine: Mapping[str, Any]) -> str:
    """Return a row of ``list_machines`` in a line."""
    places = 3 * machine["width"] * machine["height"]
    boards = places - len(machine["dead_boards"])
    return (
        f"{machine['name']}: {boards} board{'' if boards == 1 else 's'} "
        f"({machine['width']} x {machine['height']} triads), "
        f"tags {', '.join(machine['tags']) or 'none'}"
    )
