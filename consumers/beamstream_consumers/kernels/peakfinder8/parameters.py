"""What a scientist sets of the peak finder: every number has a default that finds Bragg peaks, bounds and a unit.

Defaults are those of a photon-counting detector, where a pixel's value is a number of photons. For an integrating
detector that is read in ADU, `adc_threshold` is the one to change: about ten photons' worth.
"""

from __future__ import annotations

from dataclasses import dataclass

from beamstream.parameters import ParameterRangeError, Parameters, tunable


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakParameters:
    """Thresholds of peakfinder8; names are those of OM and Cheetah, bounds and units stand in the fields.

    Attributes
    ----------
    adc_threshold : float
        No pixel up to this value belongs to a peak [counts].
    minimum_snr : float
        So many standard deviations above the background of its ring must a pixel be, and above its local background a
        peak's sum [standard deviations].
    min_pixel_count, max_pixel_count : int
        Fewest and most pixels of a peak, both allowed [pixels].
    local_bg_radius : int
        The local background is what lies within twice this distance of the peak [pixels].
    min_res, max_res : float
        Where peaks are looked for, in distance from the beam, both allowed [pixels].
    max_num_peaks : int
        Peaks that are kept of a frame; further ones are counted only.

    Raises
    ------
    ParameterTypeError, ParameterRangeError
        If one is of another type or out of bounds, or a lower limit is above its upper one.
    """

    adc_threshold: float = tunable(
        10.0, minimum=-1e9, maximum=1e9, unit="counts", help="No pixel up to this value belongs to a peak."
    )
    minimum_snr: float = tunable(
        5.0,
        minimum=1.0,
        maximum=1000.0,
        unit="sigma",
        help="How many standard deviations above the background pixels and peaks must be.",
    )
    min_pixel_count: int = tunable(2, minimum=1, maximum=1_000_000, unit="pixels", help="Fewest pixels of a peak.")
    max_pixel_count: int = tunable(200, minimum=1, maximum=1_000_000, unit="pixels", help="Most pixels of a peak.")
    local_bg_radius: int = tunable(
        3,
        minimum=1,
        maximum=100,
        unit="pixels",
        help="Half the distance from the peak up to which its local background is taken.",
    )
    min_res: float = tunable(
        0.0, minimum=0.0, maximum=1e6, unit="pixels", help="Nearest to the beam that peaks are looked for."
    )
    max_res: float = tunable(
        1e6, minimum=0.0, maximum=1e6, unit="pixels", help="Farthest from the beam that peaks are looked for."
    )
    max_num_peaks: int = tunable(
        2048, minimum=1, maximum=10_000, unit="peaks", help="Peaks kept of a frame; further ones are only counted."
    )

    def __post_init__(self) -> None:
        for name, parameter in PEAK_PARAMETERS.items():
            parameter.check(getattr(self, name))
        for low, high in (("min_pixel_count", "max_pixel_count"), ("min_res", "max_res")):
            least, most = getattr(self, low), getattr(self, high)
            if least > most:
                raise ParameterRangeError(low, f"{least:g}", f"at most {high}, which is {most:g}")


PEAK_PARAMETERS = Parameters.of(PeakParameters)
"""What can be set, with bounds, units and help."""
