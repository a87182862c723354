"""The drawing: well-formed, complete, its lengths true, readable on light and on dark."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream_broker.bench.findings import Findings, Latency
from beamstream_broker.bench.plot import BARS_WIDTH, STYLE, WIDTH, Decades, draw, find_decades, find_ticks

SVG = "{http://www.w3.org/2000/svg}"


def parse(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 (our own)


def rows_of(svg: str) -> dict[str, ET.Element]:
    """Return the drawing's rows by the text that a pointer shows over them."""
    root = parse(svg)
    rows = [group for group in root.iter(f"{SVG}g") if group.get("class") == "row"]
    return {str(row.findtext(f"{SVG}title")): row for row in rows}


def width_of(row: ET.Element) -> float:
    bar = row.find(f"{SVG}rect")
    assert bar is not None
    return float(bar.get("width", "nan"))


def test_every_result_and_every_ceiling_that_it_is_compared_with_is_a_row(findings: Findings) -> None:
    rows = rows_of(draw(findings))
    assert [name.partition(":")[0] for name in rows] == [
        "200 B, inline, 1 group",
        "200 B, socket pair",
        "200 B, redis-py SET/GET",
        "1 MiB, memory, 3 groups x 2",
        "1 MiB, shared, 1 group",
        "1 MiB, disk, written",
        "1 MiB, disk, read, 3 groups x 2",
        "1 MiB, memcpy",
        "1 MiB, socket pair",
        "1 MiB, redis-py SET/GET",
        "1 MiB, disk write, fsync",
        "1 MiB, disk read",
    ]
    assert "1 MiB, memory, 3 groups x 2: 1.55 GB/s, 1,480/s" in rows


def test_bars_are_as_long_as_their_figures(findings: Findings) -> None:
    rows = {name.partition(":")[0]: row for name, row in rows_of(draw(findings)).items()}
    ratio = width_of(rows["1 MiB, memory, 3 groups x 2"]) / width_of(rows["1 MiB, memcpy"])
    assert ratio == pytest.approx(1480 / (5000 / 0.7), rel=0.01)
    assert all(width_of(row) <= BARS_WIDTH for row in rows.values())


def test_delays_are_drawn_where_somebody_follows(findings: Findings) -> None:
    drawn = {name.partition(":")[0] for name, row in rows_of(draw(findings)).items() if row.find(f"{SVG}circle")
             is not None}  # fmt: skip
    assert drawn == {"200 B, inline, 1 group", "1 MiB, memory, 3 groups x 2", "1 MiB, shared, 1 group"}


def test_nothing_lies_outside_of_the_drawing(findings: Findings) -> None:
    root = parse(draw(findings))
    _, _, width, height = map(float, root.get("viewBox", "").split())
    for element in root.iter():
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("cx", width), ("y", height), ("y2", height)):
            assert 0 <= float(element.get(name, "0")) <= limit
    assert width == WIDTH


def test_names_of_processors_are_text_not_markup(findings: Findings) -> None:
    svg = draw(findings)
    assert "Name <of> a & processor" in str(parse(svg).findtext(f"{SVG}desc"))


def test_it_is_drawn_without_any_delay_too(findings: Findings) -> None:
    bare = replace(findings, results=[replace(one, latency=None) for one in findings.results])
    assert not any(row.find(f"{SVG}circle") is not None for row in rows_of(draw(bare)).values())


def luminance(colour: str) -> float:
    """Return the relative luminance as WCAG 2 defines it."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("is_dark", [False, True])
def test_text_and_bars_stand_out_from_the_paper(is_dark: bool) -> None:
    light, dark = STYLE.split("@media (prefers-color-scheme: dark)")
    style = dark if is_dark else light

    def fill(name: str) -> float:
        found = re.search(rf"{re.escape(name)}[^{{}}]*{{ fill: (#\w{{6}})", style)
        assert found is not None, name
        return luminance(found[1])

    def contrast(name: str) -> float:
        darker, brighter = sorted((fill(name), fill(".paper")))
        return (brighter + 0.05) / (darker + 0.05)

    assert min(contrast(name) for name in ("text", ".quiet")) >= 4.5
    assert min(contrast(f".{tier}") for tier in ("inline", "memory", "shared", "disk")) >= 3


@given(st.floats(1e-6, 1e12))
def test_ticks_are_round_few_and_reach_beyond_the_largest_figure(largest: float) -> None:
    ticks = find_ticks(largest)
    assert ticks[0] == 0
    assert ticks[-1] >= largest * (1 - 1e-6)
    assert 2 <= len(ticks) <= 6
    assert f"{ticks[1]:.6e}"[0] in "125"


@given(st.lists(st.floats(1e-7, 1e3), min_size=1, max_size=5))
def test_every_delay_has_its_place_on_the_axis(times_s: list[float]) -> None:
    latencies = [
        Latency(rate_hz=1, is_half=True, n_samples=1, p50_s=t, p90_s=t, p99_s=t, max_s=t, behind_s=0) for t in times_s
    ]
    axis = find_decades(latencies)
    assert isinstance(axis, Decades)
    assert 10.0**axis.first <= min(times_s) * (1 + 1e-9)
    assert 10.0**axis.last >= max(times_s) * (1 - 1e-9)
    places = [axis.x(time_s) for time_s in sorted(times_s)]
    assert places == sorted(places)
