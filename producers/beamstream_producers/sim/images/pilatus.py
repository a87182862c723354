"""PILATUS models that can be simulated, and what is on their images.

Geometry is that of the real family: modules of 195 x 487 pixels of 172 µm, 17 rows and 7 columns apart. An image is
Poisson noise on the falling background of air, with Bragg peaks, -1 between modules and -2 where a pixel is listed as
bad. The same seed gives the same pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from .detectors import assembled_shape

MODULE_SHAPE = (195, 487)
"""Pixels of one module, (n_slow, n_fast)."""

GAP_SHAPE = (17, 7)
"""Rows and columns between two modules [pixels]."""

PIXEL_SIZE_M = 172e-6

GAP, BAD = -1, -2
"""What stands in pixels without a sensor, and in those of the detector's list."""

COUNT_CUTOFF = 1_048_500
"""Most counts that a pixel tells [photons]: 20 bits, less what the correction for high rates takes."""

FLOOR_COUNTS, AIR_COUNTS, AIR_RADIUS_M = 0.4, 9.0, 0.06
"""Background far out and next to the beam [photons per pixel], and where it falls to 1/e [m]."""

PEAKS_PER_MEGAPIXEL = 40
PEAK_COUNTS = (20.0, 20_000.0)
PEAK_RADIUS = 3
"""Bragg peaks: how many, the smallest and the highest mean of one [photons], and their radius [pixels]."""

BAD_PER_MEGAPIXEL = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class PilatusModel:
    """One model of the family.

    Attributes
    ----------
    name, description, serial : str
        What it is called on the command line and in headers; the serial number is one that no real detector has.
    n_modules : (int, int)
        Modules along the slow and the fast axis.
    """

    name: str
    description: str
    serial: str
    n_modules: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(n_slow, n_fast) of the whole image, gaps included [pixels]."""
        return assembled_shape(self.n_modules, MODULE_SHAPE, GAP_SHAPE)

    @property
    def beam_center(self) -> tuple[float, float]:
        """(slow, fast) of the direct beam [pixels]."""
        n_slow, n_fast = self.shape
        return n_slow * 0.5 + 4.5, n_fast * 0.5 - 3.5


_FAMILY = (
    PilatusModel(name="300k", description="PILATUS3 300K", serial="3-SIM1", n_modules=(3, 1)),
    PilatusModel(name="1M", description="PILATUS3 1M", serial="10-SIM1", n_modules=(5, 2)),
    PilatusModel(name="6M", description="PILATUS3 6M", serial="60-SIM1", n_modules=(12, 5)),
)

MODELS: Mapping[str, PilatusModel] = MappingProxyType({model.name: model for model in _FAMILY})
"""The models by their name."""


class PilatusImages:
    """Images of one model; the same seed and number give the same image.

    Parameters
    ----------
    model : PilatusModel
        Whose.
    seed : int
        Pixels follow from it.
    """

    def __init__(self, model: PilatusModel, seed: int) -> None:
        self.model = model
        self._seed = seed
        self._expected = _background(model)
        gaps = np.logical_or.outer(*(_gaps_along(model, axis) for axis in (0, 1)))
        good = np.flatnonzero(~gaps)
        self.n_bad = max(1, good.size * BAD_PER_MEGAPIXEL // 1_000_000)
        bad = good[np.random.default_rng((seed, 1)).choice(good.size, self.n_bad, replace=False)]
        self._mask = np.where(gaps, GAP, 0).astype("<i4")
        self._mask.reshape(-1)[bad] = BAD

    def make(self, index: int) -> npt.NDArray[np.int32]:
        """Return image `index`, (n_slow, n_fast) int32."""
        random = np.random.default_rng((self._seed, 2, index))
        expected = self._expected.copy()
        self._add_peaks(expected, random)
        counts = np.minimum(random.poisson(expected), COUNT_CUTOFF).astype("<i4")
        return np.where(self._mask < 0, self._mask, counts)

    def _add_peaks(self, expected: npt.NDArray[np.float64], random: np.random.Generator) -> None:
        n_slow, n_fast = expected.shape
        side = np.arange(-PEAK_RADIUS, PEAK_RADIUS + 1)
        spot = np.exp(-np.add.outer(side**2, side**2) / PEAK_RADIUS)
        for _ in range(max(1, expected.size * PEAKS_PER_MEGAPIXEL // 1_000_000)):
            slow = int(random.integers(PEAK_RADIUS, n_slow - PEAK_RADIUS))
            fast = int(random.integers(PEAK_RADIUS, n_fast - PEAK_RADIUS))
            height = np.exp(random.uniform(*np.log(PEAK_COUNTS)))
            rows, columns = (slice(at - PEAK_RADIUS, at + PEAK_RADIUS + 1) for at in (slow, fast))
            expected[rows, columns] += height * spot


def _background(model: PilatusModel) -> npt.NDArray[np.float64]:
    """Return the expected background, (n_slow, n_fast) float64 [photons per pixel]."""
    n_slow, n_fast = model.shape
    slow = (np.arange(n_slow)[:, None] - model.beam_center[0]) * PIXEL_SIZE_M
    fast = (np.arange(n_fast)[None, :] - model.beam_center[1]) * PIXEL_SIZE_M
    background: npt.NDArray[np.float64] = FLOOR_COUNTS + AIR_COUNTS * np.exp(-np.hypot(slow, fast) / AIR_RADIUS_M)
    return background


def _gaps_along(model: PilatusModel, axis: int) -> npt.NDArray[np.bool_]:
    """Return which rows (0) or columns (1) lie between modules."""
    period = MODULE_SHAPE[axis] + GAP_SHAPE[axis]
    gaps: npt.NDArray[np.bool_] = np.arange(model.shape[axis]) % period >= MODULE_SHAPE[axis]
    return gaps
