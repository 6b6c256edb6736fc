"""The program ``spalloc_server``: log, signals, exit status.

Owns the process: the order of its start and end, and the causes of its end.  Until the service
manager has been told READY=1 any fault ends the start, with words; from then on no fault
in the main thread ends anything.  A server's own work is in `server`.
"""

from __future__ import annotations

import argparse
import gc
import logging
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spalloc_server import _clock
from spalloc_server._bmp import transceiver, wiring
from spalloc_server._bmp.interface import shortage
from spalloc_server._configuration_file import ConfigurationError
from spalloc_server._jobs import job_log
from spalloc_server._logs.handler import BackgroundHandler
from spalloc_server._logs.line_writer import LineWriter
from spalloc_server._logs.stream import Stream
from spalloc_server._programs import descriptors, logs, options, output
from spalloc_server._programs.announcer import Announcer
from spalloc_server._programs.carrying import carrier_options
from spalloc_server._programs.metrics import Reader
from spalloc_server._programs.pulse import Pulse
from spalloc_server._programs.running_server import MakeServer, RunningServer
from spalloc_server._programs.sdnotify import ServiceManager
from spalloc_server._programs.signals import StopSignals
from spalloc_server._programs.simulated_hardware import SIMULATED, greeting, simulate
from spalloc_server._saved.saved_file import StoreError
from spalloc_server._version import __version__
from spalloc_server._wire.endpoints import Endpoint
from spalloc_server._wire.serving import StartError

if TYPE_CHECKING:
    from spalloc_server._programs.metrics_page import MetricsPage

log = logging.getLogger(__name__)

_NAME = "spalloc_server"
#: Between two looks at whether the server still runs; signals end the wait at once.
_SECONDS_BETWEEN_LOOKS = 0.5
#: Between two complaints about faults of the main thread.
_SECONDS_BETWEEN_COMPLAINTS = 60.0
#: Seconds that the greeting may take at the end of the program.
_SECONDS_TO_GREET = 0.5
#: For how long a busy frame's thread keeps the interpreter from the loop; a tenth of Python's own,
#: so that clients do not notice while a large job comes up. # arbitrary
_SECONDS_BETWEEN_SWITCHES = 0.0005


class NotReadyError(Exception):
    """Something that the server needs is missing; the text names it for the administrator."""


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
    return output.printing(_NAME, lambda: _run(args, make_server))


def _run(args: Sequence[str] | None, make_server: MakeServer) -> int:
    chosen = options.read(args)
    try:
        handler = logs.set_up(chosen.log_format, logging.ERROR if chosen.quiet else logging.INFO)
    except (RuntimeError, MemoryError, OSError) as e:
        output.complain(f"{_NAME}: nothing can be logged: {e}")
        return 2
    try:
        return _guarded(chosen, make_server, handler)
    finally:
        logs.take_down(handler)


def _guarded(
    chosen: argparse.Namespace, make_server: MakeServer, handler: BackgroundHandler
) -> int:
    """Turn every fault into words and an exit status."""
    try:
        if chosen.check or chosen.diff:
            return _look(chosen)
        with ExitStack() as stack:
            return _serve(chosen, stack, make_server, handler)
    except (StartError, StoreError, ConfigurationError) as e:
        _complain(handler, str(e), getattr(e, "detail", ""))
        return 1
    except NotReadyError as e:
        _complain(handler, f"not started: {e}")
        return 2
    except BrokenPipeError:
        raise  # only the output of --check and --diff can meet it
    except Exception as e:
        if (lack := shortage(e)) is None:
            log.exception("%s failed", _NAME)
        else:
            log.debug("How it came to that:", exc_info=True)
            _complain(handler, f"failed: {lack}")
        return 2


def _complain(handler: BackgroundHandler, text: str, detail: str = "") -> None:
    """Say why the program ends, in the log and to the service manager."""
    logs.complain(handler, f"{_NAME}: {text}")
    ServiceManager().tell(STATUS=detail or text)


def _look(chosen: argparse.Namespace) -> int:
    """Describe a configuration file, or the effect of its reload, without running it."""
    from spalloc_server._programs import check, saved_jobs  # noqa: PLC0415 - only where used

    if chosen.check:
        return check.check_main(chosen.config_file, chosen.json)
    label = SIMULATED if chosen.simulate else ""
    try:
        told = saved_jobs.difference(chosen.config_file, chosen.state_dir, label)
    except (StoreError, ConfigurationError) as e:
        if chosen.json:
            print(saved_jobs.failure(chosen.config_file, str(e)))
        raise
    print(saved_jobs.report(chosen.config_file, told, chosen.json))
    return 0


# --- running a server ---


def _serve(
    chosen: argparse.Namespace,
    stack: ExitStack,
    make_server: MakeServer,
    handler: BackgroundHandler,
) -> int:
    """Run a server from its start to its end; returns the exit status."""
    log.info("version %s, Python %s", __version__, platform.python_version())
    signals = stack.enter_context(StopSignals())
    stack.callback(sys.setswitchinterval, sys.getswitchinterval())
    sys.setswitchinterval(_SECONDS_BETWEEN_SWITCHES)
    carrier = carrier_options()  # before anything opens descriptors
    descriptors.raise_limit()
    page = _listen_for_monitors(chosen, stack)
    keywords = {**_server_options(chosen), **carrier}
    wiring.reset()
    stack.callback(wiring.reset)
    if chosen.simulate:
        keywords.update(simulate(chosen, stack))
    elif chosen.fpga_wait is not None:
        wiring.fpga_wait = chosen.fpga_wait
    job_logs = _open_job_log(chosen, stack)
    server = make_server(
        config_filename=chosen.config_file,
        cold_start=chosen.cold_start,
        port=chosen.port,
        **keywords,
    )
    with _stopped_at_the_end(server, signals) as told:
        _import_spinnman()
        _spare_collections(stack)
        if chosen.simulate and not chosen.quiet:
            _greet(server, stack)
        if page is not None:
            writers = {"log": handler.writer, **job_logs}
            page.start(Reader(server, writers), Pulse(server, writers=job_logs))
        manager = ServiceManager()
        announcer = Announcer(server, manager, job_logs) if manager.listens else None
        told.append(announcer)
        _watch(server, signals, announcer)
    if not signals.arrived and getattr(server, "ended_by_fault", False) is True:
        log.critical("the loop ended by itself")
        return 2
    return 0


def _import_spinnman() -> None:
    """Import SpiNNMan, now that clients are served; there are descriptors in reserve for it."""
    try:
        transceiver.prepare()
    except (ImportError, OSError, MemoryError) as e:
        raise NotReadyError(
            f"SpiNNMan cannot be imported ({e}): without it no board can be switched"
        ) from e


def _spare_collections(stack: ExitStack) -> None:
    """Let collections of garbage pass by the objects of the start, which stay until the end.

    Else each full one holds up all threads for 15 ms.
    """
    gc.freeze()
    stack.callback(gc.unfreeze)


@contextmanager
def _stopped_at_the_end(
    server: RunningServer, signals: StopSignals
) -> Iterator[list[Announcer | None]]:
    """Stop a server, once, however its watching ends; KeyboardInterrupt is one way."""
    signals.on_second = getattr(server, "hurry_up", None)
    told: list[Announcer | None] = []
    try:
        yield told
    except KeyboardInterrupt:
        log.info("stopping")
    except BaseException:
        # A start that failed: the next one finishes the work of the hardware.
        if signals.on_second is not None:
            signals.on_second()
        raise
    finally:
        for announcer in told:
            if announcer is not None:
                announcer.stopping()
        server.stop_and_join()
        log.info("stopped")
        for announcer in told:
            if announcer is not None:
                announcer.stopped()


def _watch(server: RunningServer, signals: StopSignals, announcer: Announcer | None) -> None:
    """Wait for a signal, or the end of the loop; tell the service manager meanwhile."""
    seconds = _SECONDS_BETWEEN_LOOKS if announcer is None else announcer.seconds_between_looks
    complained = -float("inf")
    while server.is_alive():
        try:
            if signals.wait(seconds):
                log.info("stopping; a second signal waits for hardware no longer")
                return
            if announcer is not None:
                announcer.look()
        except Exception:
            if _clock.monotonic() >= complained + _SECONDS_BETWEEN_COMPLAINTS:
                complained = _clock.monotonic()
                log.exception("the main thread met a fault; the server goes on")
            time.sleep(seconds)


def _greet(server: RunningServer, stack: ExitStack) -> None:
    """Greet a new user; a terminal that is gone or full is no reason to fail."""
    try:
        text = greeting(server.port, server.list_machines(None))
        writer = LineWriter("greeting", Stream(sys.stdout), "{} lines are missing".format)
    except Exception:
        log.exception("no greeting")
        return
    stack.callback(writer.close, _SECONDS_TO_GREET)
    writer.put(text)


def _listen_for_monitors(chosen: argparse.Namespace, stack: ExitStack) -> MetricsPage | None:
    """Listen on the port for metrics, if there is to be one; answers come later."""
    if chosen.metrics_port is None:
        return None
    from spalloc_server._programs.metrics_page import MetricsPage  # noqa: PLC0415 - not needed otherwise

    try:
        page = MetricsPage(chosen.metrics_host, chosen.metrics_port)
    except ImportError as e:
        raise StartError(f"--metrics-port needs prometheus_client: {e}") from e
    except OSError as e:
        where = f"{chosen.metrics_host} port {chosen.metrics_port}"
        raise StartError(f"--metrics-port: cannot listen on {where}: {e.strerror or e}") from e
    stack.callback(page.close)
    log.info("metrics at http://%s:%d/metrics, health at /health", page.host, page.port)
    return page


def _server_options(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `SpallocServer` that were given."""
    given = {
        "durability": chosen.durability,
        "state_dir": chosen.state_dir,
        "stop_timeout": chosen.stop_timeout,
        "disk": chosen.crash_at,
        "first_id": chosen.first_id,
        "bind": chosen.bind,
        "more_endpoints": _more_endpoints(chosen),
        "audit_dir": Path(chosen.job_log).parent if chosen.job_log else None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _more_endpoints(chosen: argparse.Namespace) -> list[Endpoint] | None:
    """Return the Unix sockets and places for proxies that were asked for."""
    places = [place._replace(group=chosen.proxy_group) for place in chosen.proxy]
    return [*([chosen.unix_socket] if chosen.unix_socket else []), *places] or None


def _open_job_log(chosen: argparse.Namespace, stack: ExitStack) -> dict[str, LineWriter]:
    """Open the job log; a default one that cannot be opened is done without."""
    filename = chosen.job_log
    if filename is None:
        name = Path(job_log.DEFAULT_FILE)
        filename = f"{name.stem}.{SIMULATED}{name.suffix}" if chosen.simulate else str(name)
    try:
        writer = job_log.open_file(filename, chosen.job_log_days)
    except OSError as e:
        if chosen.job_log is not None:
            raise StartError(f"--job-log {filename}: {e.strerror}") from e
        log.error("no job log: %s: %s", filename, e.strerror)
        return {}
    stack.callback(job_log.close_file, writer)
    return {"job log": writer}
