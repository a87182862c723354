"""peakfinder8: Bragg peaks of a frame, found by radial background statistics and integrated where they are.

`make_plan` once per geometry, mask and parameters; `find_peaks` for every frame.
"""

from .finding import DTYPES, Peaks, find_peaks, valid_values
from .panels import Panel, grid_of_panels, panel_map
from .parameters import PEAK_PARAMETERS, PeakParameters
from .plan import MAX_RADIUS, Plan, make_plan

__all__ = [
    "DTYPES",
    "MAX_RADIUS",
    "PEAK_PARAMETERS",
    "Panel",
    "PeakParameters",
    "Peaks",
    "Plan",
    "find_peaks",
    "grid_of_panels",
    "make_plan",
    "panel_map",
    "valid_values",
]
