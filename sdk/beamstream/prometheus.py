"""The metrics of `metrics.py` as Prometheus reads them; apart, because few processes are asked for any."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .errors import UsageError
from .metrics import Snapshot

log = logging.getLogger(__name__)


class ServiceCollector(Collector):
    """Exports a service's snapshot whenever somebody asks for it."""

    def __init__(self, service: str, snapshot: Callable[[], Snapshot]) -> None:
        self._service = service
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the table in `metrics.py`."""
        snapshot = self._snapshot()
        events = CounterMetricFamily("beamstream_events", "What a service counts.", labels=["service", "event"])
        for event, count in snapshot.events.items():
            events.add_metric([self._service, event], count)
        yield events
        passed = CounterMetricFamily("beamstream_payload_bytes", "Payload bytes that went through.", labels=["service"])
        passed.add_metric([self._service], snapshot.payload_bytes)
        yield passed
        queued = GaugeMetricFamily("beamstream_queued_bytes", "Payload bytes held in this process.", labels=["service"])
        queued.add_metric([self._service], snapshot.queued_bytes)
        yield queued
        levels = GaugeMetricFamily("beamstream_level", "What goes up and down.", labels=["service", "quantity"])
        for quantity, value in snapshot.levels.items():
            levels.add_metric([self._service, quantity], value)
        yield levels


def export(port: int, service: str, snapshot: Callable[[], Snapshot]) -> Callable[[], None]:
    """Serve a service's metrics on a loopback port for Prometheus; returns what ends it.

    Raises
    ------
    UsageError
        If the port cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(ServiceCollector(service, snapshot))
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise UsageError(f"cannot serve metrics on port {port}: {error.strerror or error}") from error

    log.info("metrics at http://127.0.0.1:%d/metrics", server.server_port)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
