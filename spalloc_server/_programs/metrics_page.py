"""The pages ``/metrics`` and ``/health``.

Owns how numbers are written, with prometheus_client, which nothing else here knows.
`_programs.metrics` reads the numbers, `_programs.pulse` judges the server's health, and
`_programs.http_server` answers the questions.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from spalloc_server._programs.http_server import HTTPServer
from spalloc_server._programs.metrics import METRICS, Metric, Reader, Spread, Value
from spalloc_server._programs.pulse import Pulse

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric as Family


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

        self._httpd = HTTPServer(host, port)
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
        if self._thread.is_alive():
            self._thread.join()
        self._httpd.server_close()


class Collector:
    """Gives a prometheus_client registry its numbers at each scrape."""

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
    """Return the application that answers requests: two pages, and no others."""
    from prometheus_client import make_wsgi_app  # noqa: PLC0415 - likewise

    metrics: WSGIApplication = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        path = environ.get("PATH_INFO")
        if environ.get("REQUEST_METHOD") != "GET":
            return _text(start_response, "405 Method Not Allowed", "Only GET and HEAD.\n")
        if path == "/metrics":
            return metrics(environ, start_response)
        if path == "/health":
            return _health(pulse, start_response)
        return _text(start_response, "404 Not Found", "There are /metrics and /health.\n")

    return _with_head(answer)


def _with_head(application: WSGIApplication) -> WSGIApplication:
    """Answer HEAD as GET, without the body."""

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") != "HEAD":
            return application(environ, start_response)
        told: list[Any] = []
        body = application({**environ, "REQUEST_METHOD": "GET"}, lambda *line: told.extend(line))  # type: ignore[arg-type]
        length = str(sum(map(len, body)))
        status, headers = told[:2]
        start_response(status, [*headers, ("Content-Length", length)])
        return []

    return answer


def _health(pulse: Pulse, start_response: StartResponse) -> Iterable[bytes]:
    problems, machines = pulse.problems(), pulse.machines_out()
    told = {
        "status": "failing" if problems else "degraded" if machines else "ok",
        "problems": [problem._asdict() for problem in (*problems, *machines)],
    }
    start_response(
        "503 Service Unavailable" if problems else "200 OK",
        [("Content-Type", "application/json"), ("Cache-Control", "no-store")],
    )
    return [f"{json.dumps(told)}\n".encode()]


def _text(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [text.encode()]
