"""The soak as a drawing: memory, throughput and latency over time, and what was done when. SVG made by hand. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from beamstream_broker.bench.plot import STYLE, find_ticks

WIDTH, PANEL, GAP, TOP = 1000, 190, 58, 64
LEFT, RIGHT = 80, 200
COLOURS = ("#0969da", "#1a7f37", "#bc4c00", "#8250df", "#cf222e", "#9a6700", "#57606a")
MAX_POINTS = 600
"""Points of one line: more than pixels show nothing more."""

EVENT_STYLE = "\n  .event { fill: #818b98; opacity: .16 } .curve { fill: none; stroke-width: 1.4 }"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One diagram over time.

    Attributes
    ----------
    lines : mapping
        Name to times [s] and values; values of None are holes.
    is_logarithmic : bool
        Whether the axis is one of powers of ten.
    """

    title: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float | None]]] = field(default_factory=dict)
    is_logarithmic: bool = False


def draw(title: str, words: str, panels: Sequence[Panel], events: Sequence[tuple[float, float, str]]) -> str:
    """Return an SVG document.

    Parameters
    ----------
    events : sequence of (float, float, str)
        From, to [s], and what was done.
    """
    height = TOP + len(panels) * (PANEL + GAP)
    root = Element("svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {height}", role="img",
                   width=str(WIDTH), height=str(height))  # fmt: skip
    SubElement(root, "title").text = title
    SubElement(root, "style").text = STYLE + EVENT_STYLE
    SubElement(root, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    _text(root, 24, 26, title, "title")
    _text(root, 24, 44, words, "quiet")
    ends = [time_s for panel in panels for times, _ in panel.lines.values() for time_s in times]
    last_s = max([1.0, *ends])
    for place, panel in enumerate(panels):
        _draw_panel(root, panel, TOP + 18 + place * (PANEL + GAP), last_s, events)
    indent(root)
    return tostring(root, encoding="unicode") + "\n"


def _draw_panel(
    root: Element, panel: Panel, top: float, last_s: float, events: Sequence[tuple[float, float, str]]
) -> None:
    width, bottom = WIDTH - LEFT - RIGHT, top + PANEL - 20
    _text(root, 24, top - 8, panel.title, "size")
    values = [one for _, line in panel.lines.values() for one in line if one is not None]
    ticks = _powers(values) if panel.is_logarithmic else find_ticks(max(values, default=1.0) or 1.0)

    def x(time_s: float) -> float:
        return LEFT + width * min(1.0, max(0.0, time_s / last_s))

    def y(value: float) -> float:
        if not panel.is_logarithmic:
            return bottom - (bottom - top) * value / ticks[-1]
        return bottom - (bottom - top) * math.log(max(value, ticks[0]) / ticks[0]) / math.log(ticks[-1] / ticks[0])

    for number, (from_s, to_s, what) in enumerate(events):
        band = {"class": "event", "x": f"{x(from_s):.1f}", "y": f"{top:.1f}", "height": f"{bottom - top:.1f}"}
        band["width"] = f"{max(1.5, x(to_s) - x(from_s)):.1f}"
        SubElement(SubElement(root, "rect", band), "title").text = what
        _text(root, x(from_s) + 2, top + 10 + 12 * (number % 3), what, "quiet")
    for tick in ticks:
        _line(root, (LEFT, LEFT + width), (y(tick), y(tick)), "grid")
        _text(root, LEFT - 6, y(tick) + 4, f"{tick:,g}", "quiet end")
    for tick in find_ticks(last_s):
        if tick <= last_s:
            _text(root, x(tick), bottom + 15, f"{tick:g} s", "quiet middle")
    for place, (name, (times, line)) in enumerate(panel.lines.items()):
        colour = COLOURS[place % len(COLOURS)]
        points = [(x(time_s), None if value is None else y(value)) for time_s, value in zip(times, line, strict=True)]
        SubElement(root, "path", {"class": "curve", "stroke": colour, "d": _path(points)})
        key = top + 12 + 16 * place
        SubElement(root, "rect", {"x": str(LEFT + width + 12), "y": str(key - 8), "width": "12", "height": "4",
                                  "fill": colour})  # fmt: skip
        _text(root, LEFT + width + 30, key, name, "quiet")


def _powers(values: Sequence[float]) -> list[float]:
    """Return the powers of ten from below all values to above them."""
    first = math.floor(math.log10(max(1e-6, min(values, default=1.0))))
    last = math.ceil(math.log10(max(1e-6, max(values, default=1.0))))
    return [10.0**power for power in range(first, max(first + 1, last) + 1)]


def _path(points: Sequence[tuple[float, float | None]]) -> str:
    path, is_down = "", False
    for x, y in points[:: max(1, len(points) // MAX_POINTS)]:
        if y is not None:
            path += f"{'L' if is_down else 'M'}{x:.1f} {y:.1f}"
        is_down = y is not None
    return path


def _text(parent: Element, x: float, y: float, words: str, look: str) -> None:
    SubElement(parent, "text", {"class": look, "x": f"{x:.1f}", "y": f"{y:.1f}"}).text = words


def _line(parent: Element, x: tuple[float, float], y: tuple[float, float], look: str) -> None:
    ends = {"x1": f"{x[0]:.1f}", "x2": f"{x[1]:.1f}", "y1": f"{y[0]:.1f}", "y2": f"{y[1]:.1f}"}
    SubElement(parent, "line", {"class": look, **ends})
