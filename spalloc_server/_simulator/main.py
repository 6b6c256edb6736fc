"""The command ``spalloc-simulator``: runs the frames of a configuration, or steers running ones.

Owns the command line and the process's life. Must not know packets or faults.
"""

import argparse
import errno
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from spalloc_server._programs.output import complain, printing
from spalloc_server._programs.parser import Parser
from spalloc_server._simulator import addresses, control, language
from spalloc_server._simulator.control import ControlFailed
from spalloc_server._simulator.faults import BadText
from spalloc_server._simulator.packets import BMP_PORT
from spalloc_server._simulator.simulation import Simulation
from spalloc_server._version import __version__

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class _Failed(Exception):  # noqa: N818 - its text is all there is to it
    """Something to tell the user; exit status 1."""


class _BMP(NamedTuple):
    """A BMP of the configuration: its host, its place, how many boards it has."""

    host: str
    what: str
    boards: int


def main(args: Sequence[str] | None = None) -> int:
    """Run ``spalloc-simulator``.

    Parameters
    ----------
    args : sequence of str or None
        Command line without the program's name; None for the process's own.

    Returns
    -------
    int
        Exit status: 0 after a stop by signal or a command carried out, 1 with a message on
        standard error. Wrong options are argparse's SystemExit with 2.
    """
    return printing("spalloc-simulator", lambda: _main(args))


def _main(args: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(args)
    try:
        if options.control is not None:
            if not options.words:
                parser.error("--control needs a text, e.g. power")
            return _ask(options.control, " ".join(options.words), as_json=options.json)
        if len(options.words) != 1:
            parser.error("give one configuration file")
        return _run(options.words[0], options)
    except (_Failed, ControlFailed) as error:
        complain(f"spalloc-simulator: {error}")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="spalloc-simulator",
        usage="%(prog)s [options] CONFIG\n       %(prog)s --control SOCKET [--json] TEXT",
        description="Simulates the BMPs of a configuration whose BMPs have loopback addresses, "
        f"over UDP port {BMP_PORT}, or steers a simulation that runs.",
        epilog=f"texts, for --fault and --control:\n{language.help_text()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("words", nargs="*", metavar="CONFIG", help="configuration file (Python)")
    parser.add_argument("--version", "-V", action="version", version=__version__)
    parser.add_argument(
        "--real-time", action="store_true", help="boards take 0.5 s to switch; else at once"
    )
    parser.add_argument("--seed", type=int, help="for losing packets; printed at start")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="TEXT",
        help="what is wrong from the start; repeatable",
    )
    parser.add_argument(
        "--listen",
        type=Path,
        metavar="SOCKET",
        help="take commands at this Unix socket (mode 0600)",
    )
    parser.add_argument(
        "--control",
        type=Path,
        metavar="SOCKET",
        help="send TEXT to the simulation that listens there, and show its answer",
    )
    parser.add_argument(
        "--json", action="store_true", help="with --control: show the answer as JSON"
    )
    return parser


# --- the hand on a running simulation ---


def _ask(path: Path, text: str, *, as_json: bool) -> int:
    ok, answer, data = control.ask(path, text)
    if not ok:
        raise _Failed(answer)
    if as_json:
        print(json.dumps(data))
    elif answer:
        print(answer)
    return 0


# --- the frames, alone ---


def _run(filename: str, options: argparse.Namespace) -> int:
    bmps = _bmps(filename)
    with _signals_waiting():
        simulation = Simulation(real_time=options.real_time, seed=options.seed)
        try:
            _serve(simulation, bmps)
            _steer(simulation, options)
            _say(f"seed {simulation.seed}")
            simulation.start()
            _say("ready")
            signal.sigwait(_STOPPING)
        finally:
            simulation.stop()
    _say("stopped")
    return 0


def _serve(simulation: Simulation, bmps: Sequence[_BMP]) -> None:
    for bmp in bmps:
        try:
            simulation.add_frame(bmp.host, bmp.boards)
        except OSError as error:
            why = "the address is in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise _Failed(f"cannot serve {bmp.host}, UDP port {BMP_PORT}: {why}") from error
        except ValueError as error:
            raise _Failed(f"cannot serve {bmp.host}: {error}") from error
        _say(f"{bmp.host}:{BMP_PORT} is {bmp.what}, {bmp.boards} board{'s' * (bmp.boards > 1)}")


def _steer(simulation: Simulation, options: argparse.Namespace) -> None:
    for text in options.fault:
        try:
            simulation.command(text)
        except BadText as error:
            raise _Failed(f"--fault {text!r}: {error}") from error
        _say(f"fault: {text}")
    if options.listen is not None:
        simulation.listen(options.listen)
        _say(f"control socket {options.listen}")


def _bmps(filename: str) -> list[_BMP]:
    """BMPs of a configuration file, in its order."""
    # Late, so that steering a simulation needs nothing of the server.
    from spalloc_server._configuration_file import (  # noqa: PLC0415
        ConfigurationError,
        load_configuration,
    )

    try:
        configuration = load_configuration(filename)
    except ConfigurationError as error:
        raise _Failed(str(error)) from error
    whats: dict[str, str] = {}
    boards: dict[str, int] = {}
    for machine in configuration.machines:
        for (cabinet, frame), host in machine.bmp_ips.items():
            if not addresses.is_loopback(host):
                raise _Failed(
                    f"machine {machine.name}: BMP {host!r} of cabinet {cabinet}, frame {frame} "
                    "is not a loopback address (127.x.y.z); "
                    "spalloc_server --simulate simulates any configuration"
                )
            here = [
                b for c, f, b in machine.board_locations.values() if (c, f) == (cabinet, frame)
            ]
            whats[host] = f"machine {machine.name}, cabinet {cabinet}, frame {frame}"
            boards[host] = max([boards.get(host, 1), *(board + 1 for board in here)])
    if not whats:
        raise _Failed(f"{filename}: the configuration has no machine with a BMP")
    return [_BMP(host, what, boards[host]) for host, what in whats.items()]


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Keep the signals that stop the program for `signal.sigwait`.

    Threads started inside inherit it. So they count even where a parent ignores SIGINT or the
    program is process 1.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _say(text: str) -> None:
    print(text, flush=True)
