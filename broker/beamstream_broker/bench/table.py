"""Findings as tables for people: what goes through beside the ceilings, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from beamstream.sizes import format_bytes

from .findings import Ceiling, Findings, Latency, Result, frame_text, is_small

if TYPE_CHECKING:
    from rich.console import Console

Row = tuple[str, ...]

WIDE = 1000
"""Columns where the output is no terminal."""

RATE_COLUMNS = ("messages/s", "GB/s", "Gb/s", "producer", "server", "broker", "readers")
LATENCY_COLUMNS = ("at messages/s", "p50", "p90", "p99", "max")

ABOUT = (
    "Every group reads every byte. CPU: seconds of processor time, of producer, server and broker per unit sent, of "
    "the readers per unit that a group reads. Latency: from the call of send to the reader's loop. Ceilings: memcpy "
    "is one core; the socket pair has two processes; redis-py sends and fetches each message, in one loop; the disk is "
    "written with an fsync at the end, and read after the kernel has forgotten it, as segments are."
)


def rate_rows(findings: Findings, size: int) -> tuple[list[Row], list[Row]]:
    """Return what went through with messages of one size, and what the parts do: a label, then `RATE_COLUMNS`."""
    results = [(result.label, *_rates(result), *_cpu(result)) for result in findings.results_of(size)]
    ceilings = [(ceiling.name, *_rates(ceiling), "", "", "", "") for ceiling in findings.ceilings_of(size)]
    return results, ceilings


def latency_rows(findings: Findings, size: int) -> list[Row]:
    """Return how long messages of one size take [ms]: a label, then `LATENCY_COLUMNS`."""
    return [
        (result.label, number(result.latency.rate_hz), *map(milliseconds, percentiles(result.latency)))
        for result in findings.results_of(size)
        if result.latency is not None
    ]


def percentiles(latency: Latency) -> tuple[float, float, float, float]:
    """Return p50, p90, p99 and the longest [s]."""
    return latency.p50_s, latency.p90_s, latency.p99_s, latency.max_s


def _rates(one: Ceiling | Result) -> Row:
    # Of what has no size, the blocks are nobody's messages.
    messages = number(one.messages_per_s) if one.message_bytes is not None else ""
    return messages, number(one.bytes_per_s / 1e9), number(8 * one.bytes_per_s / 1e9)


def _cpu(result: Result) -> Row:
    per_unit = dict(result.cpu_per_unit())
    if result.part == "read":
        per_unit["producer"] = None
    if result.part == "written":
        per_unit["readers"] = None
    return tuple("" if value is None else number(value) for value in per_unit.values())


def number(value: float) -> str:
    """Write a number with three digits that count, never as a power.

    Examples
    --------
    >>> number(53187.4), number(1.556), number(0.01234)
    ('53,200', '1.56', '0.0123')
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.3g}")
    for limit, decimals in ((100, 0), (10, 1), (1, 2), (0.1, 3)):
        if rounded >= limit:
            return f"{rounded:,.{decimals}f}"
    return f"{rounded:.4f}"


def milliseconds(seconds: float) -> str:
    """Write a time as a number of milliseconds."""
    return number(1000 * seconds)


def heading(findings: Findings) -> str:
    """Return where, when and on what it was measured, in one line."""
    host = findings.host
    whose = "" if findings.broker is None else f" at {findings.broker}"
    return (
        f"beamstream {host.beamstream}, {host.server}{whose} with {format_bytes(findings.memory_bytes)}; {host.n_cpus} "
        f"CPUs ({host.cpu or 'unknown'}), {format_bytes(host.memory_bytes)}, {host.system}, Python {host.python}; "
        f"{findings.measured_at}"
    )


def print_findings(findings: Findings) -> None:
    """Print all tables to the standard output."""
    import sys

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDE, highlight=False)
    console.print(heading(findings), markup=False)
    for size in findings.sizes:
        _print_size(console, findings, size)
    console.print(ABOUT, markup=False, style="dim")
    for left in findings.left:
        console.print(f"not measured: {left.what}: {left.reason}", markup=False)


def _print_size(console: Console, findings: Findings, size: int) -> None:
    results, ceilings = rate_rows(findings, size)
    unit = "million messages" if is_small(size) else "GB"
    console.print()
    _print_table(console, f"{frame_text(size)}, CPU s per {unit}", RATE_COLUMNS, [results, ceilings])
    latencies = latency_rows(findings, size)
    if latencies:
        measured = [result.latency for result in findings.results_of(size) if result.latency is not None]
        pace = "half of that" if measured[0].is_half else "the pace asked for"
        console.print()
        _print_table(console, f"{frame_text(size)}, latency [ms] at {pace}", LATENCY_COLUMNS, [latencies])


def _print_table(console: Console, title: str, columns: Sequence[str], sections: Iterable[Sequence[Row]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column(Text(title), no_wrap=True, min_width=36)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for number_of_section, rows in enumerate(sections):
        for row in rows:
            table.add_row(*map(Text, row), style="dim" if number_of_section else "")
    console.print(table)
