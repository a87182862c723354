"""Panels, plans and parameters of the peak finder: what needs no compiled kernel."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream.errors import ShapeError
from beamstream.parameters import ParameterRangeError, ParameterTypeError
from beamstream_consumers.kernels.peakfinder8 import (
    MAX_RADIUS,
    Panel,
    PeakParameters,
    grid_of_panels,
    make_plan,
    panel_map,
)
from beamstream_consumers.kernels.peakfinder8.plan import LEFT_OUT, NO_RING


def test_a_grid_has_rows_of_panels_outside() -> None:
    panels = grid_of_panels((2, 3), (2, 2))
    assert [panel.box for panel in panels] == [(0, 0, 1, 2), (0, 3, 1, 5), (2, 0, 3, 2), (2, 3, 3, 5)]
    assert panel_map(panels, (4, 6))[:, ::3].tolist() == [[0, 1], [0, 1], [2, 3], [2, 3]]


@pytest.mark.parametrize(
    ("panel", "reason"),
    [
        (Panel(slow=0, fast=0, n_slow=5, n_fast=5), r"5 x 5 pixels at \(0, 0\), does not fit.*\(4, 6\)"),
        (Panel(slow=-1, fast=0, n_slow=2, n_fast=2), r"begins before the frame, which is \(4, 6\)"),
        (Panel(slow=0, fast=0, n_slow=0, n_fast=2), "is empty"),
        (Panel(slow=1, fast=1, n_slow=1, n_fast=1), "lies over panel 0"),
    ],
)
def test_panels_that_do_not_fit_are_refused(panel: Panel, reason: str) -> None:
    with pytest.raises(ShapeError, match=reason):
        panel_map([Panel(slow=0, fast=0, n_slow=2, n_fast=2), panel], (4, 6))


def test_there_is_at_least_one_panel() -> None:
    with pytest.raises(ShapeError, match="0 panels"):
        panel_map([], (4, 6))


def test_what_takes_no_part_keeps_its_ring() -> None:
    radius = np.array([[0.5, 1.5, np.nan, -1.0, 7.0, MAX_RADIUS + 1]], np.float32)
    good = np.array([[True, False, True, True, True, True]])
    plan = make_plan(radius, PeakParameters(max_res=6.0), good=good)
    assert plan.rings.tolist() == [[0, 2 | LEFT_OUT, NO_RING, NO_RING, 7 | LEFT_OUT, NO_RING]]
    assert (plan.n_searched, plan.n_rings) == (1, 8)


def test_both_resolution_limits_are_allowed() -> None:
    plan = make_plan(np.array([[3.0, 4.0, 5.0, 6.0]], np.float32), PeakParameters(min_res=4, max_res=5))
    assert (plan.rings < LEFT_OUT).tolist() == [[False, True, True, False]]


def test_a_mask_that_does_not_fit_is_refused_with_both_shapes() -> None:
    with pytest.raises(ShapeError, match=r"\(3, 2\) bool.*\(2, 3\)"):
        make_plan(np.zeros((2, 3), np.float32), good=np.ones((3, 2), bool))
    with pytest.raises(ShapeError, match=r"\(2, 3\) int64"):
        make_plan(np.zeros((2, 3), np.int64))  # type: ignore[arg-type]


def test_parameters_are_within_bounds() -> None:
    with pytest.raises(ParameterRangeError, match=r"minimum_snr=0\.5.*from 1 to 1000 sigma"):
        PeakParameters(minimum_snr=0.5)
    with pytest.raises(ParameterTypeError, match="min_pixel_count"):
        PeakParameters(min_pixel_count=1.5)  # type: ignore[arg-type]
    with pytest.raises(ParameterTypeError, match="adc_threshold"):
        PeakParameters(adc_threshold=float("nan"))
    with pytest.raises(ParameterRangeError, match=r"min_res=30.*at most max_res, which is 20"):
        PeakParameters(min_res=30.0, max_res=20.0)
