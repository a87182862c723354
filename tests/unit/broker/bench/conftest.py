"""Findings to print and to draw: every tier, every ceiling, small and large messages."""

from __future__ import annotations

from dataclasses import replace

import pytest

from beamstream_broker.bench.findings import (
    CEILINGS,
    DISK_READ,
    DISK_WRITE,
    MEMCPY,
    Ceiling,
    Cpu,
    Findings,
    Host,
    Latency,
    Left,
    Result,
)

LATENCY = Latency(
    rate_hz=740.0, is_half=True, n_samples=1300, p50_s=0.0007, p90_s=0.0012, p99_s=0.004, max_s=0.03, behind_s=0.0
)
LARGE = Result(
    tier="memory",
    part="live",
    message_bytes=1 << 20,
    n_groups=3,
    n_members=2,
    n_messages=2960,
    n_bytes=2960 << 20,
    duration_s=2.0,
    n_held_back=1,
    cpu=Cpu(producer_s=0.931, server_s=1.862, readers_s=2.793, broker_s=0.0931),
    latency=LATENCY,
)
SMALL = replace(
    LARGE,
    tier="inline",
    message_bytes=200,
    n_groups=1,
    n_members=1,
    n_messages=100_000,
    n_bytes=20_000_000,
    cpu=Cpu(producer_s=1.5, server_s=0.6, readers_s=1.4, broker_s=None),
)


def ceilings() -> list[Ceiling]:
    of_machine = (MEMCPY, DISK_WRITE, DISK_READ)
    return [
        Ceiling(name=name, message_bytes=size, n_messages=5000, n_bytes=5000 * (size or 1 << 20), duration_s=0.7)
        for name in reversed(CEILINGS)
        for size in ([None] if name in of_machine else [200, 1 << 20])
    ]


@pytest.fixture
def findings() -> Findings:
    """One run."""
    return Findings(
        measured_at="2026-11-22T00:00:00+00:00",
        host=Host(
            n_cpus=2,
            cpu="Name <of> a & processor",
            memory_bytes=16 << 30,
            system="Linux 6.1",
            python="3.11.7",
            beamstream="0.1.0",
            server="valkey 9.1.2",
            load_before=0.2,
        ),
        broker=None,
        memory_bytes=2 << 30,
        seconds=2.0,
        window_bytes=256 << 20,
        ceilings=ceilings(),
        results=[
            SMALL,
            LARGE,
            replace(LARGE, tier="shared", n_groups=1, n_members=1),
            replace(LARGE, tier="disk", part="written", n_groups=0, n_members=0, latency=None),
            replace(LARGE, tier="disk", part="read", latency=None),
        ],
        left=[Left(what="shared, 9 MB", reason="no room [here]")],
    )
