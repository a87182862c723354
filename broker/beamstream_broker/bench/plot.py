"""Findings as a drawing: SVG made by hand, so that nothing has to be installed for it. Pure.

A section for each size of messages; in it a row for each result and each ceiling: a bar for throughput, from zero, and
beside it from the median delay to the longest one on a logarithmic axis that all sections share. It has its own
background, light or dark as whoever looks at it prefers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from .findings import Ceiling, Findings, Latency, Result, frame_text, is_small
from .table import heading, number, percentiles

WIDTH = 1000
MARGIN = 24
BARS_X, BARS_WIDTH = 190, 330
VALUES_WIDTH = 130
DELAYS_X = BARS_X + BARS_WIDTH + VALUES_WIDTH
DELAYS_WIDTH = WIDTH - MARGIN - DELAYS_X
ROW, BAR = 22, 14
TOP, SECTION_HEAD, SECTION_FOOT = 84, 34, 40
HEADING_WORDS_WIDTH = 150
"""Characters of a line of the small heading."""

TICKS = 5
"""Ticks of an axis at most, but for zero."""

NICE = (1.0, 2.0, 5.0)
"""What the distance of two ticks begins with."""

TIER_CLASSES = ("inline", "memory", "shared", "disk")

STYLE = """
  svg { color-scheme: light dark; font: 12px system-ui, 'DejaVu Sans', sans-serif }
  .paper { fill: #ffffff } text { fill: #1f2328; stroke: #ffffff; stroke-width: 3; paint-order: stroke }
  .quiet { fill: #59636e; font-size: 11px }
  .title { font-size: 17px; font-weight: 600 } .size { font-size: 14px; font-weight: 600 }
  .grid { stroke: #d8dee4 } .zero { stroke: #818b98 }
  .inline { fill: #8250df; stroke: #8250df } .memory { fill: #0969da; stroke: #0969da }
  .shared { fill: #1a7f37; stroke: #1a7f37 } .disk { fill: #bc4c00; stroke: #bc4c00 }
  .ceiling { fill: #c9d1d9; stroke: #c9d1d9 } .hollow { fill: #ffffff; stroke-width: 1.5 }
  .thin { stroke-width: 1.5 } .thick { stroke-width: 5 } .end { text-anchor: end } .middle { text-anchor: middle }
  @media (prefers-color-scheme: dark) {
    .paper, .hollow { fill: #0d1117 } text { fill: #e6edf3; stroke: #0d1117 } .quiet { fill: #9198a1 }
    .grid { stroke: #2a313c } .zero { stroke: #656c76 }
    .inline { fill: #a371f7; stroke: #a371f7 } .memory { fill: #58a6ff; stroke: #58a6ff }
    .shared { fill: #3fb950; stroke: #3fb950 } .disk { fill: #f0883e; stroke: #f0883e }
    .ceiling { fill: #484f58; stroke: #484f58 } .hollow { fill: #0d1117 }
  }
"""


@dataclass(frozen=True, slots=True)
class Decades:
    """A logarithmic axis of times.

    Attributes
    ----------
    first, last : int
        It goes from 10**first to 10**last [s].
    """

    first: int
    last: int

    def x(self, seconds: float) -> float:
        """Return where a time lies."""
        share = (math.log10(max(seconds, 1e-9)) - self.first) / (self.last - self.first)
        return DELAYS_X + DELAYS_WIDTH * min(1.0, max(0.0, share))


def draw(findings: Findings) -> str:
    """Return all findings as an SVG document."""
    height = TOP + sum(_height(findings, size) for size in findings.sizes) + MARGIN
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", role="img")
    root.set("width", str(WIDTH))
    root.set("height", str(height))
    SubElement(root, "title").text = "stream bench"
    SubElement(root, "desc").text = heading(findings)
    SubElement(root, "style").text = STYLE
    SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    _text(root, MARGIN, 30, "stream bench: throughput and latency", "title")
    for number_of_line, line in enumerate(_lines(heading(findings))):
        _text(root, MARGIN, 48 + 14 * number_of_line, line, "quiet")
    axis = find_decades([result.latency for result in findings.results if result.latency is not None])
    y = TOP
    for size in findings.sizes:
        _draw_size(root, findings, size, y, axis)
        y += _height(findings, size)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def find_decades(latencies: Sequence[Latency]) -> Decades | None:
    """Return the axis on which all delays have a place; None where there are none."""
    if not latencies:
        return None
    times = [max(1e-9, time_s) for latency in latencies for time_s in percentiles(latency)]
    first = math.floor(math.log10(min(times)))
    return Decades(first, max(first + 1, math.ceil(math.log10(max(times)))))


def find_ticks(largest: float) -> list[float]:
    """Return round numbers from 0 to beyond `largest`, `TICKS` of them at most, and zero."""
    power = 10.0 ** math.floor(math.log10(largest / TICKS)) if largest > 0 else 1.0
    step = next(nice * power for nice in (*NICE, 10.0) if nice * power * TICKS >= largest * (1 - 1e-9))
    return [step * n for n in range(math.ceil(largest / step - 1e-9) + 1)]


def _height(findings: Findings, size: int) -> int:
    n_rows = len(findings.results_of(size)) + len(findings.ceilings_of(size))
    return SECTION_HEAD + n_rows * ROW + SECTION_FOOT


def _draw_size(root: Element, findings: Findings, size: int, top: int, axis: Decades | None) -> None:
    rows: list[Result | Ceiling] = [*findings.results_of(size), *findings.ceilings_of(size)]
    scale, unit = (1.0, "messages/s") if is_small(size) else (1e9, "GB/s")
    values = [(row.messages_per_s if is_small(size) else row.bytes_per_s) / scale for row in rows]
    ticks = find_ticks(max(values))
    first_y, last_y = top + SECTION_HEAD, top + SECTION_HEAD + ROW * len(rows)
    section = SubElement(root, "g")
    _text(section, MARGIN, top + 22, frame_text(size), "size")
    is_half = all(row.latency is None or row.latency.is_half for row in findings.results_of(size))
    _draw_axes(section, (ticks, unit), axis, (first_y, last_y), is_half=is_half)
    for place, (row, value) in enumerate(zip(rows, values, strict=True)):
        group = SubElement(section, "g", {"class": "row"})
        y = first_y + place * ROW
        is_result = isinstance(row, Result)
        name = row.label if isinstance(row, Result) else row.name
        SubElement(group, "title").text = f"{frame_text(size)}, {name}: {_value_text(row)}"
        _text(group, BARS_X - 8, y + 15, name, "end" if is_result else "end quiet")
        width = BARS_WIDTH * value / ticks[-1]
        look = row.tier if isinstance(row, Result) else "ceiling"
        bar = {"class": look, "x": str(BARS_X), "y": str(y + (ROW - BAR) // 2)}
        SubElement(group, "rect", {**bar, "width": f"{max(1.0, width):.1f}", "height": str(BAR), "stroke": "none"})
        _text(group, BARS_X + width + 6, y + 15, _value_text(row), "" if is_result else "quiet")
        if isinstance(row, Result) and row.latency is not None and axis is not None:
            _draw_delays(group, row.latency, row.tier, y + ROW / 2, axis)


def _draw_axes(
    section: Element,
    bars: tuple[list[float], str],
    axis: Decades | None,
    rows: tuple[int, int],
    *,
    is_half: bool,
) -> None:
    (ticks, unit), (top, bottom) = bars, rows
    for tick in ticks:
        x = BARS_X + BARS_WIDTH * tick / ticks[-1]
        _line(section, (x, x), (top, bottom), "grid" if tick else "zero")
        _text(section, x, bottom + 14, f"{tick:,g}" if tick < 1e6 else f"{tick / 1e6:g} M", "quiet middle")
    _text(section, BARS_X, top - 8, unit, "quiet")
    if axis is None:
        return
    pace = " at half of it" if is_half else ""
    for decade in range(axis.first, axis.last + 1):
        x = axis.x(10.0**decade)
        _line(section, (x, x), (top, bottom), "grid")
        _text(section, x, bottom + 14, _time_text(decade), "quiet middle")
    _text(section, DELAYS_X, top - 8, f"delay{pace}: ● 50 %  ━ 90 %  | 99 %  ○ longest", "quiet")


def _draw_delays(group: Element, latency: Latency, tier: str, y: float, axis: Decades) -> None:
    p50, p90, p99, longest = map(axis.x, percentiles(latency))
    _line(group, (p50, longest), (y, y), f"{tier} thin")
    _line(group, (p50, p90), (y, y), f"{tier} thick")
    _line(group, (p99, p99), (y - 6, y + 6), f"{tier} thin")
    for x, look in ((p50, tier), (longest, f"{tier} hollow")):
        SubElement(group, "circle", {"class": look, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "4"})


def _value_text(row: Result | Ceiling) -> str:
    """Return both figures of a row; of blocks without a size the number says nothing."""
    rate = f"{number(row.bytes_per_s / 1e9)} GB/s"
    return rate if row.message_bytes is None else f"{rate}, {number(row.messages_per_s)}/s"


def _time_text(decade: int) -> str:
    power = 3 * math.floor(decade / 3)
    unit = {-9: "ns", -6: "µs", -3: "ms", 0: "s"}.get(power)
    return f"{10 ** (decade - power)} {unit}" if unit else f"10^{decade} s"


def _text(parent: Element, x: float, y: float, words: str, look: str) -> None:
    SubElement(parent, "text", {"class": look, "x": f"{x:.1f}", "y": f"{y:.1f}"}).text = words


def _line(parent: Element, x: tuple[float, float], y: tuple[float, float], look: str) -> None:
    ends = {"x1": f"{x[0]:.1f}", "x2": f"{x[1]:.1f}", "y1": f"{y[0]:.1f}", "y2": f"{y[1]:.1f}"}
    SubElement(parent, "line", {"class": look, **ends})


def _lines(words: str) -> Iterator[str]:
    """Break a text into lines that fit."""
    line = ""
    for word in words.split():
        if line and len(line) + len(word) >= HEADING_WORDS_WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}".strip()
    yield line
