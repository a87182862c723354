"""What can be set of `stream consume peaks`: the peak finder's parameters, what a hit is, mask and geometry.

All of it can be changed while the service runs. The geometry is kept as a text, as CrystFEL or pyFAI write it, and so
travels with the parameters: workers on other hosts need no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.parameters import ParameterRangeError, Parameters, Value, tunable
from beamstream_consumers.kernels.peakfinder8 import PEAK_PARAMETERS, PeakParameters, valid_values


@dataclass(frozen=True, slots=True, kw_only=True)
class HitRule:
    """Between how many peaks a frame is a hit, both allowed, and what is known of the detector.

    Attributes
    ----------
    min_hit_peaks, max_hit_peaks : int
        Fewest and most peaks of a hit.
    lowest_valid : float or None
        Pixels below it hold no count; None: what `valid_values` says of their type.
    mask : (n_slow, n_fast) array or None
        Not 0 where a pixel is bad, beside those that the stream's own mask calls so.
    geometry : str or None
        Text of a CrystFEL .geom or pyFAI .poni file; None: what the stream's metadata say.
    """

    min_hit_peaks: int = tunable(10, minimum=1, maximum=1_000_000, unit="peaks", help="Fewest peaks of a hit.")
    max_hit_peaks: int = tunable(
        2048, minimum=1, maximum=1_000_000, unit="peaks", help="Most peaks of a hit; more is an artefact."
    )
    lowest_valid: float | None = tunable(
        None,
        minimum=-1e9,
        maximum=1e9,
        unit="counts",
        help="Pixels below it hold no count; without it 0 for signed integers, no limit for floats.",
    )
    mask: npt.NDArray[Any] | None = tunable(None, help="Not 0 where a pixel is bad, beside the detector's own mask.")  # noqa: RUF009 (a field)
    geometry: str | None = tunable(None, help="Text of a .geom or .poni file; without it the stream's own geometry.")

    def __post_init__(self) -> None:
        for name, parameter in HIT_PARAMETERS.items():
            parameter.check(getattr(self, name))
        if self.min_hit_peaks > self.max_hit_peaks:
            most = f"at most max_hit_peaks, which is {self.max_hit_peaks}"
            raise ParameterRangeError("min_hit_peaks", str(self.min_hit_peaks), most)


HIT_PARAMETERS = Parameters.of(HitRule)
"""What can be set of it, with bounds, units and help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakSettings:
    """All that is set of the service.

    Attributes
    ----------
    finder : PeakParameters
        The peak finder's.
    hits : HitRule
        What a hit is, mask and geometry.
    """

    finder: PeakParameters = field(default_factory=PeakParameters)
    hits: HitRule = field(default_factory=HitRule)

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> PeakSettings:
        """Return the settings with these values, defaults for the others.

        Raises
        ------
        ParameterError
            If one is not known, of another type, or out of bounds; or a lower limit is above its upper one.
        """
        given: dict[str, Any] = all_parameters().check(values)
        finder = PeakParameters(**{name: given[name] for name in PEAK_PARAMETERS if name in given})
        return cls(finder=finder, hits=HitRule(**{name: given[name] for name in HIT_PARAMETERS if name in given}))

    def values(self) -> dict[str, Value]:
        """Return the value of each parameter."""
        return {**asdict(self.finder), **{name: getattr(self.hits, name) for name in HIT_PARAMETERS}}

    def valid(self, dtype: npt.DTypeLike) -> tuple[float, float]:
        """Return which values of the frames are counts, as `find_peaks` takes it."""
        lowest, ceiling = valid_values(dtype)
        return lowest if self.hits.lowest_valid is None else self.hits.lowest_valid, ceiling

    def is_hit(self, n_peaks: int) -> bool:
        """Tell whether a frame with so many peaks is a hit."""
        return self.hits.min_hit_peaks <= n_peaks <= self.hits.max_hit_peaks


def all_parameters() -> Parameters:
    """Return the declarations of all that can be set."""
    return Parameters([*PEAK_PARAMETERS.values(), *HIT_PARAMETERS.values()])


def same_array(first: npt.NDArray[Any] | None, second: npt.NDArray[Any] | None) -> bool:
    """Tell whether two masks are the same."""
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second)
