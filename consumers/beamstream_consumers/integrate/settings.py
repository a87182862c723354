"""What an integration is made with: options of the command, keys of the configuration, and what can be tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError
from beamstream.parameters import Parameters, tunable
from beamstream_consumers.kernels.azimuthal_average import ERROR_MODELS
from beamstream_consumers.kernels.radial_bins import MAX_BINS

from .axis import find_axis
from .engines import ENGINES

SPLITS = ("no", "bbox")
"""Ways to share a pixel between bins."""

DEFAULT_BINS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrationSettings:
    """Everything that decides a curve beside the frame and the stream's metadata.

    Attributes
    ----------
    dark, gain, flatfield : str or None
        Files; of `gain` a number, too.
    unit : str
        The axis, a name of `axis.AXES`.
    split : {"no", "bbox"}
        Whether a pixel counts in one bin, or in all that it reaches over.
    engine : {"numba", "pyfai"}
        What computes it.
    normalize_by : str or None
        Key of the message's metadata, ``a.b`` for ``b`` within ``a``, that each curve is divided by.
    geometry : str or None
        Text of a ``.poni`` or ``.geom`` file; None: the stream's metadata.
    mask : (n_slow, n_fast) array or None
        Not 0 where a pixel does not count, beside those that the detector and the geometry call bad.
    n_bins, radial_min, radial_max, error_model, polarisation, solid_angle, valid_min, valid_max
        See each one's help. What stands from `geometry` on can be tuned while it runs.

    Raises
    ------
    UsageError
        If a choice is none of those there are, or the axis would end before it begins.
    """

    dark: str | None = None
    gain: str | None = None
    flatfield: str | None = None
    unit: str = "q_A^-1"
    split: str = "no"
    engine: str = "numba"
    normalize_by: str | None = None
    geometry: str | None = tunable(None, help="Text of a .geom or .poni file; none: the stream's own geometry.")
    mask: npt.NDArray[Any] | None = tunable(None, help="Not 0 where a pixel is bad, beside the detector's own mask.")  # noqa: RUF009 (a field)
    n_bins: int = tunable(DEFAULT_BINS, minimum=1, maximum=MAX_BINS, help="Points of the curve.")
    radial_min: float | None = tunable(None, minimum=0, help="Where the axis begins; none: at the first good pixel.")
    radial_max: float | None = tunable(None, minimum=0, help="Where the axis ends; none: at the last good pixel.")
    error_model: str = tunable("poisson", choices=ERROR_MODELS, help="Where sigma comes from.")
    polarisation: float | None = tunable(None, minimum=-1, maximum=1, help="Horizontal degree; none: no correction.")
    solid_angle: bool = tunable(True, help="Whether counts are divided by the pixel's relative solid angle.")
    valid_min: float | None = tunable(None, help="Least value of a good pixel; none: 0 for integers.")
    valid_max: float | None = tunable(None, help="Largest value of a good pixel; none: what the detector says.")

    def __post_init__(self) -> None:
        find_axis(self.unit)
        for option, value, known in (("--split", self.split, SPLITS), ("--engine", self.engine, tuple(ENGINES))):
            if value not in known:
                raise UsageError(f"{option} {value} is none of {', '.join(known)}")
        if self.radial_min is not None and self.radial_max is not None and self.radial_min >= self.radial_max:
            raise UsageError(f"the axis cannot begin at {self.radial_min:g} and end at {self.radial_max:g}")

    @property
    def parameters(self) -> Parameters:
        """What can be tuned while it runs, with these values as the initial ones."""
        return Parameters.of(self, leave_out=FIXED)


FIXED = ("dark", "gain", "flatfield", "unit", "split", "engine", "normalize_by")
"""What cannot be tuned: it is told in the metadata of the derived stream, or is a matter of the machine."""


def makes_another_engine(before: IntegrationSettings, after: IntegrationSettings) -> bool:
    """Say whether anything differs that an engine is made of."""
    names = ("geometry", "n_bins", "radial_min", "radial_max", "polarisation", "solid_angle")
    if any(getattr(before, name) != getattr(after, name) for name in names):
        return True
    if before.mask is None or after.mask is None:
        return before.mask is not after.mask
    return not np.array_equal(before.mask, after.mask)


def number_in(metadata: Any, key: str) -> float | None:
    """Return the number under a key such as ``monitor.counts``; None where there is none."""
    for name in key.split("."):
        metadata = metadata.get(name) if hasattr(metadata, "get") else None
    return float(metadata) if isinstance(metadata, int | float) and not isinstance(metadata, bool) else None
