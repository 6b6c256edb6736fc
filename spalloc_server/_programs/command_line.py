"""The program ``spalloc_server``: options, log, signals, exit status.

Owns the process: what is written to the terminal, which files are opened, and
when it ends.  What a server is and does is in `server`.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spalloc_server import __version__
from spalloc_server._bmp import transceiver, wiring
from spalloc_server._checks.settings import DURABILITIES
from spalloc_server._configuration_file import ConfigurationError
from spalloc_server._jobs import job_log
from spalloc_server._programs import logs
from spalloc_server._programs.announcer import Announcer
from spalloc_server._programs.metrics import Reader
from spalloc_server._programs.parser import Parser
from spalloc_server._programs.pulse import Pulse
from spalloc_server._programs.running_server import MakeServer
from spalloc_server._programs.sdnotify import ServiceManager
from spalloc_server._programs.signals import StopSignals
from spalloc_server._saved.crash_points import CrashingDisk, kill_at
from spalloc_server._saved.saved_file import StoreError
from spalloc_server._wire.endpoints import Endpoint, Kind, proxy_endpoint
from spalloc_server._wire.serving import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spalloc_server._jobs.book import Book
    from spalloc_server._programs.metrics_page import MetricsPage
    from spalloc_server._simulator import Simulation

log = logging.getLogger(__name__)

#: Between two looks at whether the server still runs; signals end the wait at once.
_SECONDS_BETWEEN_LOOKS = 0.5
#: Where clients look unless they are told otherwise (protocol).
_DEFAULT_PORT = 22244
#: For how long a busy frame's thread keeps the interpreter from the loop; a tenth of Python's own,
#: so that clients do not notice while a large job comes up. # arbitrary
_SECONDS_BETWEEN_SWITCHES = 0.0005
#: What sets a simulation's files apart from those of the real machine.
_SIMULATED = "simulated"


def run(args: Sequence[str] | None, make_server: MakeServer) -> int:
    """Run the program.

    Parameters
    ----------
    args : sequence of str or None
        Command line arguments; None for the process's own.
    make_server : callable
        Makes a server of the keywords of `SpallocServer`.

    Returns
    -------
    int
        Exit status, see `server.main`.
    """
    parser = _parser()
    options = parser.parse_args(args)
    _refuse_nonsense(parser, options)
    logs.set_up(options.log_format, logging.ERROR if options.quiet else logging.INFO)
    try:
        if options.check or options.diff:
            return _look(options)
        with ExitStack() as stack:
            _serve(options, stack, make_server)
    except (StartError, StoreError, ConfigurationError) as e:
        logs.complain(f"spalloc_server: {e}")
        return 1
    except Exception:
        log.exception("spalloc_server failed")
        return 2
    return 0


class LoopEnded(Exception):  # noqa: N818 - says what happened
    """The server's loop has ended although nobody stopped it."""


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


def _look(options: argparse.Namespace) -> int:
    """Say what a configuration file is, or what it would do, without running it."""
    from spalloc_server._programs import check, saved_jobs  # noqa: PLC0415 - only where used

    if options.check:
        return check.check_main(options.config_file, options.json)
    label = _SIMULATED if options.simulate else ""
    try:
        told = saved_jobs.difference(options.config_file, options.state_dir, label)
    except (StoreError, ConfigurationError) as e:
        if options.json:
            print(saved_jobs.failure(options.config_file, str(e)))
        raise
    print(saved_jobs.report(options.config_file, told, options.json))
    return 0


def _serve(options: argparse.Namespace, stack: ExitStack, make_server: MakeServer) -> None:
    """Run a server from its start to its end."""
    signals = stack.enter_context(StopSignals())
    stack.callback(sys.setswitchinterval, sys.getswitchinterval())
    sys.setswitchinterval(_SECONDS_BETWEEN_SWITCHES)
    page = _listen_for_monitors(options, stack)
    keywords = _server_options(options)
    wiring.reset()
    stack.callback(wiring.reset)
    if options.simulate:
        keywords.update(_simulate(options, stack))
    elif options.fpga_wait is not None:
        wiring.fpga_wait = options.fpga_wait
    _open_job_log(options, stack)
    server = make_server(
        config_filename=options.config_file,
        cold_start=options.cold_start,
        port=options.port,
        **keywords,
    )
    signals.on_second = getattr(server, "hurry_up", None)
    if options.simulate and not options.quiet:
        _say_what_runs(server.port, server.list_machines(None))
    if page is not None:
        page.start(Reader(server), Pulse(server))
    manager = ServiceManager()
    announcer = Announcer(server, manager) if manager.listens else None
    try:
        _wait_for_end(server, signals, announcer)
    except KeyboardInterrupt:
        log.info("stopping")
    finally:
        if announcer is not None:
            announcer.stopping()
        server.stop_and_join()


def _wait_for_end(server: Any, signals: StopSignals, announcer: Announcer | None) -> None:
    """Wait for a signal, or the end of the loop; tell the service manager meanwhile."""
    seconds = _SECONDS_BETWEEN_LOOKS if announcer is None else announcer.seconds_between_looks
    while server.is_alive():
        if signals.wait(seconds):
            log.info("stopping; a second signal waits for hardware no longer")
            return
        # Now that clients are served, so that the first job need not wait for it.
        transceiver.prepare()
        if announcer is not None:
            announcer.look()
    if getattr(server, "ended_by_fault", False) is True:
        raise LoopEnded("the loop ended by itself")


def _listen_for_monitors(options: argparse.Namespace, stack: ExitStack) -> MetricsPage | None:
    """Listen on the port for metrics, if there is to be one; answers come later."""
    if options.metrics_port is None:
        return None
    from spalloc_server._programs.metrics_page import MetricsPage  # noqa: PLC0415 - not needed otherwise

    try:
        page = MetricsPage(options.metrics_host, options.metrics_port)
    except ImportError as e:
        raise StartError(f"--metrics-port needs prometheus_client: {e}") from e
    except OSError as e:
        where = f"{options.metrics_host} port {options.metrics_port}"
        raise StartError(f"--metrics-port: cannot listen on {where}: {e.strerror or e}") from e
    stack.callback(page.close)
    log.info("metrics at http://%s:%d/metrics, health at /health", page.host, page.port)
    return page


def _server_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `SpallocServer` that were given."""
    given = {
        "durability": options.durability,
        "state_dir": options.state_dir,
        "stop_timeout": options.stop_timeout,
        "disk": options.crash_at,
        "bind": options.bind,
        "more_endpoints": _more_endpoints(options),
    }
    return {name: value for name, value in given.items() if value is not None}


def _more_endpoints(options: argparse.Namespace) -> list[Endpoint] | None:
    """Return the Unix sockets and places for proxies that were asked for."""
    places = [place._replace(group=options.proxy_group) for place in options.proxy]
    return [*([options.unix_socket] if options.unix_socket else []), *places] or None


# --- simulated hardware ---


def _simulate(options: argparse.Namespace, stack: ExitStack) -> dict[str, Any]:
    """Start simulated frames; returns what the server has to know of it."""
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

    return {"label": _SIMULATED, "before_hardware": agree}


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
    path = folder / f".{config.name}.{_SIMULATED}.control"
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


def _say_what_runs(port: int, machines: Sequence[Mapping[str, Any]]) -> None:
    """Tell whoever tries the server what there is, and what to type next."""
    where = "localhost" if port == _DEFAULT_PORT else f"localhost --port {port}"
    listed = "\n".join(f"    {_in_words(machine)}" for machine in machines)
    print(
        f"""
spalloc_server {__version__} listens on port {port}, with simulated boards:

{listed}

In a second terminal:

    python3 -m venv try-spalloc && . try-spalloc/bin/activate
    pip install ./client            # or a published one: 'spalloc==1!7.0.0'
    spalloc --hostname {where} --owner me 3
    spalloc-ps --hostname {where}

Ctrl-C here stops the server; its jobs are there again at the next start.
""",
        flush=True,
    )


def _in_words(machine: Mapping[str, Any]) -> str:
    """Return a row of ``list_machines`` in a line."""
    places = 3 * machine["width"] * machine["height"]
    boards = places - len(machine["dead_boards"])
    return (
        f"{machine['name']}: {boards} board{'' if boards == 1 else 's'} "
        f"({machine['width']} x {machine['height']} triads), "
        f"tags {', '.join(machine['tags']) or 'none'}"
    )


# --- the job log ---


def _open_job_log(options: argparse.Namespace, stack: ExitStack) -> None:
    filename = options.job_log
    if filename is None:
        name = Path(job_log.DEFAULT_FILE)
        filename = f"{name.stem}.{_SIMULATED}{name.suffix}" if options.simulate else str(name)
    try:
        handler = job_log.open_file(filename, options.job_log_days)
    except OSError as e:
        if options.job_log is not None:
            raise StartError(f"--job-log {filename}: {e.strerror}") from e
        log.error("no job log: %s: %s", filename, e.strerror)
        return
    stack.callback(job_log.close_file, handler)


# --- options ---


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
        default=_DEFAULT_PORT,
        help=f"TCP port ({_DEFAULT_PORT}); 0 chooses a free one",
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
