"""Findings as tables for people: what goes through beside the ceilings, and how long it takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from beamstream.sizes import format_bytes

from .findings import Ceiling, Findings, Latency, Result, frame_text, is_small

if TYPE_CHECKING:
    from rich.console import Console

Row = tuple[str, ...]

NARROWEST = 90
"""Columns that the tables need at most; a terminal that has fewer breaks their lines, nothing is cut off."""

LABEL_WIDTH = 20

RATE_COLUMNS = ("messages/s", "GB/s", "Gb/s", "producer", "server", "broker", "readers")
LATENCY_COLUMNS = ("at messages/s", "p50", "p90", "p99", "max")

KEPT_SHARE = 0.05
"""How far a producer may fall behind its pace, as a share of how long it sends, before that is said."""

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


def remarks(findings: Findings) -> list[str]:
    """Return in words what has to be known beside the figures."""
    host = findings.host
    busy = f"the machine was busy before (load {number(host.load_before)} on {host.n_cpus} CPUs): idle it does better"
    left = [f"not measured: {one.what}: {one.reason}" for one in findings.left]
    return [*([busy] if host.was_busy else []), *unkept_paces(findings), *left]


def unkept_paces(findings: Findings) -> list[str]:
    """Return in words where a producer fell behind the pace at which latency was to be measured."""
    return [
        f"{frame_text(result.message_bytes)}, {result.label}: the pace of {number(result.latency.rate_hz)} messages/s "
        f"was not kept, the producer fell {milliseconds(result.latency.behind_s)} ms behind"
        for result in findings.results
        if result.latency is not None and result.latency.behind_s > KEPT_SHARE * findings.seconds
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
    from rich.console import Console

    console = Console(highlight=False)
    console.width = max(console.width, NARROWEST)
    console.print(heading(findings), markup=False, soft_wrap=True)
    for size in findings.sizes:
        _print_size(console, findings, size)
    console.print(f"\n{ABOUT}", markup=False, style="dim", width=NARROWEST)
    for words in remarks(findings):
        console.print(words, markup=False, soft_wrap=True)


def _print_size(console: Console, findings: Findings, size: int) -> None:
    results, ceilings = rate_rows(findings, size)
    unit = "million messages" if is_small(size) else "GB"
    console.print()
    console.print(
        f"{frame_text(size)}: throughput of each group, and CPU time [s] per {unit} of", markup=False, style="bold"
    )
    _print_table(console, RATE_COLUMNS, [results, ceilings])
    latencies = latency_rows(findings, size)
    if latencies:
        measured = [result.latency for result in findings.results_of(size) if result.latency is not None]
        pace = "half of that throughput" if measured[0].is_half else "the pace that was asked for"
        console.print(f"\n{frame_text(size)}: latency [ms] at {pace}", markup=False, style="bold")
        _print_table(console, LATENCY_COLUMNS, [latencies])


def _print_table(console: Console, columns: Sequence[str], sections: Iterable[Sequence[Row]]) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column(no_wrap=True, min_width=LABEL_WIDTH)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for number_of_section, rows in enumerate(sections):
        for row in rows:
            table.add_row(*map(Text, row), style="dim" if number_of_section else "")
    console.print(table)
