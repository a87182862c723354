"""Every metric that a service exports, declared once; base units, counted where the service counts.

| metric | labels | what |
|---|---|---|
| `beamstream_events_total` | service, event | what is counted: received, sent, duplicates, gaps, retries, … |
| `beamstream_payload_bytes_total` | service | payload bytes that went through |
| `beamstream_queued_bytes` | service | payload bytes held in this process |
| `beamstream_level` | service, quantity | what goes up and down: frame rate, lag, memory, … |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a service has counted up to now.

    Attributes
    ----------
    events : mapping
        Counts by event; only ever grow.
    payload_bytes, queued_bytes : int
        Payload bytes that went through, and those held now [bytes].
    levels : mapping
        What goes up and down, by quantity with its unit in the name.
    done : (int, int) or None
        How many messages are done and of how many, where that is known; shown as progress, not exported.
    """

    events: Mapping[str, int] = field(default_factory=dict)
    payload_bytes: int = 0
    queued_bytes: int = 0
    levels: Mapping[str, float] = field(default_factory=dict)
    done: tuple[int, int] | None = None


def serve_metrics(port: int, service: str, snapshot: Callable[[], Snapshot]) -> Callable[[], None]:
    """Serve a service's metrics on a loopback port for Prometheus; returns what ends it.

    Raises
    ------
    UsageError
        If the port cannot be had.
    """
    from .prometheus import export

    return export(port, service, snapshot)
