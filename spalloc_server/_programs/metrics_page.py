"""The pages ``/metrics`` and ``/health``, served over HTTP by threads of their own.

Owns the listening socket and how numbers are written, with prometheus_client,
which nothing else here knows.  What is measured is in `_programs.metrics`, what is well
in `_programs.pulse`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from spalloc_server._programs.metrics import METRICS, Metric, Reader, Spread, Value
from spalloc_server._programs.pulse import Pulse

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family

log = logging.getLogger(__name__)

#: Seconds that one who asks may keep us waiting.
_PATIENCE = 10
#: Who may ask at a time; others are turned away. # arbitrary
_MOST_AT_A_TIME = 16
_SECONDS_WITHOUT_DESCRIPTORS = 0.5


class MetricsPage:
    """The HTTP server for monitoring; listens from its construction on.

    Parameters
    ----------
    host : str
        Name or address to listen on.
    port : int
        TCP; 0 lets the kernel choose (see `port`).

    Raises
    ------
    OSError
        If it cannot listen there.
    ImportError
        If prometheus_client is not installed.
    """

    def __init__(self, host: str, port: int) -> None:
        import prometheus_client  # noqa: F401, PLC0415 - say now if it is missing

        self._httpd = _listening(host, port)
        self.host = host
        self.port: int = self._httpd.server_address[1]
        self._thread = threading.Thread(target=self._httpd.answer_all, name="metrics")

    def start(self, reader: Reader, pulse: Pulse) -> None:
        """Begin to answer."""
        self._httpd.set_app(_application(_registry(reader), pulse))
        self._thread.start()

    def close(self) -> None:
        """Answer no more; twice is harmless."""
        self._httpd.hang_up()
        if self._thread.ident is not None:
            self._thread.join()
        self._httpd.server_close()


class Collector:
    """What a prometheus_client registry asks for its numbers at each scrape."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def collect(self) -> Iterator[Family]:
        """Yield each metric with its values of now."""
        samples = self._reader.samples()
        for metric in METRICS:
            yield _family(metric, samples[metric.name])

    def describe(self) -> Iterator[Family]:
        """Yield each metric without values, so that registering reads nothing."""
        for metric in METRICS:
            yield _family(metric, {})


def _registry(reader: Reader) -> CollectorRegistry:
    from prometheus_client import (  # noqa: PLC0415 - only where it is used
        CollectorRegistry,
        PlatformCollector,
        ProcessCollector,
    )

    registry = CollectorRegistry()
    registry.register(Collector(reader))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry


def _family(metric: Metric, samples: dict[tuple[str, ...], Value]) -> Family:
    from prometheus_client import core  # noqa: PLC0415 - likewise

    kinds: dict[str, Any] = {
        "gauge": core.GaugeMetricFamily,
        "counter": core.CounterMetricFamily,
        "histogram": core.HistogramMetricFamily,
    }
    family: Any = kinds[metric.kind](metric.name, metric.help, labels=metric.labels)
    for labels, value in samples.items():
        if isinstance(value, Spread):
            buckets = [(_bound(bound), count) for bound, count in value.counts]
            family.add_metric(labels, buckets=buckets, sum_value=value.total)
        else:
            family.add_metric(labels, value)
    made: Family = family
    return made


def _bound(bound: float) -> str:
    return "+Inf" if bound == float("inf") else repr(bound)


def _application(registry: CollectorRegistry, pulse: Pulse) -> WSGIApplication:
    """Return what answers requests: two pages, and no others."""
    from prometheus_client import make_wsgi_app  # noqa: PLC0415 - likewise

    metrics: Callable[..., Iterable[bytes]] = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _text(start_response, "405 Method Not Allowed", "Only GET and HEAD.\n")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/health":
            return _health(pulse, start_response)
        return _text(start_response, "404 Not Found", "There are /metrics and /health.\n")

    return answer


def _health(pulse: Pulse, start_response: StartResponse) -> Iterable[bytes]:
    problems = pulse.problems()
    told = {
        "status": "failing" if problems else "ok",
        "problems": [problem._asdict() for problem in problems],
    }
    start_response(
        "503 Service Unavailable" if problems else "200 OK",
        [("Content-Type", "application/json"), ("Cache-Control", "no-store")],
    )
    return [f"{json.dumps(told)}\n".encode()]


def _text(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]


# --- HTTP ---


def _listening(host: str, port: int) -> _HTTPServer:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]

    class OfFamily(_HTTPServer):
        address_family = family

    return OfFamily((host, port), _Handler)


class _HTTPServer(ThreadingMixIn, WSGIServer):
    """A thread for each question, not too many of them."""

    def __init__(self, *args: Any) -> None:
        self._places = threading.BoundedSemaphore(_MOST_AT_A_TIME)
        self._closing = threading.Event()
        # Connections being answered; the thread of each removes it.
        self._open: set[socket.socket] = set()
        super().__init__(*args)

    def answer_all(self) -> None:
        """Answer until `hang_up`."""
        while not self._closing.is_set():
            self.handle_request()

    def hang_up(self) -> None:
        """End `answer_all` and all connections; any thread."""
        if self._closing.is_set():
            return
        self._closing.set()
        for connection in (self.socket, *list(self._open)):
            # Wakes whoever waits for it; closing it here would take it from under them.
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:
            # Out of descriptors, most likely: the question waits.
            self._closing.wait(_SECONDS_WITHOUT_DESCRIPTORS)
            raise

    def server_bind(self) -> None:
        """Bind, without asking the domain name system who we are."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            self._open.add(request)
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._open.discard(request)
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - fixed
        log.debug("a question from %s was not answered", client_address, exc_info=True)


class _Handler(WSGIRequestHandler):
    timeout = _PATIENCE

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)
