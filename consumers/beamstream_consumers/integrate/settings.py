"""What an integration is made with: options of the command, keys of the configuration, and what can be tuned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    geometry : str or None
        A ``.poni``, ``.geom`` or NeXus file; None: the stream's metadata.
    mask : str or None
        A file with pixels that do not count, beside those that the detector and the geometry call bad.
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
    n_bins, radial_min, radial_max, error_model, polarisation, solid_angle, valid_min, valid_max
        What can be tuned while it runs; see each one's help.

    Raises
    ------
    UsageError
        If a choice is none of those there are.
    """

    geometry: str | None = None
    mask: str | None = None
    dark: str | None = None
    gain: str | None = None
    flatfield: str | None = None
    unit: str = "q_A^-1"
    split: str = "no"
    engine: str = "numba"
    normalize_by: str | None = None
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

    @property
    def parameters(self) -> Parameters:
        """What can be tuned while it runs, with these values as the initial ones."""
        return Parameters.of(self, leave_out=FIXED)


FIXED = ("geometry", "mask", "dark", "gain", "flatfield", "unit", "split", "engine", "normalize_by")
"""What cannot be tuned: it is told in the metadata of the derived stream, or is a matter of the machine."""


def number_in(metadata: Any, key: str) -> float | None:
    """Return the number under a key such as ``monitor.counts``; None where there is none."""
    for name in key.split("."):
        metadata = metadata.get(name) if hasattr(metadata, "get") else None
    return float(metadata) if isinstance(metadata, int | float) and not isinstance(metadata, bool) else None
